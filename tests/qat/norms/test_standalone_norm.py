"""Batch norms that do not follow a convolution, as in networks with pre-activation: a Mul and an Add with constants."""
import copy
import functools
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tests.support import read_graph
from vai_q_tf import QuantizeCheckpointListener, QuantizeConfig
from vai_q_tf.integrations import functions
from vai_q_tf.lint.lint import lint

OUTPUT = 'logits/BiasAdd/aquant:0'


def _network(training, fused):
    """Batch norms on a concat, before a pool, and on a residual addition."""
    options = dict(training=training, fused=fused, momentum=0.8)
    images = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], name='images')
    first = tf.layers.conv2d(images, 4, 3, name='first')
    net = tf.concat([first, first], 3, name='both')
    net = tf.nn.relu(tf.layers.batch_normalization(net, name='pre', **options), name='pre/relu')
    net = tf.layers.conv2d(net, 8, 3, padding='same', use_bias=False, name='second') + tf.concat([first, first], 3)
    net = tf.layers.max_pooling2d(tf.layers.batch_normalization(net, name='post', **options), 2, 2)
    return images, tf.layers.dense(tf.layers.flatten(net), 4, name='logits')


def _config(directory, **settings):
    return QuantizeConfig(['images'], ['logits/BiasAdd'], [[-1, 8, 8, 3]], output_dir=str(directory),
                          **dict({'recipe': 'manual'}, **settings))


def _data():
    data = np.random.RandomState(0)
    return data.randn(16, 8, 8, 3).astype(np.float32) + 1, data.randint(0, 4, 16)


def _train(config, fused, steps=20):
    """(checkpoint, output of the training graph, listener) after some steps."""
    pictures, labels = _data()
    with tf.Graph().as_default():
        tf.compat.v1.set_random_seed(1)
        step = tf.compat.v1.train.get_or_create_global_step()
        images, logits = _network(True, fused)
        loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, logits)
        if config:
            functions.CreateQuantizeTrainingGraph(config)
        with tf.control_dependencies(tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)):
            train = tf.compat.v1.train.GradientDescentOptimizer(0.05).minimize(loss, step)
        saver = tf.compat.v1.train.Saver()
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            losses = [session.run([train, loss], {images: pictures})[1] for _ in range(steps)]
            variables = session.run({v.op.name: v for v in tf.compat.v1.global_variables()})
            if not config:
                return losses, variables
            checkpoint = saver.save(session, config.output_dir + '/model.ckpt', global_step=step)
            output = session.run(OUTPUT, {images: pictures})
            derived = copy.copy(config)
            derived.output_dir += '/derived'
            listener = QuantizeCheckpointListener(derived, saver=saver)
            listener.begin()
            listener.after_save(session, steps)
            return losses, variables, checkpoint, output


def _run(path):
    graph_def = read_graph(path)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(graph_def, name='')
        return graph_def, session.run(OUTPUT, {'images:0': _data()[0]})


class _Course(NamedTuple):
    """A training, its evaluation and its model. derived: the model of the listener.

    variables: {name: value}. The others are the output of the training graph, of the evaluation graph, of the models.
    """
    variables: dict
    model: tf.compat.v1.GraphDef
    trained: np.ndarray
    evaluated: np.ndarray
    modelled: np.ndarray
    derived: np.ndarray


@pytest.fixture(scope='module')
def course(tmp_path_factory):
    """The function (fused) -> _Course, cached."""
    return functools.lru_cache(None)(lambda fused: _take_course(tmp_path_factory.mktemp('course'), fused))


