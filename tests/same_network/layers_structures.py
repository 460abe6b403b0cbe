"""Connections of layers: branches, joins, computed shapes, several inputs and outputs."""
import tensorflow.compat.v1 as tf

from tests.same_network.building import RATE, conv, conv_bn_relu, conv_relu, head, image, network, norm, vector

layers = tf.layers


def _dense_head(x):
    return layers.dense(x, 5, name='logits')


@network
def residual(training):
    x = conv_relu(image(), 'stem')
    y = norm(conv(conv_relu(x, 'first'), name='second'), training)
    return head(tf.nn.relu(tf.add(x, y, name='sum')))


@network
def residual_of_convs_without_bias(training):
    del training
    x = conv_relu(image(), 'stem')
    return head(tf.nn.relu(tf.add(conv(x, name='left'), conv(x, size=1, name='right'), name='sum')))


@network
def sums_of_several(training):
    x = conv_relu(image(), 'stem')
    x = tf.nn.relu(tf.add_n([x, conv_bn_relu(x, training, 'left'), conv(x, name='right')], name='sum'))
    return head(tf.add_n([x, x], name='twice'))


@network
def cropped_by_slice(training):
    x = tf.slice(conv_relu(image(), 'stem'), [0, 1, 1, 0], [-1, 6, 6, 3], name='crop')
    return head(conv_bn_relu(x, training, 'second'))


@network
def inception(training):
    x = conv_relu(image(), 'stem')
    pool = layers.max_pooling2d(x, 3, 1, 'same', name='pool')
    branches = [conv_bn_relu(x, training, 'a', size=1), conv_relu(x, 'b'), pool,
                layers.average_pooling2d(x, 3, 1, 'same', name='average')]
    return head(tf.concat(branches, 3, name='concat'))


@network
def concat_of_concats(training):
    x = conv_bn_relu(image(), training, 'stem')
    x = tf.concat([x, conv_bn_relu(x, training, 'first')], 3, name='concat1')
    x = tf.concat([x, conv_bn_relu(x, training, 'second')], 3, name='concat2')
    return head(tf.concat([layers.max_pooling2d(x, 2, 2, name='pool'),
                           layers.average_pooling2d(x, 2, 2, name='average')], 3, name='concat3'))


@network
def dropout_of_layers(training):
    x = layers.flatten(conv_relu(image(), 'stem'))
    x = layers.dropout(x, RATE, training=training, name='dropout')
    x = layers.dense(x, 6, activation=tf.nn.relu, name='dense')
    return _dense_head(layers.dropout(x, RATE, training=training, name='dropout2'))


@network
def spatial_dropout(training):
    x = conv_relu(image(), 'stem')
    return head(layers.dropout(x, RATE, noise_shape=[None, 1, 1, 4], training=training, name='dropout'))


@network
def drop_connect(training):
    """Residual branches dropped as in EfficientNet, with survival 1, so that nothing is dropped."""
    x = conv_relu(image(), 'stem')
    y = norm(conv(x, name='second'), training)
    if training:
        with tf.name_scope('drop_connect'):
            survival = tf.constant(1., name='survival')
            kept = tf.floor(survival + tf.random_uniform([tf.shape(y)[0], 1, 1, 1], dtype=y.dtype))
            y = tf.div(y, survival) * kept
    return head(tf.add(x, y, name='sum'))


@network
def shape_arithmetic(training):
    del training
    x = conv_relu(image(), 'stem')
    shape = tf.shape(x)
    x = tf.reshape(x, tf.stack([shape[0], shape[1] * shape[2], 4]), name='cells')
    x = tf.reshape(x, tf.stack([shape[0], 4 * 64]), name='vectors')
    return _dense_head(x)


@network
def split_and_unstack(training):
    left, right = tf.split(conv_relu(image(), 'stem'), 2, 3, name='split')
    x = tf.concat([left, conv_bn_relu(right, training, 'second')], 3, name='concat')
    rows = tf.unstack(x, axis=1, name='unstack')
    return _dense_head(layers.flatten(tf.add(rows[0], rows[3], name='sum')))


@network
def resized(training):
    x = conv_relu(image(4), 'stem')
    x = conv_bn_relu(tf.image.resize_nearest_neighbor(x, [8, 8], name='nearest'), training, 'second')
    return head(tf.image.resize_bilinear(x, [16, 16], name='bilinear'))


@network
def resized_by_ones(training):
    """Upsampling as in slim-style YOLO: reshape, times ones, reshape."""
    del training
    x = conv_relu(image(4), 'stem')
    y = tf.reshape(x, [-1, 4, 1, 4, 1, 4], name='apart') * tf.ones([1, 1, 2, 1, 2, 1])
    return head(tf.reshape(y, [-1, 8, 8, 4], name='together'))


@network
def flattened(training):
    x = layers.dense(layers.flatten(conv_relu(image(), 'stem')), 6, use_bias=False, name='dense')
    return _dense_head(tf.nn.relu(norm(x, training)))


@network
def flattened_with_a_fixed_batch(training):
    del training
    return _dense_head(layers.flatten(conv_relu(image(batch=4), 'stem')))


