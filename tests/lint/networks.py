"""Small versions of the networks that people quantize: {name: build}, as described in `same_network.building`."""
import tensorflow.compat.v1 as tf

from tests.same_network.building import conv, conv_bn_relu, image, norm

layers, keras = tf.layers, tf.keras.layers
NETWORKS = {}


def _network(build):
    NETWORKS[build.__name__] = build
    return build


def _head(x):
    return layers.dense(layers.flatten(x), 5, name='logits')


def _depthwise(x, training, name='depthwise', activation=tf.nn.relu6, rate=1):
    with tf.variable_scope(name):
        weights = tf.get_variable('weights', [3, 3, int(x.shape[-1]), 1])
        return activation(norm(tf.nn.depthwise_conv2d(x, weights, [1] * 4, 'SAME', [rate, rate]), training))


def _hard_sigmoid(x):
    return tf.nn.relu6(x + 3.) / 6.


@_network
def mobilenet_block(training):
    x = _depthwise(conv_bn_relu(image(), training, 'stem', strides=2), training)
    x = tf.nn.relu6(norm(conv(x, 6, 1, name='pointwise'), training, 'pointwise_bn'))
    return _head(layers.dropout(tf.reduce_mean(x, [1, 2], keepdims=True), training=training))


@_network
def inverted_residual(training):
    x = stem = conv_bn_relu(image(), training, 'stem')
    x = _depthwise(conv_bn_relu(x, training, 'expanded', 8, 1), training)
    return _head(stem + norm(conv(x, 4, 1, name='projected'), training, 'projected_bn'))


@_network
def mobilenet_v3_block(training):
    x = stem = norm(conv(image(), name='stem'), training)
    x = _depthwise(x * _hard_sigmoid(x), training, activation=lambda y: y * _hard_sigmoid(y))
    gate = tf.reduce_mean(x, [1, 2], keepdims=True)
    gate = layers.conv2d(tf.nn.relu(layers.conv2d(gate, 2, 1, name='squeeze')), 4, 1, name='excite')
    return _head(stem + x * _hard_sigmoid(gate))


@_network
def resnet_block(training):
    x = layers.max_pooling2d(conv_bn_relu(image(), training, 'stem'), 3, 2, 'same')
    shortcut = norm(conv(x, 6, 1, name='shortcut', strides=2), training, 'shortcut_bn')
    x = conv_bn_relu(x, training, 'first', 6, strides=2)
    x = tf.nn.relu(shortcut + norm(conv(x, 6, name='second'), training, 'second_bn'))
    return _head(tf.reduce_mean(x, [1, 2]))


@_network
def resnet_v2_block(training):
    x = conv(image(), name='stem')
    y = tf.nn.relu(norm(x, training, 'before'))
    return _head(tf.nn.relu(norm(x + conv(y), training, 'after')))


@_network
def densenet_block(training):
    x = conv_bn_relu(image(), training, 'stem')
    for name in ('first', 'second'):
        x = tf.concat([x, conv(tf.nn.relu(norm(x, training, name + '_bn')), 2, name=name)], -1)
    return _head(layers.average_pooling2d(conv(tf.nn.relu(norm(x, training)), 4, 1), 2, 2))


@_network
def inception_block(training):
    x = conv_bn_relu(image(), training, 'stem')
    branches = [conv_bn_relu(x, training, 'one', 3, 1), conv_bn_relu(x, training, 'three', 3, 3),
                conv_bn_relu(conv_bn_relu(x, training, 'row', 2, [1, 3]), training, 'column', 2, [3, 1]),
                conv_bn_relu(layers.max_pooling2d(x, 3, 1, 'same'), training, 'pooled', 2, 1)]
    return _head(tf.concat(branches, 3))


@_network
def fire_module(training):
    del training
    x = layers.conv2d(image(), 2, 1, activation=tf.nn.relu, name='squeeze')
    expanded = [tf.nn.relu(layers.conv2d(x, 4, size, padding='same', name='expand{}'.format(size))) for size in (1, 3)]
    return tf.nn.softmax(_head(tf.concat(expanded, 3)))


@_network
def squeeze_excite(training):
    x = conv_bn_relu(image(), training, 'stem')
    gate = layers.dense(layers.dense(keras.GlobalAveragePooling2D()(x), 2, tf.nn.relu, name='less'), 4, name='more')
    return _head(x * tf.reshape(_hard_sigmoid(gate), [-1, 1, 1, 4]))


