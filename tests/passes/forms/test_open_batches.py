"""Reshapes with a batch size in their shape."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, constant_of, frozen, values
from tests.support import run
from vai_q_tf.passes.forms.open_batches import open_batches


def _graph(data, shape, dtype=tf.int32, rows=None, transposed=False):
    def build():
        x = tf.nn.relu(tf.placeholder(tf.float32, data, name='x'))
        y = tf.reshape(x, tf.constant(shape, dtype, name='shape'), name='y')
        if rows:
            y = tf.matmul(y, tf.constant(values(*((3, rows) if transposed else (rows, 3)))), transpose_b=transposed)
        tf.identity(y, 'out')
    return frozen(build)


@pytest.mark.parametrize('dtype', [tf.int32, tf.int64])
@pytest.mark.parametrize('data, shape, rows, transposed, wanted', [
    ([None, 2, 6], [4, 12], None, False, [-1, 12]), ([None, None, 6], [4, 3, 4], None, False, [-1, 3, 4]),
    ([None, 2, 6], [8, 6], None, False, [-1, 6]), ([None, 12], [4, 3, 2, 2], None, False, [-1, 3, 2, 2]),
    ([4, 2, 6], [4, -1], None, False, [-1, 12]), ([4, 2, 6], [4, -1, 3], None, False, [-1, 4, 3]),
    ([None, 2, 6], [4, -1], 12, False, [-1, 12]), ([None, 2, 6], [4, -1], 12, True, [-1, 12])])
def test_a_batch(data, shape, rows, transposed, wanted, dtype):
    graph_def = _graph(data, shape, dtype, rows, transposed)
    result = apply(open_batches, graph_def, ['x', 'out'])
    assert constant_of(result, 'shape', ['x', 'out']).tolist() == wanted
    x = values(4, 2, 6).reshape([4] + [-1 if dim is None else dim for dim in data[1:]] if len(data) > 2 else [4, 12])
    np.testing.assert_array_equal(run(result, ['out'], {'x': x}), run(graph_def, ['out'], {'x': x}))


@pytest.mark.parametrize('data, shape, rows', [
    ([None, 2, 6], [-1, 12], None), ([None, 2, 6], [1, 12], None), ([8, 2, 6], [4, 24], None), (None, [4, 12], None),
    ([None, 2, 6], [32, -1], None),  # which may split images
    ([None, 2, 6], [8, -1], 6), ([None, None, 6], [4, -1], 12)])
def test_others_stay(data, shape, rows):
    graph_def = _graph(data, shape, rows=rows)
    assert apply(open_batches, graph_def, ['x', 'out']) is graph_def


def test_a_shape_that_two_ops_read():
    def build():
        shape = tf.constant([4, 12], name='shape')
        x = tf.reshape(tf.placeholder(tf.float32, [None, 2, 6], name='x'), shape, name='y')
        tf.add(x, tf.cast(tf.reduce_sum(shape), tf.float32), 'out')
    graph_def = frozen(build)
    result = apply(open_batches, graph_def, ['x', 'out'])
    x = values(4, 2, 6)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x}), run(graph_def, ['out'], {'x': x}))


def test_arithmetic_on_parameters_stays():
    def build():
        weights = tf.reshape(tf.constant(values(4, 12)), [4, 3, 4])
        tf.add(tf.placeholder(tf.float32, [4, 3, 4], name='x'), weights, 'out')
    graph_def = frozen(build)
    assert apply(open_batches, graph_def, ['x', 'out']) is graph_def
