"""Trains a small quantized network with an Estimator, as a process of its own: python train_estimator.py DIR STEPS [KILL_AT].

Batches depend on the global step alone and one thread computes, so that equal trainings are equal to the bit. With KILL_AT the
process ends by SIGKILL after that step.
"""
import os
import signal
import sys

import numpy as np
import tensorflow as tf

import vai_q_tensorflow

STEPS_PER_CHECKPOINT = 10


def network(images, training):
    """[batch, 4] logits."""
    net = tf.layers.conv2d(images, 8, 3, use_bias=False, name='conv')
    net = tf.nn.relu(tf.layers.batch_normalization(net, training=training, momentum=0.9, name='norm'), name='relu')
    net = tf.reduce_mean(net, [1, 2], name='pool')
    return tf.layers.dense(net, 4, name='logits')


def eval_graph():
    """The float evaluation graph."""
    network(tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 2], name='images'), False)


def config(directory):
    """The QuantizeConfig of the network."""
    return vai_q_tensorflow.QuantizeConfig(['images'], ['logits/BiasAdd'], [[-1, 8, 8, 2]],
                                           output_dir=os.path.join(directory, 'quantized'))


def model_fn(features, labels, mode, params):
    """Trains with momentum on batches picked by the global step."""
    step = tf.compat.v1.train.get_global_step()
    data = np.random.RandomState(3)
    images = tf.constant(data.randn(64, 8, 8, 2).astype(np.float32) * 3)
    classes = tf.constant(data.randint(0, 4, 64))
    rows = tf.math.floormod(tf.range(16, dtype=tf.int64) + 16 * step, 64)
    # The data grow with the steps, so that positions move.
    grown = tf.gather(images, rows) * (1.0 + 0.2 * tf.cast(step, tf.float32))
    logits = network(tf.identity(grown, name='images'), True)
    loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(tf.gather(classes, rows), logits)
    vai_q_tensorflow.CreateQuantizeTrainingGraph(config(params['directory']))
    with tf.control_dependencies(tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)):
        train = tf.compat.v1.train.MomentumOptimizer(0.05, 0.9).minimize(loss, global_step=step)
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)


class Kill(tf.estimator.SessionRunHook):
    """Ends the process after a global step as a power cut would."""

    def __init__(self, step):
        self._limit = step

    def begin(self):
        self._global_step = tf.compat.v1.train.get_global_step()

    def after_run(self, run_context, run_values):
        if run_context.session.run(self._global_step) >= self._limit:
            os.kill(os.getpid(), signal.SIGKILL)


def main(directory, steps, kill_at=None):
    run_config = tf.estimator.RunConfig(
        os.path.join(directory, 'model'), tf_random_seed=5, save_checkpoints_steps=STEPS_PER_CHECKPOINT,
        session_config=tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1))
    estimator = tf.estimator.Estimator(model_fn, config=run_config, params={'directory': directory})
    hooks = [vai_q_tensorflow.QuantizePositionHook(os.path.join(directory, 'history'), every_n_steps=10)]
    if kill_at:
        hooks.append(Kill(int(kill_at)))
    estimator.train(lambda: tf.data.Dataset.from_tensors((0, 0)).repeat(), hooks=hooks, max_steps=int(steps),
                    saving_listeners=[vai_q_tensorflow.QuantizeCheckpointListener(config(directory), eval_graph)])


if __name__ == '__main__':
    main(*sys.argv[1:])
