"""QuantizeOptimizer equals the call before the optimizer, alone and with other wrappers around and inside it."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.contrib import slim

from tests.integrations import trainings
from vai_q_tf import CreateQuantizeEvaluationGraph, CreateQuantizeTrainingGraph, QuantizeError, QuantizeOptimizer, errors

v1 = tf.compat.v1


class Distributed(v1.train.Optimizer):
    """Like Horovod's DistributedOptimizer on one worker: gradients pass through another op."""

    def __init__(self, optimizer):
        super().__init__(name='Distributed' + type(optimizer).__name__, use_locking=False)
        self._optimizer = optimizer

    def compute_gradients(self, *args, **kwargs):
        pairs = self._optimizer.compute_gradients(*args, **kwargs)
        return [(None if gradient is None else tf.identity(gradient) * 2.0 / 2.0, variable) for gradient, variable in pairs]

    def apply_gradients(self, *args, **kwargs):
        return self._optimizer.apply_gradients(*args, **kwargs)

    def get_slot(self, *args, **kwargs):
        return self._optimizer.get_slot(*args, **kwargs)

    def get_slot_names(self, *args, **kwargs):
        return self._optimizer.get_slot_names(*args, **kwargs)

    def variables(self, *args, **kwargs):
        return self._optimizer.variables(*args, **kwargs)


def mixed_precision(optimizer):
    # The fixed scale: the dynamic one starts so high that the first steps are left out.
    return v1.train.experimental.enable_mixed_precision_graph_rewrite(optimizer, loss_scale=128.0)


@pytest.fixture(autouse=True)
def no_mixed_precision_afterwards():
    yield
    v1.train.experimental.disable_mixed_precision_graph_rewrite()


def _run(directory, checkpoint, make_train_op, loss_of=trainings.cross_entropy):
    """(losses, state) of a training whose training op is make_train_op(loss, wrap), with wrap(optimizer) the wrapper."""
    settings = trainings.config(directory)
    run = trainings.Run(loss_of)
    run.train_op = make_train_op(run.loss, lambda optimizer: QuantizeOptimizer(optimizer, settings))
    return run.train(checkpoint=checkpoint), run.state()


def _clipped(loss, optimizer):
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        gradients, variables = zip(*optimizer.compute_gradients(loss))
        gradients, _ = tf.clip_by_global_norm(gradients, 1e9)
        return optimizer.apply_gradients(zip(gradients, variables), v1.train.get_global_step())


WAYS = {
    'minimize': lambda loss, wrap: trainings.minimize(loss, wrap(trainings.momentum())),
    'clipped': lambda loss, wrap: _clipped(loss, wrap(trainings.momentum())),
    'inside of a distributed one': lambda loss, wrap: trainings.minimize(loss, Distributed(wrap(trainings.momentum()))),
    'around a distributed one': lambda loss, wrap: trainings.minimize(loss, wrap(Distributed(trainings.momentum()))),
    'inside of mixed precision': lambda loss, wrap: trainings.minimize(loss, mixed_precision(wrap(trainings.momentum()))),
    'around mixed precision': lambda loss, wrap: trainings.minimize(loss, wrap(mixed_precision(trainings.momentum()))),
    'all three': lambda loss, wrap: trainings.minimize(loss, Distributed(wrap(mixed_precision(trainings.momentum())))),
    'slim': lambda loss, wrap: slim.learning.create_train_op(loss, wrap(trainings.momentum())),
    'under a condition': lambda loss, wrap: _every_step(loss, wrap(trainings.momentum())),
    'in a name scope, on a device': lambda loss, wrap: _in_scopes(loss, wrap(trainings.momentum())),
}


def _every_step(loss, optimizer):
    step = v1.train.get_global_step()
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return tf.cond(step > -1, lambda: optimizer.minimize(loss, step), tf.no_op)


def _in_scopes(loss, optimizer):
    with tf.name_scope('train'), tf.device('/CPU:0'):
        return trainings.minimize(loss, optimizer)


@pytest.mark.parametrize('way', sorted(WAYS))
def test_equals_the_call_before_the_optimizer(tmp_path, checkpoint, expected, way):
    result = _run(tmp_path, checkpoint, WAYS[way])
    trainings.assert_same(result, expected, ignored=['loss_scale', 'current_loss_scale', 'good_steps'])
    assert len(set(result[0])) == trainings.STEPS


def test_without_it_the_losses_differ(checkpoint, expected):
    run = trainings.Run()
    run.train_op = trainings.minimize(run.loss, trainings.momentum())
    assert not np.allclose(run.train(checkpoint=checkpoint), expected[0], rtol=1e-4)


