"""Four small networks for small images, one for each way in which convolutions are put together."""
import tensorflow as tf
from tensorflow.contrib import slim

INPUT = 'net_in'
OUTPUT = 'logits/BiasAdd'
CLASSES = 10
ACTIVATIONS = {'relu': tf.nn.relu, 'relu6': tf.nn.relu6}


def placeholder(images):
    """The placeholder `images` for batches of images like those of an array [images, height, width, channels]."""
    return tf.placeholder(tf.float32, [None, *images.shape[1:]], 'images')


def build(network, activation, images, training):
    """Logits [batch, 10], the node OUTPUT, of images [batch, height, width, channels], which become the node INPUT.

    Moving averages of the batch norms follow within some dozen steps, so that they are up to date after a short training.
    """
    norm = {'is_training': training, 'decay': 0.95, 'scale': True, 'epsilon': 1e-3}
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], activation_fn=ACTIVATIONS[activation], padding='SAME',
                        normalizer_fn=slim.batch_norm, normalizer_params=norm):
        net = NETWORKS[network](tf.identity(images, INPUT), ACTIVATIONS[activation])
    return tf.layers.dense(tf.reduce_mean(net, [1, 2], name='pool'), CLASSES, name='logits')


def _plain(net, _):
    net = slim.conv2d(net, 16, 3, stride=2, scope='conv1')
    net = slim.conv2d(net, 24, 3, scope='conv2')
    net = slim.max_pool2d(net, 2, scope='max_pool')
    net = slim.conv2d(net, 32, 3, scope='conv3')
    return slim.conv2d(net, 48, 3, scope='conv4')


def _residual(net, activation):
    net = slim.conv2d(net, 16, 3, stride=2, scope='conv')
    for number, (channels, stride) in enumerate(((16, 1), (32, 2), (32, 1)), 1):
        with tf.variable_scope('block{}'.format(number)):
            shortcut = net
            if stride > 1:
                shortcut = slim.conv2d(net, channels, 1, stride=stride, activation_fn=None, scope='shortcut')
            net = slim.conv2d(net, channels, 3, stride=stride, scope='conv1')
            net = slim.conv2d(net, channels, 3, activation_fn=None, scope='conv2')
            net = activation(net + shortcut)
    return net


def _depthwise(net, _):
    net = slim.conv2d(net, 24, 3, stride=2, scope='conv')
    for number, (channels, stride) in enumerate(((48, 1), (96, 2), (96, 1), (96, 1)), 1):
        net = _depthwise_conv(net, stride, 'depthwise{}'.format(number))
        net = slim.conv2d(net, channels, 1, scope='pointwise{}'.format(number))
    return net


def _inverted(net, _):
    net = slim.conv2d(net, 16, 3, stride=2, scope='conv')
    for number, (channels, stride) in enumerate(((16, 1), (24, 2), (24, 1), (24, 1)), 1):
        with tf.variable_scope('block{}'.format(number)):
            start = net
            net = slim.conv2d(net, 3 * net.shape[-1].value, 1, scope='expand')
            net = _depthwise_conv(net, stride, 'depthwise')
            net = slim.conv2d(net, channels, 1, activation_fn=None, scope='project')
            if stride == 1:
                net = net + start
    return slim.conv2d(net, 96, 1, scope='last')


def _depthwise_conv(net, stride, scope):
    return slim.separable_conv2d(net, None, 3, depth_multiplier=1, stride=stride, scope=scope)


NETWORKS = {'plain': _plain, 'residual': _residual, 'depthwise': _depthwise, 'inverted': _inverted}
