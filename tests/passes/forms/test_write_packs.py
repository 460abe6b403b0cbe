"""Packs of floats."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, constant_of, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.forms.write_packs import write_packs


def _graph(parts, axis, shape=(None, 3, 4)):
    def build():
        x = tf.placeholder(tf.float32, shape, name='x')
        tf.stack(parts(x), axis, name='out')
    return frozen(build)


def _two(x):
    return [x, tf.nn.relu(x)]


@pytest.mark.parametrize('parts', [_two, lambda x: [x, x, tf.exp(x)]])
@pytest.mark.parametrize('axis', [0, 1, 3, -1, -2, -4])
def test_parts_with_one_more_dimension(parts, axis):
    graph_def = _graph(parts, axis)
    result = apply(write_packs, graph_def, ['x', 'out'])
    assert 'Pack' not in ops(result) and nodes(result)['out'].op == 'ConcatV2'
    assert nodes(result)['out'].input[0] == 'out/part_0'
    x = values(3, 3, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x}), run(graph_def, ['out'], {'x': x}))


def test_one_part():
    graph_def = _graph(lambda x: [x], 1)
    assert ops(apply(write_packs, graph_def, ['x', 'out'])) == ['ExpandDims']


def test_a_parameter_among_the_parts():
    graph_def = _graph(lambda x: [tf.constant(values(3, 4, seed=1), name='c'), x], 0, (3, 4))
    result = apply(write_packs, graph_def, ['x', 'out'])
    assert constant_of(result, 'c', ['x', 'out']).shape == (1, 3, 4) and ops(result).count('ExpandDims') == 1
    np.testing.assert_array_equal(run(result, ['out'], {'x': values(3, 4)}), run(graph_def, ['out'], {'x': values(3, 4)}))


@pytest.mark.parametrize('parts, shape', [
    (_two, None),  # of an unknown rank
    (lambda x: [tf.shape(x), tf.shape(x)], (None, 3, 4)),
    (lambda x: [tf.constant([1., 2.]), tf.constant([3., 4.])], (None, 3, 4)),
    (lambda x: [tf.cond(tf.reduce_any(x > 0), lambda: tf.stack([x, x]), lambda: tf.zeros([2, 1]))], (None, 3, 4))])
def test_others_stay(parts, shape):
    def build():
        x = tf.placeholder(tf.float32, shape, name='x')
        many = parts(x)
        tf.identity(many[0] if len(many) == 1 else tf.stack(many), 'out')
    graph_def = frozen(build)
    assert apply(write_packs, graph_def, ['x', 'out']) is graph_def
