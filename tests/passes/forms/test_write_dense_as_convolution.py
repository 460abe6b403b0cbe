"""Dense layers on the last of four dimensions."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, config, constant_of, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.cleanup.fold_constants import fold_constants
from vai_q_tf.passes.common.infer_shapes import infer_shapes
from vai_q_tf.passes.forms.write_dense_as_convolution import write_dense_as_convolution

_SHAPE = (None, 3, 4, 5)
_WEIGHTS, _BIAS = values(5, 6, seed=1), values(6, seed=2)


def _tensordot(x):
    """As tf.layers.Dense and Keras write it."""
    return tf.tensordot(x, tf.constant(_WEIGHTS, name='w'), [[3], [0]], name='dense')


def _by_hand(x, **options):
    rows = tf.matmul(tf.reshape(x, [-1, 5]), tf.constant(_WEIGHTS, name='w'), name='rows', **options)
    return tf.reshape(rows, [-1, 3, 4, 6], name='dense')


def _graph(build, shape=_SHAPE):
    def whole():
        x = tf.placeholder(tf.float32, shape, name='x')
        y = build(x)
        y.set_shape([None, None, None, 6])
        tf.identity(y, 'out')
    return infer_shapes(fold_constants(frozen(whole), frozenset(['x', 'out']), config()), (), config())


@pytest.mark.parametrize('build, shape, matmul', [
    (_tensordot, _SHAPE, 'dense/MatMul'), (_tensordot, (None, None, None, 5), 'dense/MatMul'),
    (_tensordot, (2, 3, 4, 5), 'dense/MatMul'), (_by_hand, _SHAPE, 'rows'),
    (lambda x: tf.nn.relu(_tensordot(x) + _BIAS), _SHAPE, 'dense/MatMul'),
    (lambda x: tf.nn.relu(_tensordot(x)) * _BIAS, _SHAPE, 'dense/MatMul'),
    (lambda x: _tensordot(x) * tf.reduce_mean(x, [1, 2, 3], keepdims=True), _SHAPE, 'dense/MatMul')])
def test_a_convolution_of_size_1(build, shape, matmul):
    graph_def = _graph(build, shape)
    result = apply(write_dense_as_convolution, graph_def, ['x', 'out'])
    assert not {'MatMul', 'Transpose', 'GatherV2'} & set(ops(result)) and nodes(result)[matmul].op == 'Conv2D'
    weights = nodes(result)[matmul].input[1]
    np.testing.assert_array_equal(constant_of(result, weights, ['x', 'out']), _WEIGHTS[None, None])
    x = values(2, 3, 4, 5)
    np.testing.assert_allclose(run(result, ['out'], {'x': x}), run(graph_def, ['out'], {'x': x}), rtol=1e-5, atol=1e-6)


def test_a_protected_result():
    graph_def = _graph(_by_hand)
    result = apply(write_dense_as_convolution, graph_def, ['x', 'dense'])
    assert nodes(result)['dense'].op == 'Conv2D' and 'rows' not in nodes(result)
    x = values(2, 3, 4, 5)
    np.testing.assert_allclose(run(result, ['dense'], {'x': x}), run(graph_def, ['dense'], {'x': x}), rtol=1e-5, atol=1e-6)


def _turned(x):
    return tf.reshape(tf.matmul(tf.reshape(x, [-1, 5]), tf.constant(_WEIGHTS)), [-1, 4, 3, 6])


def _in_other_rows(x):
    return tf.reshape(tf.matmul(tf.reshape(x, [-1, 10]), tf.constant(values(10, 12))), [-1, 3, 4, 6])


def _transposed_before(x):
    return tf.reshape(tf.matmul(tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [-1, 5]), tf.constant(_WEIGHTS)), [-1, 3, 4, 6])


def _of_rank_3(x):
    return tf.expand_dims(tf.tensordot(tf.reduce_max(x, 1), tf.constant(_WEIGHTS), [[2], [0]]), 1)


def _norm(x):
    return tf.nn.fused_batch_norm(x, _BIAS, _BIAS, _BIAS, values(6, seed=4, low=0.5), is_training=False)[0]


@pytest.mark.parametrize('build, shape', [
    (_turned, _SHAPE), (_in_other_rows, _SHAPE), (_transposed_before, _SHAPE), (_of_rank_3, _SHAPE),
    (_by_hand, (None, None, 4, 5)), (lambda x: _by_hand(tf.reshape(x, [-1, 5]), transpose_a=False), _SHAPE),
    (lambda x: _norm(_tensordot(x)), _SHAPE), (lambda x: _norm(_tensordot(x) + _BIAS), _SHAPE),
    (lambda x: tf.reshape(_tensordot(x), [-1, 2, 6, 6]) * _BIAS, _SHAPE),
    (lambda x: tf.reshape(tf.matmul(tf.reshape(x, [-1, 5]), tf.reshape(tf.reduce_max(x, [0, 3]), [2, 6])[:1] * values(5, 1)),
                          [-1, 3, 4, 6]), _SHAPE)])
def test_others_stay(build, shape):
    graph_def = _graph(build, shape)
    assert write_dense_as_convolution(graph_def, frozenset(['x', 'out']), config()) is graph_def
