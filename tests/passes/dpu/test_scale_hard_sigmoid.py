"""The factor between the DPU's hard sigmoid and the exact one."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.dpu.replace_sigmoid import replace_sigmoid
from vai_q_tf.passes.dpu.scale_hard_sigmoid import scale_hard_sigmoid

_FACTOR = np.float32(1.0001220703125)


def _graph(form, offset=3.0, six=6.0, add=tf.add):
    def build():
        x = tf.placeholder(tf.float32, [None, 50], name='x')
        three = tf.constant(np.float32(offset))
        clipped = tf.nn.relu6(add(x, three) if form != 'swapped' else add(three, x))
        sixth = tf.constant(np.float32(1 / six))
        if form == 'divided':
            h = tf.divide(clipped, tf.constant(np.float32(six)), name='h')
        elif form == 'swapped':
            h = tf.multiply(sixth, clipped, name='h')
        else:
            h = tf.multiply(clipped, sixth, name='h')
        tf.multiply(x, h, name='out')
    return frozen(build)


@pytest.mark.parametrize('add', [tf.add, tf.math.add_v2 if hasattr(tf.math, 'add_v2') else tf.add])
@pytest.mark.parametrize('form', ['multiplied', 'swapped', 'divided'])
@pytest.mark.parametrize('protected', [False, True])
def test_a_hard_sigmoid_is_scaled(form, protected, add):
    graph_def = _graph(form, add=add)
    result = apply(scale_hard_sigmoid, graph_def, ['x', 'out'] + ['h'] * protected)
    scaled = 'h' if protected else 'h/vitis_hard_sigmoid_mul'
    assert list(nodes(result)['out'].input) == ['x', scaled] and nodes(result)[scaled].op == 'Mul'
    assert list(nodes(result)[scaled].input) == ['h/hard_sigmoid' if protected else 'h', 'h/vitis_hard_sigmoid_mul/scale']
    x = {'x': values(4, 50, low=-8, high=8)}
    h, out = run(graph_def, ['h', 'out'], x)
    np.testing.assert_array_equal(run(result, [scaled, 'out'], x)[0], h * _FACTOR)
    np.testing.assert_array_equal(run(result, [scaled, 'out'], x)[1], x['x'] * (h * _FACTOR))


@pytest.mark.parametrize('offset', [[3.0] * 50, 3.0002])
def test_constants_of_other_shapes_and_near_values(offset):
    assert ops(apply(scale_hard_sigmoid, _graph('multiplied', offset), ['x', 'out'])).count('Mul') == 3


@pytest.mark.parametrize('form', ['multiplied', 'swapped', 'divided'])
@pytest.mark.parametrize('offset,six', [(2.5, 6.0), (3.0, 5.0), ([3.0] * 49 + [2.0], 6.0), (0.0, 6.0)])
def test_other_constants_are_no_hard_sigmoid(form, offset, six):
    graph_def = _graph(form, offset, six)
    assert apply(scale_hard_sigmoid, graph_def, ['x', 'out']) is graph_def


def test_six_over_relu6_is_no_hard_sigmoid():
    def build():
        tf.divide(tf.constant(6.0), tf.nn.relu6(tf.placeholder(tf.float32, [None, 50], name='x') + 3.0), name='out')
    graph_def = frozen(build)
    assert apply(scale_hard_sigmoid, graph_def, ['x', 'out']) is graph_def


def test_a_replaced_sigmoid_is_scaled():
    def build():
        tf.identity(tf.sigmoid(tf.placeholder(tf.float32, [None, 50], name='x'), name='s'), name='out')
    graph_def = apply(replace_sigmoid, frozen(build), ['x', 'out'])
    result = apply(scale_hard_sigmoid, graph_def, ['x', 'out'])
    assert list(nodes(result)['out'].input) == ['s/h_sigmoid/mul/vitis_hard_sigmoid_mul']
