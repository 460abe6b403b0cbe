"""Batch norms as multiplication and addition: every op, hostile statistics, and parameters that do not fit."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes import folded_networks
from tests.passes.checking import apply, config, constant_of, frozen, nodes, ops, value_of
from tests.passes.folded_networks import CHANNELS, graph_of, optimised, settings, vector
from tests.support import run
from vai_q_tf import errors
from vai_q_tf.graph.view import SOURCE_NODES
from vai_q_tf.passes import optimise
from vai_q_tf.passes.folding.expand_batch_norms import expand_batch_norms


@pytest.mark.parametrize('op', ['V1', 'V2', 'V3'])
def test_versions_of_the_fused_op(op):
    def build():
        tf.identity(folded_networks.fused(folded_networks.conv(), op), name='out')
    assert ops(optimised(graph_of(build))) == ['BiasAdd', 'Conv2D', 'Identity']


@pytest.mark.parametrize('scaled', [True, False])
def test_batch_norm_with_global_normalization(scaled):
    graph_def = graph_of(lambda: tf.identity(folded_networks.fused(folded_networks.conv()), name='out'))
    norm = nodes(graph_def)['norm']
    norm.op = 'BatchNormWithGlobalNormalization'
    gamma, beta, mean, variance = norm.input[1:]
    norm.input[1:] = [mean, variance, beta, gamma]
    norm.attr.clear()
    norm.attr['T'].type = tf.float32.as_datatype_enum
    norm.attr['variance_epsilon'].f = 0.01
    norm.attr['scale_after_normalization'].b = scaled
    expanded = nodes(expand_batch_norms(graph_def, ['x', 'out'], config()))
    assert expanded['norm/scale'].attr[SOURCE_NODES].list.s == [b'norm/gamma' if scaled else b'norm/variance']
    assert expanded['norm/offset'].attr[SOURCE_NODES].list.s == [b'norm/beta']
    graph_def.versions.producer = 8  # the last one for which TensorFlow still runs the op
    x = folded_networks.random_input(graph_def)
    after, = run(optimise(graph_def, settings()), ['out'], {'x': x})
    convolved, = run(graph_of(folded_networks.conv), ['conv/op'], {'x': x})
    gamma, beta, mean, variance = [vector(seed) for seed in range(3, 7)]
    expected = (convolved - mean) / np.sqrt(variance + 0.01) * (gamma if scaled else 1) + beta
    np.testing.assert_allclose(after, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize('place', ['relu', 'input', 'concat', 'pool'])
def test_a_batch_norm_after_other_ops_is_a_mul_and_an_add(place):
    def build():
        if place == 'input':
            y = tf.placeholder(tf.float32, [None, 6, 6, CHANNELS], name='x')
        elif place == 'concat':
            y = tf.concat([folded_networks.conv()] * 2, -1)[..., :CHANNELS]
        else:
            y = folded_networks.conv()
            y = tf.nn.relu(y) if place == 'relu' else tf.nn.max_pool2d(y, 2, 2, 'SAME')
        tf.nn.relu(folded_networks.fused(y), name='out')
    result = optimised(graph_of(build))
    assert nodes(result)['norm'].op == 'Add' and nodes(result)['norm/mul'].op == 'Mul'
    scale, offset = value_of(result, 'norm/scale'), value_of(result, 'norm/offset')
    # By TensorFlow's kernels, to the bit, as in a graph of variables; its rsqrt is not the correctly rounded one.
    with tf.Graph().as_default(), tf.Session() as session:
        np.testing.assert_array_equal(scale, session.run(tf.rsqrt(vector(6) + np.float32(0.01)) * vector(3)))
    np.testing.assert_array_equal(offset, vector(4) - vector(5) * scale)
    exact = vector(3).astype(np.float64) / np.sqrt(vector(6).astype(np.float64) + 0.01)
    np.testing.assert_allclose(scale, exact, rtol=4 * np.finfo(np.float32).eps)


@pytest.mark.parametrize('gamma', [0.0, 1e-30])
@pytest.mark.parametrize('variance', [0.0, 1e-38])
def test_hostile_statistics(gamma, variance):
    def build():
        y = folded_networks.conv()
        norm = tf.nn.fused_batch_norm(y, tf.fill([CHANNELS], gamma), tf.ones([CHANNELS]), tf.ones([CHANNELS]),
                                      tf.fill([CHANNELS], variance), epsilon=0.001, is_training=False)[0]
        tf.identity(norm, name='out')
    result = optimised(graph_of(build))
    assert all(np.isfinite(tf.make_ndarray(node.attr['value'].tensor)).all() for node in result.node if node.op == 'Const')


def _norm(data_format='NHWC', training=False, other_output=False):
    """A batch norm of x, whose scale is 2 and whose offset is -1 in the last channel."""
    def build():
        x = tf.placeholder(tf.float32, [None, 2, 4, 4] if data_format == 'NCHW' else [None, 4, 4, 2], name='x')
        parameters = [tf.constant(value) for value in ([1.0, 6.0], [0.0, 5.0], [1.0, 3.0], [1.0, 8.0])]
        norm = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=parameters[0], offset=parameters[1], mean=[] if training else parameters[2],
            variance=[] if training else parameters[3], epsilon=1.0, data_format=data_format, is_training=training, name='norm')
        tf.identity(norm.y, name='out')
        if other_output:
            tf.identity(norm.batch_mean, name='mean')
    return frozen(build)


@pytest.mark.parametrize('data_format, shape', [('NHWC', (2,)), ('NCHW', (1, 2, 1, 1))])
def test_scale_and_offset(data_format, shape):
    result = expand_batch_norms(_norm(data_format), ['x', 'out'], config())
    assert list(nodes(result)['norm'].input) == ['norm/mul', 'norm/offset']
    assert list(nodes(result)['norm/mul'].input) == ['x', 'norm/scale']
    scale, offset = [constant_of(result, name, ['x', 'out']) for name in ('norm/scale', 'norm/offset')]
    assert scale.shape == offset.shape == shape
    np.testing.assert_allclose(scale.ravel(), [np.sqrt(0.5), 2.0], rtol=1e-5)
    np.testing.assert_allclose(offset.ravel(), [-np.sqrt(0.5), -1.0], rtol=1e-5)


@pytest.mark.parametrize('fields', [dict(training=True), dict(other_output=True)])
def test_others_stay(fields):
    graph_def = _norm(**fields)
    assert apply(expand_batch_norms, graph_def, ['x', 'out', *['mean'] * ('other_output' in fields)]) is graph_def


def test_a_batch_norm_of_the_training_phase_is_named():
    def build():
        x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='x')
        ones, mean = tf.ones([3]), tf.constant([1., 2., 3.], name='mean')
        y = tf.raw_ops.FusedBatchNorm(x=x, scale=ones, offset=ones, mean=mean, variance=mean, is_training=False, name='norm')
        tf.nn.relu(y[0], name='out')
    graph_def = graph_of(build)
    nodes(graph_def)['mean'].attr['value'].tensor.CopyFrom(tf.make_tensor_proto([], tf.float32))
    with pytest.raises(errors.QuantizeError, match="'norm'.*learning phase") as raised:
        optimise(graph_def, settings())
    assert raised.value.code == errors.LEARNING_PHASE
