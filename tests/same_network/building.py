"""Helpers to write the networks of this room.

A network is a function `build(training)` that makes a float network in the default graph, on the placeholder 'x' (and 'x2'),
and returns its output or a list of its outputs. Nodes common to training and inference have the same names in both.
"""
import tensorflow.compat.v1 as tf

NETWORKS = {}

OWN_VALUE = 'own_value'  # the collection of variables that keep their initial value

# So small that nothing is ever dropped and the scale is 1: a network with dropouts computes the same in training and inference,
# with all of their ops.
RATE = 2.**-53


def network(build):
    """Registers a network under the name of its function."""
    assert build.__name__ not in NETWORKS, build.__name__
    NETWORKS[build.__name__] = build
    return build


def image(size=8, channels=3, name='x', batch=None):
    return tf.placeholder(tf.float32, [batch, size, size, channels], name)


def vector(size=6, name='x'):
    return tf.placeholder(tf.float32, [None, size], name)


def conv(x, depth=4, size=3, name='conv', **options):
    """A convolution of tf.layers that keeps height and width, without bias."""
    return tf.layers.conv2d(x, depth, size, **dict({'padding': 'same', 'use_bias': False, 'name': name}, **options))


def norm(x, training, name='bn', **options):
    return tf.layers.batch_normalization(x, training=training, momentum=0.9, name=name, **options)


def conv_bn_relu(x, training, name, depth=4, size=3, **options):
    with tf.variable_scope(name):
        return tf.nn.relu(norm(conv(x, depth, size, **options), training), name='relu')


def conv_relu(x, name, depth=4, size=3, **options):
    """A convolution with bias: a third of the ops of one with batch norm."""
    return conv(x, depth, size, name, use_bias=True, activation=tf.nn.relu, **options)


def head(x, name='logits', depth=5, size=1):
    """The last layer of most networks here: a convolution with bias."""
    return tf.layers.conv2d(x, depth, size, name=name)