@network
def decoder_with_a_fixed_batch(training):
    """TensorFlow makes constants of the sizes of the transposed convolution, and of rows of the dense layer on a sequence."""
    del training
    x = tf.nn.relu(layers.conv2d_transpose(image(4, batch=4), 4, 2, 2, name='up'), name='relu')
    x = tf.squeeze(layers.conv2d(x, 4, [8, 1], activation=tf.nn.relu, name='columns'), 1, name='sequence')
    return layers.dense(x, 5, name='words')


@network
def reshaped_by_minus_one(training):
    del training
    return _dense_head(tf.reshape(conv_relu(image(), 'stem'), [-1, 256], name='reshape'))


@network
def transposed_cells(training):
    """Points of two dimensions less: squeeze, expand, transpose, slice."""
    x = tf.transpose(conv_relu(image(), 'stem'), [0, 2, 1, 3], name='transpose')
    x = conv_bn_relu(x[:, 1:7, ::2, :], training, 'second')
    x = tf.expand_dims(tf.reduce_max(x, 1, name='highest'), 1, name='expanded')
    return tf.squeeze(head(x), [1], name='squeezed')


@network
def two_outputs_one_behind_the_other(training):
    del training
    x = conv_relu(image(), 'stem')
    return [x, head(x)]


@network
def two_inputs(training):
    x = tf.concat([conv_bn_relu(image(), training, 'left'), conv_relu(image(channels=2, name='x2'), 'right')], 3,
                  name='concat')
    return head(x)


@network
def picture_and_vector(training):
    del training
    x = layers.flatten(conv_relu(image(), 'stem'))
    x = tf.concat([layers.dense(x, 6, activation=tf.nn.relu, name='dense'), vector(name='x2')], 1, name='concat')
    return _dense_head(x)


@network
def resnet(training):
    """Post-activation blocks, the second with a projection."""
    x = layers.max_pooling2d(conv_bn_relu(image(16), training, 'stem', strides=2), 3, 2, 'same', name='pool')
    for number, depth in enumerate((4, 8)):
        with tf.variable_scope('block{}'.format(number)):
            stride = 1 + number
            shortcut = x
            if stride > 1:
                shortcut = norm(conv(x, depth, 1, 'shortcut', strides=stride), training, 'shortcut_bn')
            y = conv_bn_relu(x, training, 'first', depth, strides=stride)
            x = tf.nn.relu(norm(conv(y, depth), training) + shortcut, name='relu')
    return _dense_head(tf.reduce_mean(x, [1, 2], name='mean'))


@network
def resnet_v2(training):
    """A block with pre-activation."""
    x = conv(image(), name='stem')
    y = tf.nn.relu(norm(x, training, 'preact'))
    x = tf.add(x, conv(conv_bn_relu(y, training, 'first'), name='second', use_bias=True), name='sum')
    x = tf.nn.relu(norm(x, training, 'postnorm'))
    return head(tf.reduce_mean(x, [1, 2], keepdims=True, name='mean'))


@network
def densenet(training):
    x = conv(image(), name='stem')
    for number in range(2):
        with tf.variable_scope('layer{}'.format(number)):
            y = conv_relu(tf.nn.relu(norm(x, training, 'preact')), 'narrow', size=1)
            x = tf.concat([x, conv(y, 2, name='grow')], 3, name='concat')
    x = conv(tf.nn.relu(norm(x, training, 'transition')), 4, 1, 'compress')
    x = layers.average_pooling2d(x, 2, 2, name='pool')
    return _dense_head(tf.reduce_mean(x, [1, 2], name='mean'))


@network
def unet(training):
    skip = conv_bn_relu(image(16, 1), training, 'down')
    x = conv_relu(layers.max_pooling2d(skip, 2, 2, name='pool'), 'bottom')
    x = layers.conv2d_transpose(layers.dropout(x, RATE, training=training, name='dropout'), 4, 2, 2, name='up')
    x = conv_bn_relu(tf.concat([skip, x], 3, name='join'), training, 'joined')
    return head(x, 'mask', 2)


@network
def pointpillars(training):
    """Points through a dense layer and a maximum, then a pyramid of convolutions, then three heads."""
    points = tf.placeholder(tf.float32, [None, 64, 5, 4], 'x')
    x = layers.conv2d(points, 4, 1, use_bias=False, name='points')
    x = tf.nn.relu(norm(x, training, 'points_bn', epsilon=1e-3))
    x = tf.reshape(layers.max_pooling2d(x, [1, 5], [1, 5], name='pillars'), [-1, 8, 8, 4], name='canvas')
    ups = []
    for number, stride in enumerate((1, 2)):
        name = 'scale{}'.format(number)
        x = conv_relu(x, name, strides=stride)
        up = layers.conv2d_transpose(x, 4, stride, stride, use_bias=False, name=name + '_up')
        ups.append(tf.nn.relu(norm(up, training, name + '_up_bn')))
    x = tf.concat(ups, 3, name='concat')
    return [head(x, 'boxes', 7), head(x, 'classes', 2), head(x, 'directions', 2)]


@network
def bias_of_channels_first(training):
    """An Add alone, without a convolution."""
    x = layers.max_pooling2d(conv_bn_relu(image(), training, 'stem'), 2, 2, name='pool')
    x = tf.nn.bias_add(x, tf.get_variable('bias', [4]), data_format='NCHW', name='biased')
    return head(tf.nn.relu(x))
