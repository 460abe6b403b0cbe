"""Two networks of tf.contrib.slim for images of 28x28: a MobileNetV1, and a ResNet made of the units of slim's resnet_v1."""
import tensorflow as tf
from tensorflow.contrib import slim
from tensorflow.contrib.slim.nets import resnet_utils, resnet_v1

CLASSES = 10
_DECAY = 0.95  # of the moving averages; slim's 0.999 suits trainings of many thousand steps
# (output channels, stride) of the blocks of MobileNetV1 at a width of 1/4
_BLOCKS = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (128, 1))


def mobilenet_v1(images, training):
    """Logits [batch, 10] of images [batch, 28, 28, 1]."""
    norm = {'is_training': training, 'decay': _DECAY, 'scale': True, 'epsilon': 1e-3}
    with tf.variable_scope('MobilenetV1'), slim.arg_scope(
            [slim.conv2d, slim.separable_conv2d], activation_fn=tf.nn.relu6, normalizer_fn=slim.batch_norm,
            normalizer_params=norm):
        net = slim.conv2d(images, 8, 3, scope='Conv2d_0')
        for number, (channels, stride) in enumerate(_BLOCKS, 1):
            net = slim.separable_conv2d(net, None, 3, depth_multiplier=1, stride=stride,
                                        scope='Conv2d_{}_depthwise'.format(number))
            net = slim.conv2d(net, channels, 1, scope='Conv2d_{}_pointwise'.format(number))
        net = tf.reduce_mean(net, [1, 2], keepdims=True, name='global_pool')
        net = slim.conv2d(net, CLASSES, 1, activation_fn=None, normalizer_fn=None, scope='Logits')
        return tf.squeeze(net, [1, 2], name='SpatialSqueeze')


def resnet(images, training):
    """Logits [batch, 10] of images [batch, 28, 28, 1]."""
    blocks = [resnet_v1.resnet_v1_block('block{}'.format(number), base_depth=depth, num_units=2, stride=stride)
              for number, depth, stride in ((1, 8, 1), (2, 16, 2), (3, 32, 1))]
    with slim.arg_scope(resnet_utils.resnet_arg_scope(weight_decay=1e-5, batch_norm_decay=_DECAY)):
        net = slim.conv2d(images, 16, 3, stride=2, scope='root')
        logits, _ = resnet_v1.resnet_v1(net, blocks, CLASSES, training, include_root_block=False)
    return tf.squeeze(logits, [1, 2], name='resnet_v1/SpatialSqueeze')


NETWORKS = {'MobileNetV1': mobilenet_v1, 'ResNet': resnet}
