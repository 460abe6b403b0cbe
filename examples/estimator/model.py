"""A small MobileNet for digits, and its model_fn for tf.estimator: float, or quantization-aware with a config."""
import data
import tensorflow as tf
from tensorflow.contrib import slim

import vai_q_tensorflow

INPUT = 'images'
OUTPUT = 'logits/BiasAdd'
_SCOPE = 'network'
# (output channels, stride) of the blocks: a depthwise convolution, then a pointwise one
_BLOCKS = ((48, 1), (96, 2), (96, 1), (96, 1))


def network(images, training):
    """Logits [batch, 10], the node OUTPUT, for images [batch, 28, 28, 1], the node INPUT."""
    norm = {'is_training': training, 'decay': 0.95, 'scale': True, 'epsilon': 1e-3}
    with tf.variable_scope(_SCOPE), slim.arg_scope(
            [slim.conv2d, slim.separable_conv2d], activation_fn=tf.nn.relu6, normalizer_fn=slim.batch_norm,
            normalizer_params=norm, padding='SAME'):
        net = slim.conv2d(images, 24, 3, stride=2, scope='conv')
        for number, (channels, stride) in enumerate(_BLOCKS, 1):
            net = slim.separable_conv2d(net, None, 3, depth_multiplier=1, stride=stride,
                                        scope='depthwise{}'.format(number))
            net = slim.conv2d(net, channels, 1, scope='pointwise{}'.format(number))
        net = tf.reduce_mean(net, [1, 2], name='pool')
    return tf.layers.dense(net, data.CLASSES, name='logits')


def quantize_config(bits, output_dir, **settings):
    """The QuantizeConfig of the network: weights and activations have `bits` bits, biases 8."""
    return vai_q_tensorflow.QuantizeConfig(
        input_nodes=[INPUT], output_nodes=[OUTPUT], input_shapes=[[-1, 28, 28, 1]], weight_bit=bits,
        activation_bit=bits, bias_bit=8, output_dir=output_dir, **settings)


def model_fn(features, labels, mode, params):
    """The EstimatorSpec of training or evaluation.

    params:
      config: a QuantizeConfig, or None for the float network.
      float_checkpoint: checkpoint of the initial weights, or None.
      learning_rate, steps: the learning rate falls to 0 within `steps`.
    """
    training = mode == tf.estimator.ModeKeys.TRAIN
    config = params['config']
    logits = network(tf.identity(features, INPUT), training)
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    predictions = tf.argmax(logits, -1, output_type=tf.int32)
    # The rewrite comes after everything that reads the logits, so that the readers get the quantized ones.
    if not training:
        if config:
            vai_q_tensorflow.CreateQuantizeEvaluationGraph(config)
        return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops={
            'accuracy': tf.metrics.accuracy(labels, predictions)})

    step = tf.train.get_or_create_global_step()
    if params['float_checkpoint']:
        # Not tf.estimator.WarmStartSettings, whose default leaves out the moving averages of the batch norms.
        tf.train.init_from_checkpoint(params['float_checkpoint'], {_SCOPE + '/': _SCOPE + '/', 'logits/': 'logits/'})
    if config:  # before the optimizer
        vai_q_tensorflow.CreateQuantizeTrainingGraph(config)
    optimizer = tf.train.AdamOptimizer(tf.train.cosine_decay(params['learning_rate'], step, params['steps']))
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer.minimize(loss, step)
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)
