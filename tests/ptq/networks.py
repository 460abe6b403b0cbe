"""Frozen networks for the tests of post-training quantization."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.support import run

SIZE = 16


class Network:
    """Builds a frozen graph layer by layer, with random weights from a seed."""

    def __init__(self, seed=0, size=SIZE, channels=3):
        self._random = np.random.RandomState(seed)
        self._graph = tf.Graph()
        with self._graph.as_default():
            self.input = tf.placeholder(tf.float32, [None, size, size, channels], name='input')

    def graph_def(self):
        return self._graph.as_graph_def()

    def constant(self, shape, scale, name):
        return tf.constant(self._random.normal(0, scale, shape).astype(np.float32), name=name)

    def conv(self, x, filters, name, kernel=3, stride=1, relu=True):
        with self._graph.as_default():
            fan_in = kernel * kernel * int(x.shape[-1])
            weights = self.constant([kernel, kernel, int(x.shape[-1]), filters], fan_in ** -0.5, name + '/weights')
            return self._with_bias(tf.nn.conv2d(x, weights, stride, 'SAME', name=name + '/Conv2D'), name, relu)

    def depthwise(self, x, name, relu=True):
        with self._graph.as_default():
            weights = self.constant([3, 3, int(x.shape[-1]), 1], 0.4, name + '/depthwise_weights')
            result = tf.nn.depthwise_conv2d_native(x, weights, [1, 1, 1, 1], 'SAME', name=name + '/depthwise')
            return self._with_bias(result, name, relu)

    def dense(self, x, units, name):
        with self._graph.as_default():
            x = tf.reshape(x, [-1, int(np.prod(x.shape.as_list()[1:]))], name=name + '/flatten')
            weights = self.constant([int(x.shape[-1]), units], int(x.shape[-1]) ** -0.5, name + '/weights')
            return self._with_bias(tf.matmul(x, weights, name=name + '/MatMul'), name, False)

    def _with_bias(self, x, name, relu):
        x = tf.nn.bias_add(x, self.constant([int(x.shape[-1])], 0.2, name + '/biases'), name=name + '/BiasAdd')
        return tf.nn.relu(x, name=name + '/Relu') if relu else x

    def apply(self, function, *operands, **settings):
        """Applies an op without weights."""
        with self._graph.as_default():
            return function(*operands, **settings)


def branches():
    """Convolutions, a depthwise one, a residual addition, both pools, a concat, a global average and a dense layer.

    Returns (GraphDef, name of the output node); the input is 'input', float [?, 16, 16, 3].
    """
    net = Network()
    x = net.conv(net.input, 8, 'conv1', stride=2)
    left = net.depthwise(x, 'depthwise')
    x = net.apply(tf.add, net.conv(left, 8, 'conv2', relu=False), x, name='residual')
    x = net.apply(tf.nn.relu, x, name='residual/Relu')
    pooled = net.apply(tf.nn.max_pool, x, 2, 2, 'VALID', name='max_pool')
    averaged = net.apply(tf.nn.avg_pool, net.conv(x, 4, 'conv3'), 2, 2, 'VALID', name='average_pool')
    x = net.apply(tf.concat, [pooled, averaged, net.conv(pooled, 4, 'conv4')], 3, name='concat')
    x = net.apply(tf.reduce_mean, x, [1, 2], keepdims=True, name='global_average')
    net.dense(x, 5, 'logits')
    return net.graph_def(), 'logits/BiasAdd'


def batches(step):
    """Calibration data of the networks of this module."""
    return {'input': np.random.RandomState(step).uniform(-1, 1, (4, SIZE, SIZE, 3)).astype(np.float32)}


def value(graph_def, tensor, feed):
    """The value of one tensor."""
    return run(graph_def, [tensor], feed)[0]
