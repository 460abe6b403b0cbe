"""Weighted layers and batch norms of tf.layers in all their combinations."""
import tensorflow.compat.v1 as tf
from tensorflow.python.training.moving_averages import assign_moving_average

from tests.same_network.building import conv, conv_relu, head, image, network, norm, vector

layers = tf.layers


@network
def conv_bn_fused_and_not(training):
    x = tf.nn.relu(norm(conv(image()), training, fused=True))
    return head(tf.nn.relu(norm(conv(x, name='conv2'), training, 'bn2', fused=False)))


@network
def conv_bias_bn(training):
    x = norm(conv(image(), use_bias=True), training)
    return head(tf.nn.relu(norm(conv(x, use_bias=True, name='conv2'), training, 'bn2', fused=False)))


@network
def conv_bn_relu6(training):
    return head(tf.nn.relu6(norm(conv(image(), strides=2), training)))


@network
def conv_bn_is_the_output(training):
    return norm(conv(image()), training)


@network
def norms_without_scale_or_center(training):
    x = tf.nn.relu(norm(conv(image()), training, scale=False))
    x = tf.nn.relu(norm(conv(x, name='conv2'), training, 'bn2', center=False))
    x = tf.nn.relu(norm(conv(x, name='conv3', use_bias=True), training, 'bn3', center=False, scale=False))
    return head(tf.nn.relu(norm(conv(x, name='conv4'), training, 'bn4', scale=False, fused=False)))


@network
def bias_of_full_rank_before_bn(training):
    bias = tf.get_variable('bias', [1, 1, 1, 4])
    return head(tf.nn.relu(norm(tf.add(conv(image()), bias, name='add'), training)))


@network
def bias_by_add(training):
    del training
    x = tf.nn.relu(tf.add(conv(image()), tf.get_variable('bias', [4]), name='add'))
    return tf.add(tf.get_variable('bias2', [5]), conv(x, 5, 1, name='conv2'), name='logits')


@network
def depthwise_bn(training):
    x = conv_relu(image(), 'stem')
    x = tf.nn.depthwise_conv2d(x, tf.get_variable('kernel', [3, 3, 4, 2]), [1, 1, 1, 1], 'SAME', name='depthwise')
    return head(tf.nn.relu6(norm(x, training)))


@network
def depthwise_dilated_bn(training):
    x = conv_relu(image(), 'stem')
    kernel = tf.get_variable('kernel', [3, 3, 4, 1])
    x = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], 'SAME', rate=[2, 2], name='depthwise')
    return head(tf.nn.relu(norm(x, training)))


@network
def separable(training):
    x = layers.separable_conv2d(image(), 4, 3, padding='same', use_bias=False, name='separable')
    x = tf.nn.relu(norm(x, training))
    return head(layers.separable_conv2d(x, 6, 3, padding='same', activation=tf.nn.relu, name='separable2'))


@network
def grouped_by_split(training):
    parts = tf.split(conv_relu(image(), 'stem'), 2, axis=3, name='split')
    x = tf.concat([conv(part, name='group{}'.format(number)) for number, part in enumerate(parts)], 3, name='concat')
    return head(tf.nn.relu(norm(x, training)))


@network
def grouped_by_slices(training):
    x = conv_relu(image(), 'stem')
    parts = [x[:, :, :, :2], x[:, :, :, 2:]]
    parts = [norm(conv(part, name='group{}'.format(number)), training, 'bn{}'.format(number))
             for number, part in enumerate(parts)]
    return head(tf.nn.relu(tf.concat(parts, 3, name='concat')))


@network
def dilated_bn(training):
    x = tf.nn.relu(norm(conv(image(), dilation_rate=2), training))
    return head(tf.nn.relu(conv(x, name='conv2', dilation_rate=2, use_bias=True)))


@network
def conv1d_bn(training):
    x = tf.placeholder(tf.float32, [None, 16, 3], 'x')
    x = tf.nn.relu(norm(layers.conv1d(x, 4, 3, use_bias=False, name='conv'), training))
    return layers.conv1d(x, 5, 1, name='logits')


@network
def conv3d_bn(training):
    x = tf.placeholder(tf.float32, [None, 4, 6, 6, 2], 'x')
    x = tf.nn.relu(norm(layers.conv3d(x, 4, 3, padding='same', use_bias=False, name='conv'), training))
    x = tf.nn.relu(norm(layers.conv3d(x, 4, 3, name='conv2'), training, 'bn2'))
    return layers.conv3d(x, 5, 1, name='logits')