def _take_course(directory, fused):
    config = _config(directory, freeze_bn_step=10, freeze_position_step=12)
    _, variables, checkpoint, trained = _train(config, fused)
    with tf.Graph().as_default():
        _network(False, fused)
        functions.CreateQuantizeEvaluationGraph(config)
        with tf.compat.v1.Session() as session:
            tf.compat.v1.train.Saver(
                [v for v in tf.compat.v1.global_variables()]
                + tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.SAVEABLE_OBJECTS)).restore(session, checkpoint)
            evaluated = session.run(OUTPUT, {'images:0': _data()[0]})
        files = functions.CreateQuantizeDeployGraph(checkpoint, config)
    model, modelled = _run(files.eval_model)
    derived, = (directory / 'derived').glob('quantize_eval_model_20_*')
    return _Course(variables, model, trained, evaluated, modelled, _run(str(derived))[1])


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_training_evaluation_and_model_are_one_network(course, fused):
    found = course(fused)
    for result in (found.evaluated, found.modelled, found.derived):
        np.testing.assert_array_equal(result, found.trained)
    assert np.unique(found.trained).size > 10
    assert lint(found.model) == []
    assert not [node.op for node in found.model.node if 'BatchNorm' in node.op]


def test_the_constants_are_those_of_the_formula(course):
    variables = course(True).variables
    nodes = {node.name: node for node in course(True).model.node}
    root = 'pre/FusedBatchNormV3'
    scale = tf.make_ndarray(nodes[root + '/scale'].attr['value'].tensor)
    offset = tf.make_ndarray(nodes[root + '/offset'].attr['value'].tensor)
    deviation = np.sqrt(variables['pre/moving_variance'].astype(np.float64) + 1e-3)
    np.testing.assert_allclose(scale, variables['pre/gamma'] / deviation, rtol=1e-5)
    exact = variables['pre/beta'] - variables['pre/moving_mean'] * variables['pre/gamma'] / deviation
    np.testing.assert_allclose(offset, exact, rtol=1e-4, atol=1e-6)
    assert nodes[root + '/mul'].op == 'Mul' and list(nodes[root + '/mul'].input)[1] == root + '/scale/wquant'
    assert nodes[root].op == 'Add' and list(nodes[root].input) == [root + '/mul', root + '/offset/wquant']


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_at_24_bits_training_is_that_of_the_float_network(tmp_path, fused):
    losses, variables = _train(None, fused, 10)
    # A moving position would saturate for some steps when values outgrow it.
    config = _config(tmp_path, weight_bit=24, activation_bit=24, position_update='current')
    quantized_losses, quantized = _train(config, fused, 10)[:2]
    np.testing.assert_allclose(quantized_losses, losses, rtol=1e-3)
    assert sorted(quantized) == sorted(variables)
    for name, value in variables.items():
        np.testing.assert_allclose(quantized[name], value, rtol=2e-3, atol=2e-4, err_msg=name)


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_training_has_what_scale_and_offset_lose(tmp_path, fused):
    """In NumPy: batch statistics, the rounded scale instead of gamma, plus the error of the offset."""
    random, names = np.random.RandomState(3), ['gamma', 'beta', 'moving_mean', 'moving_variance']
    gamma, beta, mean, variance = values = [random.uniform(0.5, 1.5, 8).astype(np.float32) for _ in names]
    root, ends = ('pre/FusedBatchNormV3/', ('scale', 'offset')) if fused else ('pre/batchnorm/', ('mul', 'sub'))
    with tf.Graph().as_default() as graph:
        _network(True, fused)
        functions.CreateQuantizeTrainingGraph(_config(tmp_path, weight_bit=4))
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            for variable in tf.compat.v1.global_variables():
                if variable.op.name.startswith('pre/'):
                    variable.load(values[names.index(variable.op.name[len('pre/'):])], session)
            fetches = ['pre/relu', 'both/aquant'] + [root + end + '/wquant' for end in ends]
            result, x, rounded_scale, rounded_offset = session.run(
                [graph.get_tensor_by_name(name + ':0') for name in fetches], {'images:0': _data()[0]})
    normalised = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-3)
    error = rounded_offset - (beta - mean * gamma / np.sqrt(variance + 1e-3))
    expected = np.maximum(normalised * rounded_scale * np.sqrt(variance + 1e-3) + beta + error, 0)
    assert np.abs(error).max() > 0.02
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
