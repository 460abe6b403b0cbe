"""Slices of constant limits."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.forms.write_slices import write_slices


def _graph(begin, size, shape=(None, 3, 4)):
    def build():
        x = tf.placeholder(tf.float32, shape, name='x')
        tf.slice(x, begin(x), size(x), name='out')
    return frozen(build)


@pytest.mark.parametrize('shape', [(None, 3, 4), (2, 3, 4), None])
@pytest.mark.parametrize('begin, size', [
    ([0, 0, 0], [-1, -1, -1]), ([0, 1, 2], [-1, 2, 1]), ([1, 0, 3], [1, 3, -1]), ([0, 2, 0], [2, 1, 3])])
@pytest.mark.parametrize('kind', [np.int32, np.int64])
def test_the_same_part(begin, size, shape, kind):
    graph_def = _graph(lambda x: kind(begin), lambda x: kind(size), shape)
    result = apply(write_slices, graph_def, ['x', 'out'])
    assert ops(result) == ['StridedSlice'] and nodes(result)['out'].op == 'StridedSlice'
    x = values(2, 3, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x}), run(graph_def, ['out'], {'x': x}))


@pytest.mark.parametrize('shape, size', [((None, 4), -1), ((2, 4), 2)])
def test_a_whole_batch_is_any_batch(shape, size):
    result = apply(write_slices, _graph(lambda x: [0, 1], lambda x: [size, 2], shape), ['x', 'out'])
    attrs = nodes(result)['out'].attr
    assert attrs['begin_mask'].i & 1 and attrs['end_mask'].i & 1


@pytest.mark.parametrize('begin, size', [
    (lambda x: tf.shape(x) - 1, lambda x: [1, 1, 1]), (lambda x: [0, 0, 0], lambda x: tf.shape(x) // 2)])
def test_computed_limits_stay(begin, size):
    graph_def = _graph(begin, size)
    assert apply(write_slices, graph_def, ['x', 'out']) is graph_def