@network
def conv3d_bias(training):
    del training
    x = tf.placeholder(tf.float32, [None, 4, 6, 6, 2], 'x')
    x = layers.conv3d(x, 4, 3, activation=tf.nn.relu, name='conv')
    return layers.conv3d(x, 5, 1, name='logits')


@network
def transposed_bn(training):
    x = tf.nn.relu(norm(layers.conv2d_transpose(image(4), 4, 3, 2, 'same', use_bias=False, name='up'), training))
    x = tf.nn.relu(norm(layers.conv2d_transpose(x, 4, 2, 2, name='up2'), training, 'bn2'))
    return head(x)


@network
def transposed_bias(training):
    del training
    x = layers.conv2d_transpose(image(4), 4, 3, 2, 'same', activation=tf.nn.relu, name='up')
    return layers.conv2d_transpose(x, 5, 2, 2, name='logits')


@network
def dense_bn(training):
    x = tf.nn.relu(norm(layers.dense(vector(), 8, use_bias=False, name='dense'), training))
    x = tf.nn.relu(norm(layers.dense(x, 8, name='dense2'), training, 'bn2'))
    return layers.dense(x, 5, name='logits')


@network
def dense_of_rank_3_bn(training):
    x = tf.placeholder(tf.float32, [None, 4, 6], 'x')
    x = tf.nn.relu(norm(layers.dense(x, 8, use_bias=False, name='dense'), training))
    return layers.dense(x, 5, name='logits')


@network
def dcgan(training):
    """A batch norm after a dense layer and a Reshape."""
    x = tf.reshape(layers.dense(vector(), 64, use_bias=False, name='dense'), [-1, 4, 4, 4], name='reshape')
    x = tf.nn.relu(norm(x, training))
    x = layers.conv2d_transpose(x, 4, 3, 2, 'same', use_bias=False, name='up')
    return layers.conv2d_transpose(tf.nn.relu(norm(x, training, 'bn2')), 3, 3, 2, 'same', name='picture')


@network
def norm_then_conv(training):
    """The first norm of a network, which has no layer before it."""
    return head(tf.nn.relu(norm(conv(norm(image(), training)), training, 'bn2')))


@network
def norm_behind_concat(training):
    x = conv_relu(image(), 'stem')
    x = tf.concat([x, conv(x, name='conv')], 3, name='concat')
    return head(tf.nn.relu(norm(x, training)))


@network
def norm_behind_norm(training):
    x = norm(norm(conv(image()), training), training, 'bn2')
    return head(tf.nn.relu(x))


@network
def norm_behind_max_pool(training):
    x = layers.max_pooling2d(conv(image(), use_bias=True), 2, 2, name='pool')
    return head(tf.nn.relu(norm(x, training)))


@network
def norm_behind_relu(training):
    return head(norm(tf.nn.relu(conv(image(), use_bias=True)), training))


@network
def norm_and_its_layer_are_read(training):
    """A norm and an addition read the same convolution."""
    x = conv(image())
    return head(tf.nn.relu(tf.add(norm(x, training), x, name='sum')))


@network
def conv_as_output_layer(training):
    del training
    return conv(conv_relu(image(), 'stem'), 5, name='last')


@network
def padded_conv(training):
    x = tf.pad(image(), [[0, 0], [1, 1], [1, 1], [0, 0]], name='pad')
    x = tf.nn.relu(norm(conv(x, padding='valid', strides=2), training))
    x = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]], name='pad2')
    return head(tf.nn.relu(norm(conv(x, name='conv2', padding='valid'), training, 'bn2')))


@network
def shared_weights_of_two_convs(training):
    del training
    kernel = tf.get_variable('kernel', [3, 3, 4, 4])
    x = conv_relu(image(), 'stem')
    x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, 'SAME', name='first'))
    return head(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, 'SAME', name='second')))


@network
def shared_weights_behind_norms(training):
    kernel = tf.get_variable('kernel', [3, 3, 4, 4])
    x = conv_relu(image(), 'stem')
    x = tf.nn.relu(norm(tf.nn.conv2d(x, kernel, 1, 'SAME', name='first'), training, 'bn1'))
    return head(tf.nn.relu(norm(tf.nn.conv2d(x, kernel, 1, 'SAME', name='second'), training, 'bn2')))