def test_one_rewrite_for_two_optimizers_on_two_lists_of_variables(tmp_path, checkpoint):
    def train(loss, wrap):
        variables = v1.trainable_variables()
        optimizers = wrap(trainings.momentum()), wrap(v1.train.GradientDescentOptimizer(0.1))
        pairs = [optimizer.compute_gradients(loss, part) for optimizer, part in zip(optimizers, (variables[:3], variables[3:]))]
        # None is applied before all are there, or it would be chance what weights the others are made of.
        gradients = [gradient for part in pairs for gradient, _ in part if gradient is not None]
        with tf.control_dependencies(gradients + v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            first = optimizers[0].apply_gradients(pairs[0], v1.train.get_global_step())
            return tf.group(first, optimizers[1].apply_gradients(pairs[1]))

    result = _run(tmp_path, checkpoint, train)
    assert len(v1.get_default_graph().get_collection('vai_q_tf/training_plan')) == 1
    trainings.assert_same(result, trainings.explicit(tmp_path, checkpoint, lambda loss: train(loss, lambda opt: opt)))


def test_a_loss_built_after_the_first_gradients_is_quantized_too(tmp_path, checkpoint):
    def train(first_loss, wrap, logits):
        step = v1.train.get_global_step()
        variables = v1.trainable_variables()
        first, second = wrap(trainings.momentum()), wrap(v1.train.GradientDescentOptimizer(0.1))
        first_gradients = first.compute_gradients(first_loss, variables[:3])
        second_loss = tf.reduce_mean(tf.square(v1.get_default_graph().get_tensor_by_name(logits)))
        second_gradients = second.compute_gradients(second_loss, variables[3:])
        # Reference variables: an update may not run before all gradients have read them.
        with tf.control_dependencies([gradient for gradient, _ in first_gradients + second_gradients]):
            return tf.group(first.apply_gradients(first_gradients, step), second.apply_gradients(second_gradients))

    expected = trainings.explicit(
        tmp_path, checkpoint, lambda loss: train(loss, lambda optimizer: optimizer, 'logits/BiasAdd/aquant:0'))
    result = _run(tmp_path, checkpoint, lambda loss, wrap: train(loss, wrap, 'logits/BiasAdd:0'))
    trainings.assert_same(result, expected)


def test_a_loss_that_is_the_output_of_the_range(tmp_path):
    images = v1.placeholder(tf.float32, [None, 4], name='net_in')
    loss = tf.layers.dense(images, 1, name='logits')
    settings = trainings.config(tmp_path)
    settings.input_shapes = []
    QuantizeOptimizer(trainings.momentum(), settings).compute_gradients(loss)
    graph = v1.get_default_graph()
    quantized = graph.get_operation_by_name('logits/BiasAdd/aquant')
    assert [op for op in graph.get_operations() if op._original_op is quantized]


def test_a_graph_that_is_rewritten_already_stays_as_it_is(tmp_path, checkpoint, expected):
    run = trainings.Run()
    CreateQuantizeTrainingGraph(trainings.config(tmp_path))
    run.train_op = trainings.minimize(run.loss, QuantizeOptimizer(trainings.momentum(), trainings.config(tmp_path)))
    trainings.assert_same((run.train(checkpoint=checkpoint), run.state()), expected)


def test_everything_else_is_that_of_the_wrapped_one(tmp_path):
    adam = v1.train.AdamOptimizer(0.1)
    run = trainings.Run()
    optimizer = QuantizeOptimizer(adam, trainings.config(tmp_path))
    trainings.minimize(run.loss, optimizer)
    assert optimizer.get_slot_names() == adam.get_slot_names() == ['m', 'v']
    kernel = v1.trainable_variables()[0]
    assert optimizer.get_slot(kernel, 'm') is adam.get_slot(kernel, 'm') is not None
    assert len(optimizer.variables()) == len(adam.variables()) > 2
    assert optimizer.get_name() == 'Adam'
    synchronous = v1.train.SyncReplicasOptimizer(adam, 1)
    assert QuantizeOptimizer(synchronous, trainings.config(tmp_path)).make_session_run_hook == synchronous.make_session_run_hook
    with pytest.raises(AttributeError, match='no_such'):
        assert optimizer.no_such


def test_names_of_variables_are_those_of_the_wrapped_one(tmp_path):
    run = trainings.Run()
    trainings.minimize(run.loss, QuantizeOptimizer(trainings.momentum(), trainings.config(tmp_path)))
    assert 'conv/kernel/Momentum' in [variable.op.name for variable in v1.global_variables()]


def test_training_resumes_exactly(tmp_path, checkpoint, expected):
    def build():
        run = trainings.Run()
        run.train_op = trainings.minimize(
            run.loss, QuantizeOptimizer(trainings.momentum(), trainings.config(tmp_path)))
        return run, v1.train.Saver()

    with tf.Graph().as_default():
        run, saver = build()
        run.train(3, checkpoint)
        saved = saver.save(run.session, str(tmp_path / 'model.ckpt'), 3)
    run, saver = build()
    session = run.session = v1.Session(config=trainings.SESSION)
    saver.restore(session, saved)
    losses = []
    for step in range(3, trainings.STEPS):
        images, labels = trainings.batch(step)
        losses.append(session.run([run.loss, run.train_op], {run.images: images, run.labels: labels})[0])
    np.testing.assert_array_equal(losses, expected[0][3:])
    trainings.assert_same((losses, run.state()), (expected[0][3:], expected[1]))


def test_no_second_forward_or_backward_pass(tmp_path, checkpoint):
    def executed(directory, make):
        with tf.Graph().as_default():
            run = trainings.Run()
            run.train_op = make(run.loss, directory)
            run.train(1, checkpoint)
            images, labels = trainings.batch(1)
            return trainings.executed(run.session, run.train_op, {run.images: images, run.labels: labels})

    def explicit(loss, directory):
        CreateQuantizeTrainingGraph(trainings.config(directory))
        return trainings.minimize(loss, trainings.momentum())

    def wrapped(loss, directory):
        return trainings.minimize(loss, QuantizeOptimizer(trainings.momentum(), trainings.config(directory)))

    operations = executed(tmp_path / 'wrapped', wrapped)
    assert operations == executed(tmp_path / 'explicit', explicit)
    assert sum(name in ('Conv2D', '_FusedConv2D') for name in operations) == 1
    assert operations.count('Conv2DBackpropFilter') == 1


def test_refusals(tmp_path):
    settings = trainings.config(tmp_path)
    with pytest.raises(TypeError, match='tf.train.Optimizer.*str'):
        QuantizeOptimizer('sgd', settings)
    with pytest.raises(TypeError, match='tf.train.Optimizer'):
        QuantizeOptimizer(tf.keras.optimizers.Adam(), settings)
    with pytest.raises(TypeError, match='QuantizeConfig'):
        QuantizeOptimizer(trainings.momentum(), {})


def _code(call):
    with pytest.raises(QuantizeError) as raised:
        call()
    return raised.value.code


def test_a_graph_that_cannot_be_rewritten_is_refused_and_left_alone(tmp_path):
    settings = trainings.config(tmp_path)
    optimizer = QuantizeOptimizer(trainings.momentum(), settings)
    graph = v1.get_default_graph()
    run = trainings.Run()
    assert _code(lambda: optimizer.minimize(lambda: run.loss)) == errors.UNSUPPORTED_GRAPH
    other = trainings.config(tmp_path)
    other.output_nodes = ['no_such_node']
    before = graph.as_graph_def()
    assert _code(lambda: QuantizeOptimizer(trainings.momentum(), other).minimize(run.loss)) == errors.UNKNOWN_NODE
    assert graph.as_graph_def() == before
    with tf.Graph().as_default():
        run = trainings.Run()
        tf.gradients(run.loss, v1.trainable_variables())
        assert _code(lambda: optimizer.minimize(run.loss)) == errors.GRAPH_HAS_GRADIENTS
    with tf.Graph().as_default():
        run = trainings.Run()
        CreateQuantizeEvaluationGraph(settings)
        assert _code(lambda: optimizer.minimize(run.loss)) == errors.ALREADY_QUANTIZED
    with tf.Graph().as_default():
        run = trainings.Run()
        optimizer.minimize(run.loss)
        other.output_nodes = ['pool']
        assert _code(lambda: QuantizeOptimizer(trainings.momentum(), other).minimize(run.loss)) == errors.ALREADY_QUANTIZED


def test_a_loss_inside_a_function_is_refused(tmp_path):
    optimizer = QuantizeOptimizer(trainings.momentum(), trainings.config(tmp_path))

    @tf.function(autograph=False)
    def step(value):
        return optimizer.compute_gradients(tf.reduce_sum(value))

    with pytest.raises(QuantizeError, match='tf.function'):
        step(tf.zeros([2, 2]))