@_network
def unet(training):
    x = skip = conv_bn_relu(image(), training, 'down')
    x = conv_bn_relu(layers.max_pooling2d(x, 2, 2), training, 'bottom', 6)
    x = layers.conv2d_transpose(x, 4, 2, 2, name='up')
    x = conv_bn_relu(tf.concat([skip, x], -1), training, 'joined')
    return layers.conv2d(x, 2, 1, name='logits')


@_network
def deeplab(training):
    x = conv_bn_relu(image(), training, 'stem')
    pooled = tf.image.resize_bilinear(conv_bn_relu(tf.reduce_mean(x, [1, 2], keepdims=True), training, 'pooled', 2, 1), [8, 8])
    branches = [conv_bn_relu(x, training, 'rate{}'.format(rate), 2, dilation_rate=rate) for rate in (1, 2, 3)]
    return layers.conv2d(tf.concat(branches + [pooled], -1), 2, 1, name='logits')


@_network
def dilations_without_bias(training):
    del training
    x = tf.nn.relu(conv(image(), name='first', dilation_rate=2))
    x = x + conv(x, name='second', dilation_rate=3)
    weights = tf.get_variable('depthwise/weights', [3, 3, 4, 1])
    return _head(tf.nn.depthwise_conv2d(x, weights, [1] * 4, 'SAME', [2, 2]))


@_network
def dilations_of_the_op(training):
    del training
    return _head(tf.nn.relu(tf.nn.conv2d(image(), tf.get_variable('weights', [3, 3, 3, 4]), 1, 'SAME', dilations=2)))


@_network
def yolo_block(training):
    def leaky(x, name, depth):
        return tf.nn.leaky_relu(norm(conv(x, depth, name=name), training, name + '_bn'), 0.1)
    x = skip = leaky(image(), 'first', 4)
    x = leaky(layers.max_pooling2d(x, 2, 2), 'second', 6)
    x = tf.concat([tf.image.resize_nearest_neighbor(x, [8, 8]), skip], 3)
    return layers.conv2d(x, 4, 1, name='boxes')


@_network
def prelu(training):
    return _head(keras.PReLU(shared_axes=[1, 2], name='prelu')(norm(conv(image()), training)))


@_network
def conv1d(training):
    x = tf.placeholder(tf.float32, [None, 16, 3], name='x')
    x = tf.nn.relu(norm(layers.conv1d(x, 4, 3, padding='same', use_bias=False, name='conv'), training))
    return _head(layers.max_pooling1d(x, 2, 2))


@_network
def conv1d_on_a_picture_of_one_row(training):
    x = tf.squeeze(tf.placeholder(tf.float32, [None, 1, 16, 3], name='x'), [1])
    return _head(tf.nn.relu(norm(layers.conv1d(x, 4, 3, padding='same', use_bias=False, name='conv'), training)))


@_network
def grouped_convolution(training):
    parts = tf.split(conv_bn_relu(image(), training, 'stem'), 2, 3)
    return _head(tf.concat([conv_bn_relu(part, training, 'group{}'.format(index)) for index, part in enumerate(parts)], 3))


@_network
def shuffled_channels(training):
    x = tf.reshape(conv_bn_relu(image(), training, 'stem'), [-1, 8, 8, 2, 2])
    x = tf.reshape(tf.transpose(x, [0, 1, 2, 4, 3]), [-1, 8, 8, 4])
    return _head(_depthwise(x, training))


@_network
def perceptron(training):
    x = layers.flatten(image(4))
    for name in ('first', 'second'):
        x = layers.dropout(tf.nn.relu(norm(layers.dense(x, 8, name=name), training, name + '_bn')), training=training)
    return tf.nn.softmax(layers.dense(x, 5, name='logits'))


@_network
def split_slice_and_stack(training):
    x = conv_bn_relu(image(), training, 'stem')
    first, second = tf.split(x, 2, 3)
    rows = tf.unstack(x[:, :2, ..., :2], axis=1)
    return [_head(tf.reduce_max(tf.stack([first, second], 1), 1)), _head_of(tf.stack(rows, -1))]


def _head_of(x):
    return layers.dense(layers.flatten(x), 3, name='others')


