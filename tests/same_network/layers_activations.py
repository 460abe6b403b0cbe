"""Activations, pools and arithmetic in the spellings that networks of tf.layers have."""
import tensorflow.compat.v1 as tf

from tests.same_network.building import OWN_VALUE, conv, conv_bn_relu, conv_relu, head, image, network, norm

layers = tf.layers


def _behind_norm(training, activation, other=None):
    """Two convolutions with batch norm, each followed by `activation(x, name)`, the second perhaps by another."""
    x = activation(norm(conv(image()), training), 'act')
    return head((other or activation)(norm(conv(x, name='conv2'), training, 'bn2'), 'act2'))


@network
def leaky_relus(training):
    return _behind_norm(training, lambda x, name: tf.nn.leaky_relu(x, 0.1, name=name),
                        lambda x, name: tf.maximum(0.1 * x, x, name=name))


@network
def relus_by_maximum_and_choice(training):
    return _behind_norm(training, lambda x, name: tf.maximum(x, 0., name=name),
                        lambda x, name: tf.where(x > 0, x, tf.zeros_like(x), name=name))


@network
def leaky_relu_by_choice(training):
    return _behind_norm(training, lambda x, name: tf.where(x > 0, x, 0.1 * x, name=name))


@network
def leaky_relu_by_two_relus(training):
    return _behind_norm(training, lambda x, name: tf.subtract(tf.nn.relu(x), 0.1 * tf.nn.relu(-x), name=name))


@network
def relu6_by_minimum_and_hard_sigmoid(training):
    return _behind_norm(training, lambda x, name: tf.minimum(tf.nn.relu(x), 6., name=name),
                        lambda x, name: tf.multiply(tf.nn.relu6(x + 3.), 0.16667, name=name))


@network
def hard_swishes_scaled_last(training):
    return _behind_norm(training, lambda x, name: tf.divide(x * tf.nn.relu6(x + 3.), 6., name=name),
                        lambda x, name: tf.multiply(tf.nn.relu6(3. + x) * x, 0.16667, name=name))


@network
def hard_swishes_scaled_first(training):
    return _behind_norm(training, lambda x, name: tf.multiply(x, tf.nn.relu6(x + 3.) / 6., name=name),
                        lambda x, name: tf.multiply(x, tf.nn.relu6(x + 3.) * (1. / 6.), name=name))


@network
def swishes(training):
    return _behind_norm(training, lambda x, name: tf.multiply(x, tf.nn.sigmoid(x), name=name), lambda x, name: tf.nn.swish(x))


@network
def sigmoid_as_output(training):
    del training
    return tf.nn.sigmoid(head(conv_relu(image(), 'stem')), name='scores')


def _prelu(activation):
    def with_slopes(x, name):
        with tf.variable_scope(name):
            return activation(x, tf.get_variable('alpha', [4]))
    return with_slopes


@network
def prelus_by_abs_and_relus(training):
    return _behind_norm(training, _prelu(lambda x, alpha: tf.nn.relu(x) + alpha * (x - tf.abs(x)) * 0.5),
                        _prelu(lambda x, alpha: tf.nn.relu(x) - alpha * tf.nn.relu(-x)))


@network
def prelu_by_min_and_max(training):
    return _behind_norm(training, _prelu(lambda x, alpha: tf.maximum(0., x) + alpha * tf.minimum(0., x)))


def _prelu_of_one_slope(shape):
    """At the usual initial slope."""
    def activation(x, name):
        with tf.variable_scope(name):
            alpha = tf.get_variable('alpha', shape, initializer=tf.constant_initializer(0.25), collections=[
                tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES, OWN_VALUE])
        return tf.nn.relu(x) - alpha * tf.nn.relu(-x)
    return activation


@network
def prelus_of_one_slope(training):
    """A scalar, and a vector of equal ones."""
    return _behind_norm(training, _prelu_of_one_slope([]), _prelu_of_one_slope([4]))


def _squeeze_excite(gate):
    x = conv_relu(image(), 'stem')
    y = tf.reduce_mean(x, [1, 2], keepdims=True, name='squeeze')
    y = layers.conv2d(y, 2, 1, activation=tf.nn.relu, name='reduce')
    return head(tf.multiply(x, gate(layers.conv2d(y, 4, 1, name='expand')), name='excite'))


@network
def squeeze_excite_with_sigmoid(training):
    del training
    return _squeeze_excite(tf.nn.sigmoid)