@network
def read_in_another_order_than_made(training):
    kernel, x = tf.get_variable('kernel', [3, 3, 3, 1]), image()
    first, second = (norm(tf.nn.depthwise_conv2d_native(x, kernel, [1] * 4, 'SAME', name=name), training, name + '_bn')
                     for name in ('first', 'second'))
    relu, leaky = tf.nn.relu(first, name='relu'), tf.nn.leaky_relu(first, 0.1, name='leaky')
    return head(tf.concat([second, leaky, relu], -1, name='concat'))


@network
def shared_bias(training):
    bias = tf.get_variable('bias', [4])
    x = tf.nn.relu(tf.nn.bias_add(conv(image()), bias, name='first'))
    x = tf.nn.relu(tf.nn.bias_add(conv(x, name='conv2'), bias, name='second'))
    return head(tf.nn.relu(norm(tf.nn.bias_add(conv(x, name='conv3'), bias, name='third'), training)))


@network
def partitioned_variables(training):
    x = image()
    with tf.variable_scope('net', partitioner=tf.fixed_size_partitioner(2, axis=3)):
        x = conv(x)
    x = tf.nn.relu(norm(x, training))
    with tf.variable_scope('net2', partitioner=tf.fixed_size_partitioner(2)):
        x = layers.dense(layers.flatten(x), 4, name='dense', activation=tf.nn.relu)
    return layers.dense(x, 5, name='logits')


@network
def resource_variables(training):
    x = image()
    with tf.variable_scope('net', use_resource=True):
        x = tf.nn.relu(norm(conv(x), training))
        x = tf.nn.relu(norm(conv(x, name='conv2', use_bias=True), training, 'bn2', fused=False))
        return head(x)


def _differences(average, statistic):
    return tf.assign_sub(average, (average - statistic) * 0.1, name='update')


def _waiting_norm(x, training, name, update=_differences):
    """A batch norm by hand, whose ops wait for the updates of its moving averages."""
    with tf.variable_scope(name):
        beta, gamma = (tf.get_variable(end, x.shape[-1:]) for end in ('beta', 'gamma'))
        averages = [tf.get_variable(end, x.shape[-1:], trainable=False) for end in ('moving_mean', 'moving_variance')]
        if not training:
            return tf.nn.batch_normalization(x, *averages, beta, gamma, 1e-3, name='bn')
        statistics = tf.nn.moments(x, [0, 1, 2], name='moments')
        updates = list(map(update, averages, statistics))
        with tf.control_dependencies(updates):
            return tf.nn.batch_normalization(x, *statistics, beta, gamma, 1e-3, name='bn')


def _waiting_norms(training, use_resource):
    """One after a convolution, and one after a pool."""
    x = image()
    with tf.variable_scope('net', use_resource=use_resource[0]):
        x = tf.nn.relu(_waiting_norm(conv(x), training, 'first'))
    x = layers.max_pooling2d(x, 2, 2, name='pool')
    with tf.variable_scope('net', use_resource=use_resource[1]):
        return head(tf.nn.relu(_waiting_norm(x, training, 'second')))


@network
def norms_that_wait_for_their_updates(training):
    return _waiting_norms(training, (False, True))


@network
def resource_norms_that_wait_for_their_updates(training):
    return _waiting_norms(training, (True, False))


@network
def norms_with_assigned_averages(training):
    x = tf.nn.relu(_waiting_norm(conv(image()), training, 'first', lambda average, statistic: tf.assign(
        average, average * 0.9 + statistic * 0.1, name='update')))
    x = layers.max_pooling2d(x, 2, 2, name='pool')
    return head(tf.nn.relu(_waiting_norm(x, training, 'second', lambda average, statistic: assign_moving_average(
        average, statistic, 0.9, zero_debias=True))))


@network
def norms_over_other_axes(training):
    """Factors of shapes such as [1, 8, 1, 1], which are not channels."""
    x = tf.nn.relu(norm(conv(image()), training, axis=1, fused=False))
    x = tf.nn.relu(norm(conv(x, name='conv2'), training, 'bn2', axis=2, fused=False, scale=False))
    return head(tf.nn.relu(norm(conv(x, name='conv3'), training, 'bn3', axis=[1, 3], fused=False)))


@network
def norm_over_the_second_axis_of_three(training):
    x = layers.dense(tf.placeholder(tf.float32, [None, 4, 6], 'x'), 8, name='dense')
    return layers.dense(tf.nn.relu(norm(x, training, axis=1)), 5, name='logits')