@_network
def explicit_padding(training):
    weights = tf.get_variable('weights', [3, 3, 3, 4])
    x = tf.nn.conv2d(image(), weights, 2, [[0, 0], [1, 0], [0, 2], [0, 0]], name='conv')
    return _head(tf.nn.relu(norm(x, training)))


@_network
def padded_by_keras(training):
    x = keras.ZeroPadding2D(((0, 1), (0, 1)))(image())
    return _head(tf.nn.relu(norm(conv(x, padding='valid', strides=2), training)))


@_network
def ellipses(training):
    x = conv_bn_relu(image(), training, 'stem')
    return _head(tf.concat([x[..., 1:], x[..., :1], x[..., 1:3] + x[..., 2:]], -1))


@_network
def global_pools(training):
    x = conv_bn_relu(image(), training, 'stem')
    pools = [tf.reduce_mean(x, [1, 2]), tf.squeeze(tf.reduce_mean(x, [1, 2], keepdims=True), [1, 2]),
             tf.reduce_mean(x, [2, 1]), tf.reduce_mean(x, [-3, -2]), keras.GlobalAveragePooling2D()(x),
             layers.flatten(tf.nn.avg_pool2d(x, 8, 1, 'VALID')), layers.flatten(keras.AveragePooling2D(8)(x)),
             keras.GlobalMaxPooling2D()(x), tf.reduce_max(x, [1, 2]), tf.squeeze(tf.nn.max_pool2d(x, 8, 8, 'VALID'))]
    pools[-1].set_shape([None, 4])
    return _head(tf.concat(pools, 1))


@_network
def keras_flatten_and_reshape(training):
    x = keras.Reshape((4, 16))(keras.Flatten()(conv_bn_relu(image(4), training, 'stem')))
    x = keras.Dense(6, activation='relu', name='dense')(keras.Permute((2, 1))(x))
    return keras.Dense(5, name='logits')(keras.Flatten()(x))


@_network
def dense_on_maps(training):
    x = conv_bn_relu(image(), training, 'stem')
    x = norm(layers.dense(x, 6, tf.nn.relu, name='first'), training)
    return keras.Dense(3, name='logits')(x)


@_network
def dense_norm_on_maps(training):
    x = conv_bn_relu(image(), training, 'stem')
    return _head(tf.nn.relu(norm(layers.dense(x, 6, use_bias=False, name='dense'), training)))


@_network
def batch_in_reshapes(training):
    x = tf.reshape(conv_bn_relu(image(), training, 'stem'), [4, 16, 16, 1])
    return layers.dense(tf.reshape(conv_bn_relu(x, training, 'wide', 2), [4, 512]), 5, name='logits')


@_network
def superresolution(training):
    x = conv_bn_relu(image(), training, 'stem')
    return tf.depth_to_space(layers.conv2d(x, 12, 3, padding='same', name='pixels'), 2)


@_network
def separable(training):
    x = layers.separable_conv2d(image(), 6, 3, padding='same', use_bias=False, name='separable')
    return _head(tf.nn.relu(norm(x, training)))


@_network
def detection_heads(training):
    x = conv_bn_relu(image(), training, 'stem')
    small = conv_bn_relu(x, training, 'small', strides=2)
    boxes, classes = [tf.concat([tf.reshape(layers.conv2d(y, 2 * size, 1, name=name + str(index)), [-1, cells, size])
                                 for index, (y, cells) in enumerate([(x, 128), (small, 32)])], 1)
                      for name, size in (('boxes', 4), ('classes', 3))]
    return [boxes, tf.nn.softmax(classes)]


@_network
def siamese(training):
    first, second = [conv_bn_relu(image(name=name), training, name + '_stem') for name in ('x', 'x2')]
    return _head(tf.concat([first, second, first - second], -1))


@_network
def normalised_input(training):
    return _head(conv_bn_relu(image() / 127.5 - 1., training, 'stem'))


@_network
def sigmoid_head(training):
    return tf.nn.sigmoid(_head(conv_bn_relu(image(), training, 'stem')))


@_network
def mean_of_rows(training):
    x = tf.reduce_mean(conv_bn_relu(image(), training, 'stem'), [1, 2])
    return tf.reduce_mean(x, -1, keepdims=True, name='mean_of_rows')
