"""Ops and gradients added after the rewrite, from Python references to float tensors, use the quantized network."""
import gc
import threading
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.contrib import slim
from tensorflow.python.ops.gradients_impl import gradients as imported_before

from tests.integrations import trainings
from vai_q_tf import CreateQuantizeEvaluationGraph, CreateQuantizeTrainingGraph, QuantizeOptimizer
from vai_q_tf.integrations import gradient_interception

v1 = tf.compat.v1
RESULT = 'logits/BiasAdd/aquant'


def _hinge(logits):
    """A steep loss whose gradient differs if the last quantization saturates."""
    return tf.reduce_mean(tf.square(logits * 40. - tf.range(4.)), name='loss')


def _of_optimizer(optimizer):
    return lambda loss, variables: [gradient for gradient, _ in optimizer.compute_gradients(loss, variables)]


def _of_keras(loss, variables):
    return tf.keras.optimizers.SGD().get_gradients(loss, variables)


def _of_slim(loss, variables):
    """The gradients that the train op of slim applies."""
    given = []

    class Optimizer(v1.train.GradientDescentOptimizer):
        def apply_gradients(self, grads_and_vars, *args, **kwargs):
            given.extend(gradient for gradient, _ in grads_and_vars)
            return super().apply_gradients(grads_and_vars, *args, **kwargs)

    slim.learning.create_train_op(loss, Optimizer(0.), v1.train.get_or_create_global_step(), variables_to_train=variables)
    return given


WAYS = {
    'tf.gradients': tf.gradients,
    'a name imported before': imported_before,
    'optimizer': _of_optimizer(v1.train.MomentumOptimizer(0.1, 0.9)),
    'keras': _of_keras,
    'slim': _of_slim,
}


def _network():
    v1.set_random_seed(3)
    v1.train.get_or_create_global_step()
    return trainings.network(v1.placeholder(tf.float32, [None, 8, 8, 2], 'images'), True)


def _values(tensors):
    """Their values in the first run of the network."""
    with v1.Session(config=trainings.SESSION) as session:
        session.run(v1.global_variables_initializer())
        return session.run(tensors, {'images:0': trainings.IMAGES[:16]})


def _loss_and_gradients(directory, differentiate, early):
    with tf.Graph().as_default():
        logits = _network()
        loss = _hinge(logits) if early else None
        CreateQuantizeTrainingGraph(trainings.config(directory))
        loss = loss if early else _hinge(logits)
        return _values([loss] + differentiate(loss, v1.trainable_variables()))


@pytest.mark.parametrize('way', WAYS)
def test_a_late_loss_is_the_early_one(way, tmp_path):
    early, late = (_loss_and_gradients(tmp_path, WAYS[way], early) for early in (True, False))
    assert len(early) == 6 and all(value.any() for value in early)
    for expected, got in zip(early, late):
        np.testing.assert_array_equal(got, expected)


def test_a_late_loss_is_that_of_the_quantized_logits(tmp_path):
    """The expected value by definition: the mean over the values of the grid, and its derivative."""
    logits = _network()
    CreateQuantizeTrainingGraph(trainings.config(tmp_path))
    loss = _hinge(logits)
    quantized = v1.get_default_graph().get_tensor_by_name(RESULT + ':0')
    bias, = (variable for variable in v1.trainable_variables() if variable.op.name == 'logits/bias')
    value, on_grid, raw, gradient = _values([loss, quantized, quantized.op.inputs[0]] + tf.gradients(loss, bias))
    assert (raw != on_grid).any()
    derivative = 80. * (on_grid * 40. - np.arange(4.)) / on_grid.size
    np.testing.assert_allclose(value, np.square(on_grid * 40. - np.arange(4.)).mean(), rtol=1e-5)
    np.testing.assert_allclose(gradient, derivative.sum(0), rtol=1e-4)


@pytest.mark.parametrize('rewrite', [CreateQuantizeTrainingGraph, CreateQuantizeEvaluationGraph])
def test_late_ops_read_the_replacement(rewrite, tmp_path):
    graph, logits = v1.get_default_graph(), trainings.network(tf.zeros([2, 8, 8, 2]), rewrite is CreateQuantizeTrainingGraph)
    relu, norm, kernel = (graph.get_tensor_by_name(name) for name in ('relu:0', 'norm/FusedBatchNormV3:0', 'conv/kernel:0'))
    rewrite(trainings.config(tmp_path, recipe='manual'))
    assert tf.nn.softmax(logits).op.inputs[0].op.name == RESULT
    assert tf.raw_ops.Square(x=relu).op.inputs[0].op.name == 'relu/aquant'
    # The norm of a training is a node of the float graph, too; that of an evaluation is folded away.
    assert (tf.identity(norm).op.inputs[0] is norm) == (rewrite is CreateQuantizeTrainingGraph)
    assert tf.identity(kernel).op.inputs[0] is kernel
    accuracy, _ = v1.metrics.accuracy(tf.zeros([2], tf.int64), tf.argmax(logits, -1, name='class'))
    assert graph.get_operation_by_name('class').inputs[0].op.name == RESULT
    tf.cond(tf.equal(tf.size(accuracy), 1), lambda: logits + 1., lambda: logits)
    tf.while_loop(lambda number, _: number < 3, lambda number, total: (number + 1, total + logits), (0, tf.zeros([2, 4])))
    tf.function(lambda: logits * 2.)()
    imported = tf.Graph()
    with imported.as_default():
        tf.square(v1.placeholder(tf.float32, [None, 4], 'value'), 'squared')
    squared, = tf.import_graph_def(imported.as_graph_def(), {'value:0': logits}, ['squared:0'], name='imported')
    assert squared.op.inputs[0].op.name == RESULT
    assert {op.type for op in logits.consumers()}.issubset(['VaiFixNeuron', 'VaiSearchPosition'])


