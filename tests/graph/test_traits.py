"""The table agrees with TensorFlow's registry of ops, and weight axes with what the ops compute."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from vai_q_tf.graph import traits
from vai_q_tf.graph.traits import FLOAT, FORWARDS, TRAITS, WEIGHTED, trait


def test_every_row_is_an_op():
    of_the_debugger = {'Copy', 'CopyHost', 'DebugIdentity', 'DebugIdentityV2'}  # not in the Python registry
    assert set(TRAITS) - of_the_debugger <= set(op_def_registry.get_registered_ops())


def test_every_op_that_stays_float_says_why():
    assert all(row.reason for row in TRAITS.values() if row.kind == FLOAT)
    assert trait('Betainc').kind == FLOAT and 'Betainc' in trait('Betainc').reason


def test_ops_that_forward_their_input():
    passing = {op for op, row in TRAITS.items() if row.kind == FORWARDS}
    assert traits.IDENTITY_OPS == {'Identity'} and traits.READ_OPS == {'Identity', 'ReadVariableOp'}
    assert passing == {'Identity', 'IdentityN', 'StopGradient', 'CheckNumerics', 'PreventGradient', 'Snapshot', 'DebugIdentity',
                       'DebugIdentityV2', 'Copy', 'CopyHost', 'Print'}
    assert traits.PASS_THROUGH_OPS == passing


def test_data_inputs():
    assert trait('ConcatV2').data_inputs(('a', 'b', 'axis')) == ((0, 'a'), (1, 'b'))
    assert trait('Concat').data_inputs(('axis', 'a', 'b')) == ((1, 'a'), (2, 'b'))
    assert trait('Reshape').data_inputs(('a', 'shape')) == ((0, 'a'),)
    assert trait('Add').data_inputs(('a', 'b')) == ((0, 'a'), (1, 'b'))


def _conv2d(x, w):
    return tf.nn.conv2d(x, w, padding='SAME')


def _depthwise(x, w):
    return tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], 'SAME')


def _transposed(x, w):
    return tf.nn.conv2d_transpose(x, w, [1, 4, 4, 5], 1)


@pytest.mark.parametrize('name, compute, x_shape, w_shape', [
    ('Conv2D', _conv2d, [1, 4, 4, 3], [3, 3, 3, 5]), ('DepthwiseConv2dNative', _depthwise, [1, 4, 4, 3], [3, 3, 3, 2]),
    ('MatMul', tf.matmul, [4, 3], [3, 5]), ('Conv2DBackpropInput', _transposed, [1, 4, 4, 3], [3, 3, 5, 3]),
    ('Conv3D', lambda x, w: tf.nn.conv3d(x, w, [1] * 5, 'SAME'), [1, 2, 4, 4, 3], [1, 3, 3, 3, 5])])
def test_scaling_the_channel_axes_scales_the_output_channels(name, compute, x_shape, w_shape):
    random = np.random.RandomState(1)
    x, w = tf.constant(random.normal(size=x_shape).astype('f')), tf.constant(random.normal(size=w_shape).astype('f'))
    y = compute(x, w)
    row = trait(name)
    assert row.kind == WEIGHTED and y.op.type == name and y.op.inputs[row.weight] is w
    assert y.op.inputs[row.data.start] is x
    channels = [w_shape[axis] for axis in row.channel_axes]
    scale = np.arange(1, np.prod(channels) + 1, dtype='f')
    shape = [w_shape[axis] if axis in row.channel_axes else 1 for axis in range(len(w_shape))]
    with tf.compat.v1.Session() as session:
        scaled, plain = session.run([compute(x, w * scale.reshape(shape)), y])
    np.testing.assert_allclose(scaled, plain * scale, rtol=1e-4, atol=1e-4)
    assert row.depthwise == (name == 'DepthwiseConv2dNative')
    ones = compute(tf.ones(x_shape), tf.ones(w_shape))
    with tf.compat.v1.Session() as session:
        products = session.run(ones).max()
    assert np.prod([w_shape[axis] for axis in row.reduction_axes]) == products
