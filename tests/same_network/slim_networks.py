"""Networks of tf.contrib.slim, after the families published with it."""
import tensorflow.compat.v1 as tf
from tensorflow.contrib import slim

from tests.same_network.building import RATE, image, network, vector


def _norm(training, **options):
    return {'normalizer_fn': slim.batch_norm,
            'normalizer_params': dict({'is_training': training, 'decay': 0.9, 'scale': True}, **options)}


@network
def slim_fully_connected(training):
    x = slim.fully_connected(vector(), 8, scope='first', **_norm(training))
    x = slim.fully_connected(x, 8, scope='second', **_norm(training, scale=False))
    return slim.fully_connected(x, 5, activation_fn=None, scope='logits')


@network
def slim_conv(training):
    x = slim.conv2d(image(), 4, 3, scope='first')
    x = slim.conv2d(x, 4, 3, rate=2, scope='dilated', **_norm(training, fused=False))
    x = slim.conv2d_transpose(x, 4, 2, 2, scope='up', **_norm(training, scale=False))
    return slim.conv2d(x, 5, 1, activation_fn=None, scope='logits')


@network
def slim_separable(training):
    x = slim.conv2d(image(), 4, 3, scope='stem', **_norm(training))
    x = slim.separable_conv2d(x, 6, 3, 1, scope='separable', **_norm(training))
    return slim.separable_conv2d(x, 5, 3, 1, activation_fn=None, scope='logits')


@network
def slim_flatten_and_dropout(training):
    """The head of VGG."""
    x = slim.max_pool2d(slim.conv2d(image(), 4, 3, scope='conv'), 2, scope='pool')
    x = slim.fully_connected(slim.flatten(x), 8, scope='dense')
    x = slim.dropout(x, 1. - RATE, is_training=training, scope='dropout')
    return slim.fully_connected(x, 5, activation_fn=None, scope='logits')


@network
def slim_flatten_of_a_fixed_batch(training):
    del training
    x = slim.conv2d(image(batch=4), 4, 3, scope='conv')
    return slim.fully_connected(slim.flatten(x), 5, activation_fn=None, scope='logits')


@network
def slim_dropout_of_pictures(training):
    """The head of SqueezeNet and MobileNet: global pool, dropout, convolution, squeeze."""
    x = slim.conv2d(image(), 4, 3, scope='conv', **_norm(training))
    x = slim.avg_pool2d(x, 8, scope='pool')
    x = slim.dropout(x, 1. - RATE, is_training=training, scope='dropout')
    x = slim.conv2d(x, 5, 1, activation_fn=None, scope='logits')
    return tf.squeeze(x, [1, 2], name='squeezed')


@network
def mobilenet_v1(training):
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], activation_fn=tf.nn.relu6, **_norm(training)):
        x = slim.conv2d(image(16), 4, 3, stride=2, scope='stem')
        for name, depth, stride in (('a', 6, 1), ('b', 8, 2)):
            x = slim.separable_conv2d(x, None, 3, 1, stride=stride, scope='depthwise_' + name)
            x = slim.conv2d(x, depth, 1, scope='pointwise_' + name)
    x = slim.avg_pool2d(x, 4, padding='VALID', scope='pool')
    x = slim.dropout(x, 1. - RATE, is_training=training, scope='dropout')
    x = slim.conv2d(x, 5, 1, activation_fn=None, normalizer_fn=None, scope='logits')
    return tf.nn.softmax(tf.squeeze(x, [1, 2], name='squeezed'), name='predictions')


@network
def mobilenet_v2(training):
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], activation_fn=tf.nn.relu6, **_norm(training)):
        x = slim.conv2d(image(16), 4, 3, stride=2, normalizer_fn=None, scope='stem')
        y = slim.conv2d(x, 8, 1, scope='expand')
        y = slim.separable_conv2d(y, None, 3, 1, scope='depthwise')
        x = tf.add(x, slim.conv2d(y, 4, 1, activation_fn=None, scope='project'), name='sum')
    x = tf.reduce_mean(x, [1, 2], keepdims=True, name='mean')
    x = slim.conv2d(x, 5, 1, activation_fn=None, scope='logits')
    return tf.squeeze(x, [1, 2], name='squeezed')


