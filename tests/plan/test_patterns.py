"""Small networks, one for each pattern: what is quantized, in a live graph and in a frozen one.

The expected tensors follow from the rules of the Vitis AI quantizer, written out by hand.
"""
import pytest
import tensorflow as tf
from tensorflow import keras

from tests.plan.networks import activations, batch_of, image, plan_of, plan_of_frozen, skipped

layers = tf.compat.v1.layers


def _conv(x, filters=4, **options):
    return layers.conv2d(x, filters, 3, name='conv', **options)


_WEIGHT, _DEPTHWISE, _BIAS = ('weight', 0), ('weight', 2), ('bias', 0)
_BOTH = (_WEIGHT, _BIAS)
_PATTERNS = {}  # name: (network, quantized results, roles and modes of the rest, fields)


def _pattern(results, constants=_BOTH, **fields):
    def add(network):
        _PATTERNS[network.__name__.strip('_')] = (network, results, constants, fields)
        return network
    return add


@_pattern(['x', 'relu'])
def _convolution():
    tf.nn.relu(_conv(image()), name='relu')


@_pattern(['x', 'conv/BiasAdd', 'relu', 'out'])
def _convolution_with_two_readers():
    x = _conv(image())
    tf.concat([tf.nn.relu(x, name='relu'), x], -1, name='out')


@_pattern(['x', 'relu'], constants=(_DEPTHWISE, _BIAS))
def _depthwise():
    tf.nn.relu(keras.layers.DepthwiseConv2D(3)(image()), name='relu')


@_pattern(['x', 'relu'])
def _volume():
    tf.nn.relu(layers.conv3d(batch_of(4, 6, 6, 3), 4, 3), name='relu')


@_pattern(['x', 'relu'])
def _dilated():
    tf.nn.relu(_conv(image(), dilation_rate=2, padding='same'), name='relu')


@_pattern(['x', 'conv/BatchToSpaceND'], constants=(_WEIGHT,))
def _dilated_alone():
    _conv(image(), dilation_rate=2, use_bias=False)


@_pattern(['x', 'relu'])
def _dilated_depthwise():
    tf.nn.relu(keras.layers.DepthwiseConv2D(3, dilation_rate=2)(image()), name='relu')


@_pattern(['x', 'conv/conv1d/ExpandDims', 'conv/BiasAdd', 'relu'])
def _one_dimension():
    tf.nn.relu(layers.conv1d(batch_of(9, 3), 4, 3, name='conv'), name='relu')


@_pattern(['x', 'conv/conv1d/ExpandDims', 'conv/add', 'relu'])
def _one_dimension_channels_first():
    tf.nn.relu(layers.conv1d(batch_of(3, 9), 4, 3, name='conv', data_format='channels_first'), name='relu')


@_pattern(['x', 'spread', 'conv/conv1d/ExpandDims', 'conv/conv1d', 'conv/conv1d/Squeeze', 'relu'], constants=(_WEIGHT,))
def _dilated_in_one_dimension():
    spread = tf.space_to_batch_nd(batch_of(9, 3), [2], [[2, 1]], name='spread')
    x = layers.conv1d(spread, 4, 3, name='conv', use_bias=False)
    tf.nn.relu(tf.batch_to_space_nd(x, [2], [[0, 0]]), name='relu')


@_pattern(['x', 'dense/Tensordot/transpose', 'dense/Tensordot/Reshape', 'dense/BiasAdd', 'relu'])
def _dense_on_three_axes():
    tf.nn.relu(layers.dense(batch_of(5, 3), 4, name='dense'), name='relu')


@_pattern(['x', 'relu'])
def _transposed():
    tf.nn.relu(layers.conv2d_transpose(image(), 4, 3, 2), name='relu')


@_pattern(['x', 'relu'])
def _transposed_of_keras():
    tf.nn.relu(keras.layers.Conv2DTranspose(4, 3, 2, padding='same')(image()), name='relu')


