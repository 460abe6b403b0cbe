"""Small versions of networks in use, made with Keras and slim.

Each function builds one in the default graph and returns its output tensors; the input is 'x'.
"""
import tensorflow as tf
from tensorflow import keras
from tensorflow.contrib import slim
from tensorflow.contrib.slim.python.slim.nets import inception, resnet_v1

layers = keras.layers
v1 = tf.compat.v1


def _conv(x, filters, kernel=3, stride=1, activation='relu', **options):
    x = layers.Conv2D(filters, kernel, strides=stride, padding='same', use_bias=False, **options)(x)
    return _activate(layers.BatchNormalization()(x), activation)


def _depthwise(x, kernel=3, stride=1, activation='relu', **options):
    x = layers.DepthwiseConv2D(kernel, strides=stride, padding='same', use_bias=False, **options)(x)
    return _activate(layers.BatchNormalization()(x), activation)


def _activate(x, name):
    function = {
        'none': lambda y: y, 'relu': tf.nn.relu, 'relu6': tf.nn.relu6, 'swish': lambda y: y * tf.sigmoid(y),
        'hard swish': lambda y: y * tf.nn.relu6(y + 3.0) / 6.0,
        'hard swish 2': lambda y: y * (tf.nn.relu6(y + 3.0) * (1 / 6.0)),
        'leaky': lambda y: tf.nn.leaky_relu(y, 0.1), 'leaky maximum': lambda y: tf.maximum(0.1 * y, y),
        'leaky difference': lambda y: tf.nn.relu(y) - 0.1 * tf.nn.relu(-y)}[name]
    return layers.Lambda(function)(x)


def _squeeze_excite(x, gate):
    channels = int(x.shape[-1])
    y = layers.Reshape((1, 1, channels))(layers.GlobalAveragePooling2D()(x))
    y = layers.Conv2D(channels, 1)(layers.Conv2D(channels // 2, 1, activation='relu')(y))
    return layers.Multiply()([x, layers.Lambda(gate)(y)])


def _inverted(x, expanded, filters, stride, activation, gate):
    y = _depthwise(_conv(x, expanded, 1, activation=activation), 3, stride, activation)
    y = _conv(_squeeze_excite(y, gate), filters, 1, activation='none')
    return layers.Add()([x, y]) if stride == 1 and filters == int(x.shape[-1]) else y


def _mobile(activation, gate, stages):
    x = _conv(layers.Input([64, 64, 3], name='x'), 8, 3, 2, activation)
    for expanded, filters, stride in stages:
        x = _inverted(x, expanded, filters, stride, activation, gate)
    x = layers.GlobalAveragePooling2D()(_conv(x, 48, 1, activation=activation))
    return [layers.Dense(10, activation='softmax')(layers.Dropout(0.2)(x))]


def mobile_net_v3(activation='hard swish'):
    return _mobile(activation, lambda y: tf.nn.relu6(y + 3.0) / 6.0, [(16, 8, 1), (24, 12, 2), (36, 12, 1)])


def mobile_net_v3_of_the_other_order():
    return mobile_net_v3('hard swish 2')


def efficient_net():
    return _mobile('swish', tf.sigmoid, [(16, 8, 1), (24, 12, 2), (36, 12, 1)])


def _yolo(activation, upsample):
    x = layers.Input([64, 64, 3], name='x')
    for filters in (8, 16, 32):
        x = layers.MaxPool2D(2)(_conv(x, filters, activation=activation))
    early = x = _conv(x, 32, activation=activation)
    x = _conv(layers.MaxPool2D(2)(x), 48, activation=activation)
    x = _conv(layers.MaxPool2D(2, 1, padding='same')(x), 32, 1, activation=activation)
    coarse = layers.Conv2D(18, 1)(_conv(x, 48, activation=activation))
    x = layers.Concatenate()([upsample(_conv(x, 16, 1, activation=activation)), early])
    return [coarse, layers.Conv2D(18, 1)(_conv(x, 32, activation=activation))]


def yolo():
    return _yolo('leaky', layers.UpSampling2D(2))


def yolo_with_maximum():
    return _yolo('leaky maximum', layers.UpSampling2D(2, interpolation='bilinear'))


def yolo_with_difference():
    return _yolo('leaky difference', layers.Lambda(lambda x: tf.nn.depth_to_space(x, 2)))


def u_net():
    def twice(x, filters):
        return _conv(_conv(x, filters), filters)

    def up(x, early, filters):
        x = layers.Conv2DTranspose(filters, 2, strides=2, padding='same')(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        return twice(layers.Concatenate()([x, early]), filters)
    first = twice(layers.Input([32, 32, 3], name='x'), 8)
    second = twice(layers.MaxPool2D()(first), 16)
    x = twice(layers.MaxPool2D()(second), 32)
    return [layers.Conv2D(1, 1, activation='sigmoid')(up(up(x, second, 16), first, 8))]


def deep_lab():
    x = v1.placeholder(tf.float32, [None, 33, 33, 3], name='x')
    with slim.arg_scope(resnet_v1.resnet_arg_scope()), slim.arg_scope([slim.batch_norm], is_training=False):
        blocks = [resnet_v1.resnet_v1_block('block{}'.format(number), 8, 2, 2) for number in range(2)]
        x, _ = resnet_v1.resnet_v1(x, blocks, None, False, global_pool=False, output_stride=8)
        x = slim.separable_conv2d(slim.conv2d(x, 16, 3, rate=2), None, 3, 1, rate=2)
        x = slim.conv2d(x, 5, 1, activation_fn=None, normalizer_fn=None)
    return [v1.image.resize_bilinear(x, [33, 33], name='up')]


def pyramid():
    second = _conv(layers.Input([32, 32, 3], name='x'), 16, 3, 2)
    third = _conv(second, 32, 3, 2)
    deep = layers.Conv2D(16, 1)(_conv(third, 48, 3, 2))
    middle = layers.Add()([layers.Conv2D(16, 1)(third), layers.UpSampling2D(2)(deep)])
    high = layers.Add()([layers.UpSampling2D(2)(middle), layers.Conv2D(16, 1)(second)])
    head = layers.Conv2D(8, 3, padding='same', activation='relu')
    return [layers.Concatenate(axis=1)([layers.Reshape((-1, 8))(head(level)) for level in (high, middle, deep)])]


def inception_v1():
    x = v1.placeholder(tf.float32, [None, 224, 224, 3], name='x')
    with slim.arg_scope(inception.inception_v1_arg_scope()):
        return [inception.inception_v1(x, 10, is_training=False)[0]]


def _application(network, size):
    def build():
        return [network(weights=None, input_tensor=layers.Input([size, size, 3], name='x'), classes=10).output]
    return build


xception = _application(keras.applications.Xception, 71)
dense_net = _application(keras.applications.DenseNet121, 32)


def volumes():
    x = layers.Conv3D(8, 3, padding='same', use_bias=False)(layers.Input([8, 16, 16, 3], name='x'))
    x = layers.MaxPool3D((1, 2, 2))(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.AveragePooling3D(2)(layers.Add()([x, layers.Conv3D(8, 3, padding='same', activation='relu')(x)]))
    return [layers.Dense(5)(layers.Flatten()(x))]


def sequences():
    x = layers.Conv1D(16, 3, padding='same', use_bias=False)(layers.Input([32, 4], name='x'))
    x = layers.MaxPool1D(2)(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.Conv1D(16, 3, padding='causal', dilation_rate=2, activation='relu')(x)
    return [layers.Dense(4, activation='softmax')(layers.GlobalAveragePooling1D()(layers.AveragePooling1D(2)(x)))]


def perceptron():
    x = layers.Dense(64, activation='relu')(layers.Input([20], name='x'))
    x = layers.Dense(64, use_bias=False)(layers.BatchNormalization()(x))
    x = layers.LeakyReLU(0.1)(layers.Dropout(0.5)(layers.BatchNormalization()(x)))
    return [layers.Dense(3, activation='softmax')(x)]


def mini_vgg_net():
    x = layers.Input([32, 32, 3], name='x')
    for filters in (32, 64):
        for _ in range(2):
            x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, padding='same')(x)))
        x = layers.Dropout(0.25)(layers.MaxPool2D(2)(x))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(512)(layers.Flatten()(x))))
    return [layers.Dense(10, activation='softmax')(layers.Dropout(0.5)(x))]


