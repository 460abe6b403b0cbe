"""A small network that trains with an Estimator on batches picked by the global step, on one device or on several."""
import os

import numpy as np
import tensorflow as tf

from vai_q_tf import CreateQuantizeEvaluationGraph, CreateQuantizeTrainingGraph, QuantizeConfig

BATCH = 16
CLASSES = 4


def data(examples=64):
    """(images [examples, 8, 8, 2], classes [examples]) that a small network can learn."""
    random = np.random.RandomState(3)
    classes = random.randint(0, CLASSES, examples)
    images = random.randn(examples, 8, 8, 2).astype(np.float32)
    images += random.randn(CLASSES, 8, 8, 2).astype(np.float32)[classes] * 2
    return images, classes.astype(np.int32)


def input_fn(batch=BATCH):
    """Batches in the order of the data."""
    return tf.data.Dataset.from_tensor_slices(data()).repeat().batch(batch, drop_remainder=True)


def network(images, training, norm=True):
    """[batch, 4] logits."""
    net = tf.layers.conv2d(tf.identity(images, name='images'), 8, 3, use_bias=not norm, name='conv')
    if norm:
        net = tf.layers.batch_normalization(net, training=training, momentum=0.9, name='norm')
    net = tf.reduce_mean(tf.nn.relu(net, name='relu'), [1, 2], name='pool')
    return tf.layers.dense(net, CLASSES, name='logits')


def config(directory, **settings):
    """The QuantizeConfig of the network."""
    return QuantizeConfig(['images'], ['logits/BiasAdd'], [[-1, 8, 8, 2]], output_dir=os.path.join(str(directory), 'quantized'),
                          position_decay=0.9, **dict({'recipe': 'manual'}, **settings))


def model_fn(features, labels, mode, params):
    """Trains with momentum; params: directory, settings of the config, norm, start (a checkpoint to begin with)."""
    training = mode == tf.estimator.ModeKeys.TRAIN
    logits = network(features, training, params.get('norm', True))
    loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, logits)
    own = config(params['directory'], **params.get('settings', {}))
    if not training:
        CreateQuantizeEvaluationGraph(own)
        metrics = {'accuracy': tf.compat.v1.metrics.accuracy(labels, tf.argmax(logits, -1))}
        return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops=metrics)
    if params.get('start'):
        tf.compat.v1.train.init_from_checkpoint(params['start'], {'/': '/'})
    CreateQuantizeTrainingGraph(own)
    with tf.control_dependencies(tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)):
        train = tf.compat.v1.train.MomentumOptimizer(0.05, 0.9).minimize(loss, tf.compat.v1.train.get_global_step())
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)


class Losses(tf.estimator.SessionRunHook):
    """Keeps the loss of every step in `values`."""

    def __init__(self):
        self.values = []

    def begin(self):
        self._loss = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.LOSSES)[0]

    def before_run(self, run_context):
        return tf.estimator.SessionRunArgs(self._loss)

    def after_run(self, run_context, run_values):
        self.values.append(float(run_values.results))
