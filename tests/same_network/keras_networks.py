"""Networks of tf.keras.layers; their learning phase is fixed before they are built, and their variables are resources."""
import tensorflow.compat.v1 as tf
from tensorflow import keras

from tests.same_network.building import RATE, image, network, vector

layers = keras.layers


def _norm(x, name='bn', **options):
    layer = layers.BatchNormalization(momentum=0.9, name=name, **options)
    x = layer(x)
    for update in layer.updates:
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    return x


def _conv(x, name='conv', depth=4, size=3, **options):
    return layers.Conv2D(depth, size, **dict({'padding': 'same', 'use_bias': False, 'name': name}, **options))(x)


def _conv_bn_relu(x, name, depth=4, size=3, **options):
    x = _norm(_conv(x, name + '_conv', depth, size, **options), name + '_bn')
    return layers.ReLU(name=name + '_relu')(x)


def _conv_relu(x, name, depth=4, size=3, **options):
    return _conv(x, name + '_conv', depth, size, use_bias=True, activation='relu', **options)


def _head(x):
    return layers.Conv2D(5, 1, name='logits')(x)


@network
def keras_conv_bn(training):
    del training
    x = layers.Activation('relu', name='relu')(_norm(_conv(image())))
    x = layers.Activation('relu', name='relu2')(_norm(_conv(x, 'conv2', use_bias=True), 'bn2', scale=False))
    return _head(x)


@network
def keras_separable_and_depthwise(training):
    del training
    x = layers.SeparableConv2D(4, 3, use_bias=False, name='separable')(image())
    x = layers.ReLU(6., name='relu6')(_norm(x))
    x = layers.DepthwiseConv2D(3, padding='same', depth_multiplier=2, use_bias=False, name='depthwise')(x)
    return _head(layers.ReLU(name='relu')(_norm(x, 'bn2')))


@network
def keras_transposed(training):
    del training
    x = layers.Conv2DTranspose(4, 3, 2, 'same', use_bias=False, name='up')(image(4))
    x = layers.ReLU(name='relu')(_norm(x))
    return layers.Conv2DTranspose(5, 2, 2, name='logits')(x)


@network
def keras_dense(training):
    del training
    x = layers.Dense(8, use_bias=False, name='dense')(vector())
    x = layers.ReLU(name='relu')(_norm(x))
    return layers.Dense(5, activation='softmax', name='predictions')(x)


@network
def keras_dropout_and_flatten(training):
    del training
    x = layers.Flatten(name='flatten')(_conv_relu(image(), 'stem'))
    x = layers.Dropout(RATE, name='dropout')(x)
    x = layers.Dense(6, activation='relu', name='dense')(x)
    return layers.Dense(5, name='logits')(layers.Dropout(RATE, name='dropout2')(x))


@network
def keras_spatial_dropout(training):
    del training
    return _head(layers.SpatialDropout2D(RATE, name='dropout')(_conv_bn_relu(image(), 'stem')))


@network
def keras_flatten_of_a_fixed_batch(training):
    del training
    x = layers.Flatten(name='flatten')(_conv_relu(image(batch=4), 'stem'))
    return layers.Dense(5, name='logits')(x)


@network
def keras_global_average_pool(training):
    del training
    x = layers.GlobalAveragePooling2D(name='pool')(_conv_bn_relu(image(7), 'stem'))
    return layers.Dense(5, name='logits')(x)


@network
def keras_pools_and_padding(training):
    del training
    x = _conv_relu(layers.ZeroPadding2D(((0, 1), (0, 1)), name='pad')(image(16)), 'stem', padding='valid', strides=2)
    x = layers.concatenate([layers.MaxPool2D(2, name='max')(x), layers.AvgPool2D(2, name='average')(x)], name='concat')
    return _head(layers.Cropping2D(1, name='crop')(x))


@network
def keras_leaky_relu(training):
    del training
    return _head(layers.LeakyReLU(0.1, name='leaky')(_norm(_conv(image()))))


@network
def keras_prelu(training):
    del training
    return _head(layers.PReLU(shared_axes=[1, 2], name='prelu')(_norm(_conv(image()))))


@network
def keras_hard_sigmoid(training):
    del training
    return _head(layers.Activation('hard_sigmoid', name='hard')(_norm(_conv(image()))))


@network
def keras_relu6_swish(training):
    """Hard swish as in keras.applications."""
    del training
    x = _norm(_conv(image()))
    return _head(layers.Multiply(name='product')([layers.ReLU(6., name='relu6')(x + 3.) * (1. / 6.), x]))


@network
def keras_upsampling(training):
    del training
    x = layers.UpSampling2D(2, name='nearest')(_conv_relu(image(4), 'stem'))
    x = layers.UpSampling2D(2, interpolation='bilinear', name='bilinear')(_conv_relu(x, 'second'))
    return _head(x)


@network
def keras_residual(training):
    del training
    x = _conv_bn_relu(image(), 'stem')
    y = _norm(_conv(_conv_bn_relu(x, 'first'), 'second'), 'second_bn')
    return _head(layers.ReLU(name='relu')(layers.Add(name='sum')([x, y])))


@network
def keras_squeeze_excite(training):
    """Squeeze and excite as in EfficientNet, with swish."""
    del training
    x = layers.Activation(tf.nn.swish, name='swish')(_norm(_conv(image())))
    y = layers.Reshape((1, 1, 4), name='reshape')(layers.GlobalAveragePooling2D(name='squeeze')(x))
    y = layers.Conv2D(2, 1, activation='relu', name='reduce')(y)
    y = layers.Conv2D(4, 1, activation='sigmoid', name='expand')(y)
    return _head(layers.multiply([x, y], name='excite'))


@network
def keras_conv1d(training):
    del training
    x = layers.Conv1D(4, 3, use_bias=False, name='conv')(tf.placeholder(tf.float32, [None, 16, 3], 'x'))
    x = layers.MaxPool1D(2, name='pool')(layers.ReLU(name='relu')(_norm(x)))
    return layers.Dense(5, name='logits')(layers.Flatten(name='flatten')(x))


@network
def keras_shared_layer(training):
    """One layer applied to two inputs."""
    del training
    layer = layers.Conv2D(4, 3, activation='relu', name='shared')
    return _head(layers.subtract([layer(image()), layer(image(name='x2'))], name='difference'))