def mini_google_net():
    def conv(x, filters, kernel, stride=1, padding='same'):
        x = layers.Conv2D(filters, kernel, strides=stride, padding=padding)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    def fork(x, narrow, wide):
        return layers.Concatenate()([conv(x, narrow, 1), conv(x, wide, 3)])

    def shrink(x, filters):
        return layers.Concatenate()([conv(x, filters, 3, 2, 'valid'), layers.MaxPool2D(3, 2)(x)])
    x = conv(layers.Input([32, 32, 3], name='x'), 96, 3)
    x = shrink(fork(fork(x, 32, 32), 32, 48), 80)
    x = shrink(fork(fork(fork(fork(x, 112, 48), 96, 64), 80, 80), 48, 96), 96)
    x = layers.AveragePooling2D(7)(fork(fork(x, 176, 160), 176, 160))
    return [layers.Dense(10, activation='softmax')(layers.Flatten()(layers.Dropout(0.5)(x)))]


def mini_res_net():
    """Bottlenecks with the batch norm in front, three times nine of them, and a batch norm of the input."""
    def conv(x, filters, kernel=1, stride=1):
        return layers.Conv2D(filters, kernel, strides=stride, padding='same', use_bias=False)(x)

    def ready(x):
        return layers.ReLU()(layers.BatchNormalization()(x))

    x = conv(layers.BatchNormalization()(layers.Input([32, 32, 3], name='x')), 64, 3)
    for filters, stride in ((64, 1), (128, 2), (256, 2)):
        for number in range(9):
            first, step = ready(x), 1 if number else stride
            shortcut = x if number else conv(first, filters, 1, step)
            y = conv(ready(conv(first, filters // 4)), filters // 4, 3, step)
            x = layers.Add()([conv(ready(y), filters), shortcut])
    x = layers.Flatten()(layers.AveragePooling2D(8)(ready(x)))
    return [layers.Dense(10, activation='softmax')(x)]
