"""The operands of a normalisation, by their meaning."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.patterns.normalisation import Normalisation, find_normalisation, forms


def _range(output, inputs=('x',)):
    return GraphRange(GraphView(tf.get_default_graph().as_graph_def(add_shapes=True)), inputs, [output])


def _image():
    return tf.placeholder(tf.float32, [None, 4, 4, 3], name='x')


def _vector(value, name):
    return tf.constant(np.full(3, value, np.float32), name=name)


@pytest.mark.parametrize('gamma', [None, 2.0])
@pytest.mark.parametrize('beta', [None, 3.0])
def test_a_decomposed_form(gamma, beta):
    operands = [None if value is None else _vector(value, name) for name, value in (('beta', beta), ('gamma', gamma))]
    y = tf.nn.batch_normalization(_image(), _vector(1, 'mean'), _vector(4, 'variance'), *operands, 0.25, name='norm')
    assert find_normalisation(_range(y.op.name), y.op.name) == Normalisation(
        root=y.op.name, node='', input='x', output=y.op.name, gamma='' if gamma is None else 'gamma',
        beta='' if beta is None else 'beta', mean='mean', variance='variance', epsilon=0.25, training=False)


@pytest.mark.parametrize('training', [False, True])
def test_a_fused_op(training):
    statistics = [None, None] if training else [_vector(1, 'mean'), _vector(4, 'variance')]
    y, _, _ = tf.nn.fused_batch_norm(_image(), _vector(2, 'gamma'), _vector(3, 'beta'), *statistics, epsilon=0.25,
                                     is_training=training, name='norm')
    mean, variance = (y.op.name + ':1', y.op.name + ':2') if training else ('mean', 'variance')
    assert find_normalisation(_range(y.op.name), y.op.name) == Normalisation(
        y.op.name, y.op.name, 'x', y.op.name, 'gamma', 'beta', mean, variance, 0.25, training)


def test_statistics_of_the_batch():
    x = _image()
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    y = tf.nn.batch_normalization(x, mean, variance, _vector(3, 'beta'), _vector(2, 'gamma'), 0.25)
    assert find_normalisation(_range(y.op.name), y.op.name).training


@pytest.mark.parametrize('epsilon', [lambda: tf.constant([0.1, 0.2, 0.3]), lambda: tf.placeholder(tf.float32, []),
                                     lambda: tf.get_variable('epsilon', [])], ids=['vector', 'fed', 'variable'])
def test_an_epsilon_that_is_no_number(epsilon):
    y = tf.nn.batch_normalization(_image(), _vector(1, 'mean'), _vector(4, 'variance'), None, None, epsilon())
    assert find_normalisation(_range(y.op.name), y.op.name) is None


def test_an_epsilon_of_unknown_value():
    """In the view of a training graph, a Const without value represents each variable."""
    epsilon = tf.constant(0.1, name='epsilon')
    y = tf.nn.batch_normalization(_image(), _vector(1, 'mean'), _vector(4, 'variance'), None, None, epsilon)
    graph_def = tf.get_default_graph().as_graph_def(add_shapes=True)
    next(node for node in graph_def.node if node.name == 'epsilon').attr['_variable'].s = b'epsilon'
    assert find_normalisation(GraphRange(GraphView(graph_def), ['x'], [y.op.name]), y.op.name) is None


def test_statistics_of_each_example_are_no_batch_norm():
    x = _image()
    mean, variance = tf.nn.moments(x, [1, 2], keep_dims=True)
    y = tf.nn.batch_normalization(x, mean, variance, _vector(3, 'beta'), _vector(2, 'gamma'), 0.25)
    assert find_normalisation(_range(y.op.name), y.op.name) is None


def test_statistics_chosen_while_the_graph_runs():
    phase = tf.placeholder(tf.bool, [], name='phase')
    choices = _vector(1, 'mean'), _vector(2, 'other')
    mean = tf.cond(phase, lambda: tf.identity(choices[0]), lambda: tf.identity(choices[1]))
    y, _, _ = tf.nn.fused_batch_norm(_image(), _vector(2, 'gamma'), _vector(3, 'beta'), mean, _vector(4, 'variance'),
                                     is_training=False)
    with pytest.raises(errors.QuantizeError, match="let input_fn return False for 'phase'") as raised:
        find_normalisation(_range(y.op.name), y.op.name)
    assert raised.value.code == errors.LEARNING_PHASE


def test_forms_lead_to_what_was_reshaped():
    tf.identity(tf.squeeze(tf.reshape(tf.cast(tf.negative(_image(), name='start'), tf.float16, name='cast'), [-1, 1, 48],
                                      name='flat'), [1], name='thin'), name='end')
    assert list(forms(_range('end'), 'end')) == ['end', 'thin', 'flat', 'cast', 'start']