@network
def squeeze_excite_with_hard_sigmoid(training):
    del training
    return _squeeze_excite(lambda x: tf.nn.relu6(x + 3.) / 6.)


@network
def tanh_lrn_and_neg(training):
    """Ops that stay float, between layers that are quantized."""
    x = tf.nn.lrn(conv_relu(image(), 'stem'), name='lrn')
    x = tf.tanh(conv(x, use_bias=True), name='tanh')
    return head(tf.negative(conv_bn_relu(x, training, 'second'), name='negative'))


@network
def average_pools(training):
    del training
    x = layers.average_pooling2d(conv_relu(image(33), 'stem'), 3, 2, name='pool3')
    x = layers.average_pooling2d(conv_relu(x, 'second'), 2, 2, name='pool2')
    x = layers.average_pooling2d(conv_relu(x, 'third'), 7, 1, name='pool7')
    return head(x)


@network
def average_pool_same(training):
    del training
    x = layers.average_pooling2d(conv_relu(image(), 'stem'), 3, 1, 'same', name='pool')
    return head(conv_relu(x, 'second'))


@network
def mean_keepdims(training):
    del training
    return head(tf.reduce_mean(conv_relu(image(), 'stem'), [1, 2], keepdims=True, name='mean'))


@network
def means_over_one_axis(training):
    """The pools of coordinate attention, and rows as in text recognition."""
    del training
    x = conv_relu(image(), 'stem')
    x = tf.reduce_mean(x, 1, keepdims=True, name='columns') + tf.reduce_mean(x, 2, keepdims=True, name='rows')
    return layers.dense(layers.flatten(tf.reduce_mean(conv_relu(x, 'second'), 1, name='mean')), 5, name='logits')


@network
def mean_as_output(training):
    del training
    return tf.reduce_mean(conv_relu(image(), 'stem'), [1, 2], name='mean')


@network
def large_average_pool(training):
    del training
    x = layers.average_pooling2d(conv_relu(image(32), 'stem', depth=2), 32, 1, name='pool')
    return head(x)


@network
def large_mean(training):
    del training
    return head(tf.reduce_mean(conv_relu(image(32), 'stem', depth=2), [1, 2], keepdims=True, name='mean'))


@network
def max_pools(training):
    del training
    x = layers.max_pooling2d(conv_relu(image(16), 'stem'), 3, 2, 'same', name='pool')
    return head(layers.max_pooling2d(conv(x, use_bias=True), 2, 2, name='pool2'))


@network
def normalised_input(training):
    x = (image() / 255. - [0.4, 0.5, 0.6]) / [0.2, 0.25, 0.3]
    return head(conv_bn_relu(x, training, 'stem'))


@network
def input_minus_mean(training):
    return head(conv_bn_relu(tf.subtract(image(), [0.1, 0.2, 0.3], name='centred') * 0.5, training, 'stem'))


@network
def subtraction_and_scalars(training):
    x = conv_relu(image(), 'stem')
    y = tf.subtract(x, conv_bn_relu(x, training, 'second'), name='difference')
    return head(tf.nn.relu(0.25 * y + 1.5, name='relu'))


@network
def product_of_branches(training):
    x = conv_relu(image(), 'stem')
    return head(tf.multiply(conv_bn_relu(x, training, 'left'), conv(x, use_bias=True), name='product'))


@network
def factor_behind_conv(training):
    x = tf.multiply(conv(image(), use_bias=True), tf.get_variable('factor', [4]), name='scaled')
    return head(conv_bn_relu(tf.nn.relu(x), training, 'second'))


@network
def constant_of_two_readers(training):
    constant = tf.constant(0.5, name='half')
    x = tf.multiply(conv_relu(image(), 'stem'), constant, name='first')
    return head(tf.multiply(conv_bn_relu(x, training, 'second'), constant, name='second_half'))


@network
def softmax_as_output(training):
    del training
    x = tf.reduce_mean(conv_relu(image(7), 'stem'), [1, 2], name='mean')
    return tf.nn.softmax(layers.dense(x, 5, name='logits'), name='softmax')


@network
def softmax_behind_the_output(training):
    del training
    x = tf.reduce_mean(conv_relu(image(), 'stem'), [1, 2], name='mean')
    logits = layers.dense(x, 5, name='logits')
    tf.nn.softmax(logits, name='softmax')
    return logits
