"""Networks of weighted ops followed by batch norms, and checks of their folded forms."""
import collections

import numpy as np
import tensorflow.compat.v1 as tf

from tests.passes.checking import nodes, values
from tests.support import run
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.passes import optimise

CHANNELS = 4


def weights(*shape, seed=1):
    return tf.constant(values(*shape, seed=seed), name='conv/weights')


def image():
    return tf.placeholder(tf.float32, [None, 6, 6, 3], name='x')


def conv():
    return tf.nn.conv2d(image(), weights(3, 3, 3, CHANNELS), 1, 'SAME', name='conv/op')


def depthwise(multiplier=1):
    x = tf.placeholder(tf.float32, [None, 6, 6, CHANNELS // multiplier], name='x')
    filters = weights(3, 3, CHANNELS // multiplier, multiplier)
    return tf.nn.depthwise_conv2d_native(x, filters, [1, 1, 1, 1], 'SAME', name='conv/op')


def transposed(dynamic=False):
    x = image()
    shape = tf.stack([tf.shape(x)[0], 12, 12, CHANNELS]) if dynamic else [2, 12, 12, CHANNELS]
    return tf.nn.conv2d_transpose(x, weights(3, 3, CHANNELS, 3), shape, 2, 'SAME', name='conv/op')


def conv3d():
    x = tf.placeholder(tf.float32, [None, 3, 4, 4, 3], name='x')
    return tf.nn.conv3d(x, weights(2, 2, 2, 3, CHANNELS), [1] * 5, 'SAME', name='conv/op')


def matmul(transpose=False):
    x = tf.placeholder(tf.float32, [None, 5], name='x')
    shape = (CHANNELS, 5) if transpose else (5, CHANNELS)
    return tf.matmul(x, weights(*shape), transpose_b=transpose, name='conv/op')


def dilated(depth=False):
    spread = tf.space_to_batch_nd(image(), [2, 2], [[2, 2], [2, 2]])
    if depth:
        spread = tf.nn.depthwise_conv2d_native(spread[..., :2], weights(3, 3, 2, 2), [1] * 4, 'VALID', name='conv/op')
    else:
        spread = tf.nn.conv2d(spread, weights(3, 3, 3, CHANNELS), 1, 'VALID', name='conv/op')
    return tf.batch_to_space_nd(spread, [2, 2], [[0, 0], [0, 0]], name='conv/back')


WEIGHTED = collections.OrderedDict([
    ('conv', conv), ('depthwise', depthwise), ('depthwise, two a channel', lambda: depthwise(2)),
    ('transposed', transposed), ('transposed, dynamic', lambda: transposed(True)), ('conv3d', conv3d), ('matmul', matmul),
    ('matmul, transposed', lambda: matmul(True)), ('dilated', dilated),
    ('dilated, depthwise', lambda: dilated(True))])


def vector(seed, low=0.5, high=1.5):
    return values(CHANNELS, seed=seed, low=low, high=high)


def parameters():
    """gamma, beta, mean, variance."""
    return [tf.constant(vector(seed), name='norm/' + name)
            for seed, name in enumerate(('gamma', 'beta', 'mean', 'variance'), 3)]


def fused(y, op='V3'):
    gamma, beta, mean, variance = parameters()
    make = {'V1': tf.raw_ops.FusedBatchNorm, 'V2': tf.raw_ops.FusedBatchNormV2, 'V3': tf.raw_ops.FusedBatchNormV3}[op]
    return make(x=y, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=0.01, is_training=False, name='norm')[0]


def decomposed(y):
    gamma, beta, mean, variance = parameters()
    return tf.nn.batch_normalization(y, mean, variance, beta, gamma, 0.01, name='norm')


def written_out(y):
    gamma, beta, mean, variance = parameters()
    return tf.add(tf.divide(y - mean, tf.sqrt(variance + 0.01)) * gamma, beta, name='norm')


def as_layers_do(y):
    """(beta - mean * scale) + scale * y: the operands in the opposite order."""
    gamma, beta, mean, variance = parameters()
    scale = gamma * tf.rsqrt(variance + 0.01)
    return tf.add(tf.subtract(beta, scale * mean), tf.multiply(scale, y), name='norm')


def full_rank(y):
    shape = [1] * (y.shape.ndims - 1) + [CHANNELS]
    return tf.add(tf.multiply(tf.constant(vector(3).reshape(shape)), y), tf.constant(vector(4).reshape(shape)), name='norm')


def subtracted(y):
    return tf.subtract(tf.constant(vector(4)), tf.multiply(y, tf.constant(vector(3))), name='norm')


def scalar(y):
    return tf.multiply(tf.constant(0.25), y, name='norm')


def factor(y):
    return tf.multiply(y, tf.constant(vector(3)), name='norm')


def factor_before_bias(y):
    return tf.nn.bias_add(tf.multiply(tf.constant(vector(3)), y), tf.constant(vector(4)), name='norm')


NORMS = collections.OrderedDict((make.__name__, make) for make in (
    fused, decomposed, written_out, as_layers_do, full_rank, subtracted, scalar, factor, factor_before_bias))


def no_bias(y):
    return y


def bias_add(y):
    return tf.nn.bias_add(y, tf.constant(vector(7), name='conv/biases'), name='conv/bias')


def bias_left(y):
    return tf.add(tf.constant(vector(7), name='conv/biases'), y, name='conv/bias')


def bias_of_full_rank(y):
    shape = [1] * (y.shape.ndims - 1) + [CHANNELS]
    return tf.raw_ops.AddV2(x=y, y=tf.constant(vector(7).reshape(shape), name='conv/biases'), name='conv/bias')


BIASES = collections.OrderedDict((make.__name__, make) for make in (no_bias, bias_add, bias_left, bias_of_full_rank))


def graph_of(build):
    graph = tf.Graph()
    with graph.as_default():
        build()
    return graph.as_graph_def()


def random_input(graph_def, name='x', seed=0, batch=2):
    shape = [dim.size if dim.size > 0 else batch for dim in nodes(graph_def)[name].attr['shape'].shape.dim]
    return values(*shape, seed=seed)


def settings(outputs=('out',), inputs=('x',), **fields):
    return QuantizeConfig(list(inputs), list(outputs), **dict({'simulate_dpu': 0}, **fields))


def optimised(graph_def, outputs=('out',), inputs=('x',), tolerance=1e-5, fold_constant=True, **fields):
    """The result of `optimise` without the DPU's arithmetic, after checks: the outputs are equal, and it is idempotent.

    The tolerance is relative to the largest output; 0 requires equal bits.
    """
    result = optimise(graph_def, settings(outputs, inputs, **fields), fold_constant)
    feeds = {name: random_input(graph_def, name) for name in inputs}
    assert_equal(run(graph_def, outputs, feeds), run(result, outputs, feeds), tolerance)
    again = optimise(result, settings(outputs, inputs, **fields), fold_constant)
    assert nodes(again) == nodes(result)
    return result


def assert_equal(expected, got, tolerance):
    for before, after in zip(expected, got):
        assert before.shape == after.shape and np.isfinite(before).all()
        np.testing.assert_allclose(after, before, rtol=0, atol=tolerance * np.abs(before).max())


def inputs_of(graph_def):
    return {node.name: list(node.input) for node in graph_def.node}