@_pattern(['x', 'up'], constants=(_WEIGHT,))
def _transposed_to_a_constant_shape():
    x = tf.compat.v1.placeholder(tf.float32, [1, 8, 8, 3], name='x')
    tf.nn.conv2d_transpose(x, tf.compat.v1.get_variable('w', [3, 3, 4, 3]), [1, 16, 16, 4], 2, name='up')


@_pattern(['x', 'up'], constants=(_WEIGHT,))
def _transposed_to_the_shape_of_another_tensor():
    x = image()
    shape = tf.concat([tf.shape(x)[:1], tf.shape(x)[1:3] * 2, [4]], 0)
    tf.nn.conv2d_transpose(x, tf.compat.v1.get_variable('w', [3, 3, 4, 3]), shape, 2, name='up')


@_pattern(['x', 'depth'], constants=())
def _depth_to_space():
    tf.nn.depth_to_space(image(4), 2, name='depth')


@_pattern(['x', 'resize'], constants=())
def _resize_to_a_multiple():
    x = image()
    tf.image.resize_nearest_neighbor(x, tf.shape(x)[1:3] * 2, name='resize')


@_pattern(['x', 'resize'], constants=())
def _resize_to_a_constant():
    tf.image.resize_bilinear(image(), [5, 5], name='resize')


@_pattern(['x', 'conv/BiasAdd', 'product/vitis_hard_sigmoid_mul', 'out'])
def _hard_swish_divided_last():
    x = _conv(image())
    product = tf.multiply(x, tf.nn.relu6(x + 3.0, name='six'), name='product')
    tf.divide(product, 6.0, name='out')


@_pattern(['x', 'conv/BiasAdd', 'gate/h_sigmoid/mul/vitis_hard_sigmoid_mul', 'out'], replace_sigmoid=1)
def _replaced_sigmoid():
    x = _conv(image())
    tf.multiply(x, tf.nn.sigmoid(x, name='gate'), name='out')


@_pattern(['x', 'conv/BiasAdd', 'Sigmoid', 'mul'])
def _swish():
    tf.identity(tf.nn.swish(_conv(image())), name='out')


@_pattern(['x', 'conv/BiasAdd', 'up'])
def _upsampling_by_ones():
    x = tf.reshape(_conv(image()), [-1, 6, 1, 6, 1, 4])
    tf.reshape(x * tf.ones([1, 1, 2, 1, 2, 1]), [-1, 12, 12, 4], name='up')


@_pattern(['x', 'relu', 'conv/BiasAdd'], constants=(_WEIGHT, _BIAS, _WEIGHT, _BIAS))
def _batch_norm_of_the_input():
    _conv(tf.nn.relu(layers.batch_normalization(image()), name='relu'))


@_pattern(['x', 'pool/mul', 'flat/Reshape'], constants=())
def _average():
    layers.flatten(tf.nn.avg_pool2d(image(), 3, 1, 'SAME', name='pool'), name='flat')


@_pattern(['x', 'pool', 'average'], constants=())
def _pools_of_volumes():
    x = tf.nn.max_pool3d(batch_of(4, 6, 6, 3), 2, 2, 'VALID', name='pool')
    tf.nn.avg_pool3d(x, 2, 1, 'SAME', name='average')


@_pattern(['x', 'mean/avgpool/mul', 'mean'], constants=())
def _mean():
    tf.reduce_mean(image(), [1, 2], name='mean')


@_pattern(['x', 'conv/BiasAdd', 'relu'])
def _sum_and_relu():
    x = image()
    tf.nn.relu6(tf.add(_conv(x, 3, padding='same'), x), name='relu')


@_pattern(['x', 'factor', 'product', 'shift', 'sum'], constants=())
def _constant_operands():
    x = tf.multiply(tf.constant(2.0, name='factor'), image(), name='product')
    tf.add(x, tf.constant(0.5, name='shift'), name='sum')


