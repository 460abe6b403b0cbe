"""Large pools as chains of small pools that compute the same."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.dpu.split_large_pools import split_large_pools


def _pool(op, size, kernel, strides, padding='VALID', batch=None):
    def build():
        x = tf.placeholder(tf.float32, [batch] + list(size) + [2], name='x')
        pool = tf.nn.max_pool2d if op == 'MaxPool' else tf.nn.avg_pool2d
        tf.identity(pool(x, kernel, strides, padding, name='p'), name='out')
    return frozen(build)


def _windows(graph_def):
    """The windows of the chain whose last pool is p."""
    found, name = [], 'p'
    while name != 'x':
        node = nodes(graph_def)[name]
        assert list(node.attr['ksize'].list.i) == list(node.attr['strides'].list.i)
        found.insert(0, tuple(node.attr['ksize'].list.i[1:3]))
        name = node.input[0]
    return found


@pytest.mark.parametrize('op', ['MaxPool', 'AvgPool'])
@pytest.mark.parametrize('size,kernel,strides,padding,windows', [
    ((32, 32), [32, 32], [1, 1], 'VALID', [(4, 4), (8, 8)]),
    ((24, 30), [24, 30], [24, 30], 'VALID', [(4, 5), (6, 6)]),
    ((65, 99), [32, 32], [32, 32], 'VALID', [(4, 4), (8, 8)]),  # whole windows only; the rest is not pooled
    ((64, 64), [32, 32], [32, 32], 'SAME', [(4, 4), (8, 8)]),
    ((24, 24), [24, 24], [40, 24], 'SAME', [(4, 4), (6, 6)]),
    ((31, 32), [31, 32], [3, 2], 'VALID', [(1, 4), (31, 8)]),
    ((1, 600), [1, 600], [1, 600], 'VALID', [(1, 24), (1, 25)]),
    ((512, 512), [512, 512], [1, 1], 'VALID', [(16, 16), (4, 4), (8, 8)]),
])
def test_split(op, size, kernel, strides, padding, windows):
    graph_def = _pool(op, size, kernel, strides, padding)
    result = apply(split_large_pools, graph_def, ['x', 'out'])
    assert _windows(result) == windows
    assert nodes(result)['p'].input[0].startswith('p_viti_split')
    x = {'x': values(2, *size, 2)}
    np.testing.assert_allclose(run(result, ['out'], x)[0], run(graph_def, ['out'], x)[0], atol=1e-6 * (op == 'AvgPool'))


@pytest.mark.parametrize('op', ['MaxPool', 'AvgPool'])
@pytest.mark.parametrize('size,kernel,strides,padding', [
    ((21, 22), [21, 22], [1, 1], 'VALID'),  # 462 elements
    ((64, 64), [32, 32], [16, 32], 'VALID'),  # overlapping
    ((64, 80), [32, 32], [32, 32], 'SAME'),  # padded
    ((32, 32), [32, 32], [8, 8], 'SAME'),
    ((None, 32), [32, 32], [1, 1], 'VALID'),  # not known to be global
    ((128, 128), [24, 24], [48, 48], 'VALID'),  # with gaps
    ((31, 31), [31, 31], [31, 31], 'VALID'),  # prime
    ((1, 1009), [1, 1009], [1, 1009], 'VALID'),
])
def test_other_pools_stay(op, size, kernel, strides, padding):
    graph_def = _pool(op, size, kernel, strides, padding)
    assert apply(split_large_pools, graph_def, ['x', 'out']) is graph_def


def test_windows_side_by_side_need_no_known_size():
    graph_def = _pool('AvgPool', (None, None), [32, 16], [32, 16])
    result = apply(split_large_pools, graph_def, ['x', 'p'])
    assert _windows(result) == [(4, 4), (8, 4)]
    x = {'x': values(1, 70, 50, 2)}
    np.testing.assert_allclose(run(result, ['p'], x)[0], run(graph_def, ['p'], x)[0], atol=1e-6)


def test_channels_first():
    def build():
        x = tf.placeholder(tf.float32, [None, 2, 32, 32], name='x')
        tf.nn.avg_pool2d(x, [32, 32], [1, 1], 'VALID', data_format='NCHW', name='p')
    result = apply(split_large_pools, frozen(build), ['x', 'p'])
    assert ops(result) == ['AvgPool', 'AvgPool']
    assert [list(nodes(result)[name].attr['ksize'].list.i) for name in ('p_viti_split', 'p')] == [[1, 1, 4, 4], [1, 1, 8, 8]]