@pytest.mark.parametrize('rewrite', [CreateQuantizeTrainingGraph, CreateQuantizeEvaluationGraph])
def test_gradients_are_those_of_the_replacement(rewrite, tmp_path):
    graph, logits = v1.get_default_graph(), trainings.network(tf.zeros([2, 8, 8, 2]), rewrite is CreateQuantizeTrainingGraph)
    rewrite(trainings.config(tmp_path))
    variables = v1.trainable_variables()
    tf.gradients(logits, variables)
    # The gradient functions of a Relu and of a FixNeuron read what their ops have computed and read.
    relu_grads = [op for op in graph.get_operations() if op.type == 'ReluGrad']
    assert [op.inputs[1].op.name for op in relu_grads] == ['relu']
    masks = [op for op in logits.consumers() if op.name.startswith('gradients')]
    assert masks and all(op.name.startswith('gradients/{}_grad'.format(RESULT)) for op in masks)


def test_a_static_shape_that_is_set_late_is_kept(tmp_path):
    logits = tf.reshape(trainings.network(tf.zeros([2, 8, 8, 2]), True), v1.placeholder(tf.int32, [2]), name='result')
    config = trainings.config(tmp_path)
    config.output_nodes = ['result']
    CreateQuantizeTrainingGraph(config)
    logits.set_shape([2, 4])
    assert tf.square(logits).shape.as_list() == [2, 4]


def test_other_graphs_are_untouched(tmp_path):
    """Two graphs alternate; one is quantized, the other is not, in value and gradient."""
    graphs = tf.Graph(), tf.Graph()
    logits, losses, found = [], [], []
    for graph in graphs:
        with graph.as_default():
            logits.append(_network())
    methods = dict(vars(graphs[1]))
    CreateQuantizeTrainingGraph(graphs[0], trainings.config(tmp_path))
    for graph, value in zip(graphs, logits):
        with graph.as_default():
            losses.append(_hinge(value))
    for graph, loss in zip(graphs, losses):
        with graph.as_default():
            found.append(_values([loss] + tf.gradients(loss, v1.trainable_variables())))
    assert set(vars(graphs[1])) == set(methods)
    assert losses[1].graph.get_operation_by_name('mul').inputs[0] is logits[1]
    with tf.Graph().as_default():
        loss = _hinge(_network())
        np.testing.assert_array_equal(found[1][0], _values(loss))
    expected = _loss_and_gradients(tmp_path, tf.gradients, early=True)
    for value, got in zip(expected, found[0]):
        np.testing.assert_array_equal(got, value)


def test_threads_build_their_own_graphs(tmp_path):
    expected, found = _loss_and_gradients(tmp_path / 'alone', tf.gradients, early=True), {}

    def build(number):
        found[number] = _loss_and_gradients(tmp_path / str(number), tf.gradients, early=bool(number % 2))

    threads = [threading.Thread(target=build, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(4))
    for values in found.values():
        for value, got in zip(expected, values):
            np.testing.assert_array_equal(got, value)


def test_a_graph_is_not_kept_alive(tmp_path):
    def build():
        with tf.Graph().as_default() as graph:
            loss = _hinge(_network())
            CreateQuantizeTrainingGraph(trainings.config(tmp_path))
            tf.gradients(loss, v1.trainable_variables())
            return weakref.ref(graph)

    graph = build()
    gc.collect()
    assert graph() is None


def test_a_second_optimizer_reads_quantized_logits(tmp_path):
    """One Python reference is used for a loss before and one after the rewrite."""
    logits = _network()
    optimizer = QuantizeOptimizer(v1.train.GradientDescentOptimizer(0.), trainings.config(tmp_path))
    optimizer.compute_gradients(_hinge(logits))
    late = tf.reduce_sum(logits)
    optimizer.compute_gradients(late)
    assert late.op.inputs[0].op.name == RESULT
    with gradient_interception.called_before_gradients(tf.Graph(), None):
        pass
    gradient, = tf.gradients(logits, [v1.get_default_graph().get_tensor_by_name(RESULT + ':0')])
    assert gradient is not None  # the context of another graph did not end what this one needs
