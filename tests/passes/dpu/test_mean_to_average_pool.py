"""Mean over height or width as average pooling."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.dpu.mean_to_average_pool import mean_to_average_pool


def _mean(axes, keep, shape=(None, 6, 5, 3), dtype=tf.float32):
    def build():
        x = tf.placeholder(dtype, shape, name='x')
        tf.identity(tf.reduce_mean(x, axes, keepdims=keep, name='m'), name='out')
    return frozen(build)


@pytest.mark.parametrize('keep', [False, True])
@pytest.mark.parametrize('axes', [[1, 2], [2, 1], [-3, -2], [-2, 1]])
def test_a_global_mean_is_average_pooling(axes, keep):
    graph_def = _mean(axes, keep)
    result = apply(mean_to_average_pool, graph_def, ['x', 'out'])
    assert ops(result) == ['AvgPool', 'Identity'] + ([] if keep else ['Squeeze'])
    pool = nodes(result)['m']
    assert list(pool.attr['ksize'].list.i) == list(pool.attr['strides'].list.i) == [1, 6, 5, 1]
    assert pool.attr['padding'].s == b'VALID'
    assert list(nodes(result)['out'].input) == ['m' if keep else 'm/squeeze']
    x = values(2, 6, 5, 3)
    np.testing.assert_allclose(run(result, ['out'], {'x': x})[0], x.mean((1, 2), keepdims=keep), atol=1e-6)


@pytest.mark.parametrize('keep', [False, True])
@pytest.mark.parametrize('axis, window', [(1, [1, 6, 1, 1]), ([-2], [1, 1, 5, 1])])
def test_a_mean_over_one_of_them_is_average_pooling(axis, window, keep):
    result = apply(mean_to_average_pool, _mean(axis, keep), ['x', 'out'])
    assert ops(result) == ['AvgPool', 'Identity'] + ([] if keep else ['Squeeze'])
    assert list(nodes(result)['m'].attr['ksize'].list.i) == list(nodes(result)['m'].attr['strides'].list.i) == window
    x = values(2, 6, 5, 3)
    np.testing.assert_allclose(run(result, ['out'], {'x': x})[0], x.mean(window.index(max(window)), keepdims=keep), atol=1e-6)


@pytest.mark.parametrize('keep', [False, True])
def test_a_protected_mean_keeps_name_and_meaning(keep):
    result = apply(mean_to_average_pool, _mean([1, 2], keep), ['x', 'm'])
    assert nodes(result)['m'].op == ('AvgPool' if keep else 'Squeeze')
    assert keep or nodes(result)['m/avgpool'].op == 'AvgPool'
    x = values(2, 6, 5, 3)
    np.testing.assert_allclose(run(result, ['m'], {'x': x})[0], x.mean((1, 2), keepdims=keep), atol=1e-6)


@pytest.mark.parametrize('axes,shape,dtype', [
    ([0], (None, 6, 5, 3), tf.float32),
    ([2, 3], (None, 6, 5, 3), tf.float32),
    ([1, 2, 3], (None, 6, 5, 3), tf.float32),
    ([], (None, 6, 5, 3), tf.float32),
    (3, (None, 6, 5, 3), tf.float32),
    (1, (None, None, 5, 3), tf.float32),
    ([1, 2], (None, None, 5, 3), tf.float32),
    ([1, 2], (None, 6, 5), tf.float32),
    ([1, 2], None, tf.float32),
    ([1, 2], (None, 6, 5, 3), tf.int32),
])
def test_other_means_stay(axes, shape, dtype):
    graph_def = _mean(axes, False, shape, dtype)
    assert apply(mean_to_average_pool, graph_def, ['x', 'out']) is graph_def


def test_a_mean_over_computed_axes_stays():
    def build():
        axes = tf.placeholder(tf.int32, [2], name='axes')
        tf.reduce_mean(tf.placeholder(tf.float32, [None, 6, 5, 3], name='x'), axes, keepdims=True, name='out')
    graph_def = frozen(build)
    assert apply(mean_to_average_pool, graph_def, ['x', 'axes', 'out']) is graph_def