@_pattern(['x', 'clip'], constants=())
def _clip():
    tf.clip_by_value(image(), -1.0, 1.0, name='clip')


@_pattern(['x', 'slice', 'relu'], constants=())
def _slice_and_relu():
    tf.nn.relu(tf.strided_slice(image(), [0, 1, 1, 0], [1, 4, 4, 3], name='slice'), name='relu')


@_pattern(['x', 'pad', 'sum', 'most', 'turn', 'Maximum/y', 'out'], constants=())
def _others():
    x = tf.pad(image(), [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0, name='pad')
    x = tf.reduce_max(tf.reduce_sum(x, 1, True, name='sum'), 1, name='most')
    tf.nn.relu(tf.maximum(tf.transpose(x, [0, 2, 1], name='turn'), 0.25), name='out')


@pytest.mark.parametrize('name', sorted(_PATTERNS))
def test_live_graph(name):
    network, results, constants, fields = _PATTERNS[name]
    network()
    _check(plan_of(_output(), **dict({'simulate_dpu': 1}, **fields)), results, constants)


@pytest.mark.parametrize('name', sorted(_PATTERNS))
def test_frozen_graph(name):
    network, results, constants, fields = _PATTERNS[name]
    network()
    _check(plan_of_frozen(_output(), **fields), results, constants)


def _output():
    """The last float operation of the default graph that nothing reads."""
    return [op for op in tf.compat.v1.get_default_graph().get_operations()
            if op.outputs and op.outputs[0].dtype == tf.float32 and not op.outputs[0].consumers()][-1].name


def _check(plan, results, constants):
    assert sorted(tensor.tensor for tensor in plan.tensors if tensor.mode == 1) == sorted(results)
    assert sorted((tensor.role, tensor.mode) for tensor in plan.tensors if tensor.mode != 1) == sorted(constants)
    assert all(group.input and group.output and group.reduction for group in plan.groups)
    assert not [record for record in plan.skipped if record.op != 'RealDiv']


_PRELUS = {
    'difference': lambda x, a: tf.nn.relu(x) - a * tf.nn.relu(-x), 'sum': lambda x, a: tf.nn.relu(x) + -a * tf.nn.relu(-x),
    'absolute': lambda x, a: tf.nn.relu(x) + a * (x - tf.abs(x)) * 0.5, 'maximum': lambda x, a: tf.maximum(a * x, x)}


@pytest.mark.parametrize('rank', [1, 3])
@pytest.mark.parametrize('form', _PRELUS)
def test_no_part_of_a_prelu_stays_float(form, rank):
    x = layers.conv2d(image(), 4, 3, name='conv')
    slopes = tf.constant([0.1, 0.2, 0.3, 0.4], shape=[1] * (rank - 1) + [4], name='slopes')
    tf.identity(_PRELUS[form](x, slopes), name='prelu')
    plan = plan_of_frozen('prelu')
    assert not plan.skipped
    assert {tensor.role for tensor in plan.tensors if tensor.mode == 1} == {'input', 'activation', 'constant'}


@pytest.mark.parametrize('form', _PRELUS)
def test_a_prelu_of_one_slope_is_an_activation_function(form):
    x = layers.conv2d(image(), 4, 3, name='conv')
    tf.identity(_PRELUS[form](x, tf.constant(0.1)), name='prelu')
    plan = plan_of_frozen('prelu')
    group, = plan.groups
    assert activations(plan) == ['x/aquant', group.output] and not plan.skipped


@pytest.mark.parametrize('arithmetic', [
    lambda x: x / 127.5 - 1.0, lambda x: (x - [1., 2., 3.]) / [4., 5., 6.], lambda x: 1.0 - x, lambda x: -x, lambda x: x - 0.5])
def test_arithmetic_with_constants_is_quantized(arithmetic):
    layers.conv2d(arithmetic(tf.tanh(image(), name='island')), 4, 3, name='conv')
    assert skipped(plan_of_frozen('conv/BiasAdd')).keys() == {'island'}
