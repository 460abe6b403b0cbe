"""Convolutions with explicit padding."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.forms.write_explicit_padding import write_explicit_padding


def _graph(padding, shape=(None, 5, 6, 2), strides=1):
    def build():
        x = tf.placeholder(tf.float32, shape, name='x')
        tf.nn.relu(tf.nn.conv2d(x, tf.constant(values(3, 3, 2, 4)), strides, padding, name='conv'), name='out')
    return frozen(build)


@pytest.mark.parametrize('protected', ['conv', 'out'])
@pytest.mark.parametrize('strides', [1, 2])
@pytest.mark.parametrize('shape', [(None, 5, 6, 2), None, (None, None, None, 2)])
def test_a_pad_and_valid(shape, strides, protected):
    graph_def = _graph([[0, 0], [1, 0], [2, 3], [0, 0]], shape, strides)
    result = apply(write_explicit_padding, graph_def, ['x', protected])
    assert ops(result) == sorted(['Conv2D', 'Pad'] + ['Relu'] * (protected == 'out'))
    assert nodes(result)['conv'].input[0] == 'conv/pad' and nodes(result)['conv'].attr['padding'].s == b'VALID'
    x = values(2, 5, 6, 2)
    np.testing.assert_array_equal(run(result, [protected], {'x': x}), run(graph_def, [protected], {'x': x}))


def test_nothing_to_pad():
    graph_def = _graph([[0, 0]] * 4)
    assert ops(apply(write_explicit_padding, graph_def, ['x', 'out'])) == ['Conv2D', 'Relu']


@pytest.mark.parametrize('padding', ['SAME', 'VALID'])
def test_others_stay(padding):
    graph_def = _graph(padding)
    assert apply(write_explicit_padding, graph_def, ['x', 'out']) is graph_def


def test_a_branch_stays():
    def build():
        x, w = tf.placeholder(tf.float32, [1, 5, 6, 2], name='x'), tf.constant(values(3, 3, 2, 4))
        pads = [[0, 0], [1, 1], [1, 1], [0, 0]]
        y = tf.cond(tf.reduce_any(x > 0), lambda: tf.nn.conv2d(x, w, 1, pads), lambda: tf.zeros([1, 5, 6, 4]))
        tf.identity(y, 'out')
    graph_def = frozen(build)
    assert apply(write_explicit_padding, graph_def, ['x', 'out']) is graph_def