def _hard_sigmoid(x):
    return tf.nn.relu6(x + 3.) * 0.16667


def _hard_swish(x):
    return x * _hard_sigmoid(x)


@network
def mobilenet_v3(training):
    """Hard swish, and gates with a hard sigmoid that a global average pool feeds."""
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], activation_fn=_hard_swish, **_norm(training)):
        x = slim.conv2d(image(16), 4, 3, stride=2, normalizer_fn=None, scope='stem')
        y = slim.conv2d(x, 8, 1, normalizer_fn=None, scope='expand')
        y = slim.separable_conv2d(y, None, 3, 1, scope='depthwise')
        gate = slim.avg_pool2d(y, 8, scope='squeeze')
        gate = slim.conv2d(gate, 4, 1, activation_fn=tf.nn.relu, normalizer_fn=None, scope='reduce')
        gate = slim.conv2d(gate, 8, 1, activation_fn=_hard_sigmoid, normalizer_fn=None, scope='gate')
        x = x + slim.conv2d(y * gate, 4, 1, activation_fn=None, scope='project')
    x = tf.reduce_mean(x, [1, 2], keepdims=True, name='mean')
    x = slim.conv2d(x, 8, 1, activation_fn=_hard_swish, scope='wide')
    return slim.conv2d(x, 5, 1, activation_fn=None, scope='logits')


@network
def squeezenet(training):
    with slim.arg_scope([slim.conv2d], **_norm(training)):
        x = slim.max_pool2d(slim.conv2d(image(16), 4, 3, stride=2, scope='stem'), 3, 2, scope='pool')
        for name in 'ab':
            y = slim.conv2d(x, 2, 1, scope='squeeze_' + name)
            x = tf.concat([slim.conv2d(y, 3, 1, scope='one_' + name), slim.conv2d(y, 3, 3, scope='three_' + name)], 3,
                          name='fire_' + name)
    x = slim.conv2d(x, 5, 1, activation_fn=None, scope='logits')
    return tf.reduce_mean(x, [1, 2], name='predictions')


@network
def ssd(training):
    """Boxes and scores of two scales: reshapes to an open batch, concats, two outputs."""
    boxes, scores = [], []
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], activation_fn=tf.nn.relu6):
        x = slim.conv2d(image(16), 4, 3, stride=2, scope='stem')
        for scale in 'ab':
            x = slim.separable_conv2d(x, None, 3, 1, stride=2, scope='depthwise_' + scale, **_norm(training))
            x = slim.conv2d(x, 6, 1, scope='pointwise_' + scale)
            for found, name, size in ((boxes, 'box_', 4), (scores, 'score_', 3)):
                y = slim.conv2d(x, 2 * size, 3, activation_fn=None, scope=name + scale)
                found.append(tf.reshape(y, tf.stack([tf.shape(y)[0], -1, size]), name=name + 'rows_' + scale))
    return [tf.concat(boxes, 1, name='boxes'), tf.nn.sigmoid(tf.concat(scores, 1, name='classes'), name='scores')]


@network
def slim_resnet_v2(training):
    """slim's own blocks of pre-activation, with its padding by hand where a convolution has a stride."""
    from tensorflow.contrib.slim.nets import resnet_utils, resnet_v2
    blocks = [resnet_v2.resnet_v2_block('block1', base_depth=2, num_units=2, stride=2)]
    with slim.arg_scope(resnet_utils.resnet_arg_scope(batch_norm_decay=0.9)):
        x, _ = resnet_v2.resnet_v2(image(32), blocks, 5, is_training=training)
    return tf.squeeze(x, [1, 2], name='predictions')
