"""A training in a plain session loop: float, or quantization-aware with a config."""
import os

import datasets
import networks
import tensorflow as tf

import vai_q_tensorflow

SESSION = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
OPTIMIZERS = {'adam': tf.train.AdamOptimizer, 'momentum': lambda rate: tf.train.MomentumOptimizer(rate, 0.9)}


def train(network, activation, digits, seed, options, directory, checkpoint=None, config=None):
    """Trains a network and saves its last state.

    Args:
      network, activation: names in networks.py.
      digits: data.Digits to train on.
      seed: of the first weights and of the order of the images.
      options: recipes.Options.
      directory: where the checkpoint goes.
      checkpoint: prefix of the float checkpoint that the weights start from; None: random ones.
      config: QuantizeConfig; None trains the float network.

    Returns:
      Prefix of the checkpoint.
    """
    with tf.Graph().as_default():
        tf.set_random_seed(seed)
        images = networks.placeholder(digits.images)
        labels = tf.placeholder(tf.int32, [None], 'labels')
        loss = tf.losses.sparse_softmax_cross_entropy(labels, networks.build(network, activation, images, training=True))
        float_saver = tf.train.Saver()  # without the global step, which starts at 0 in each training
        step = tf.train.get_or_create_global_step()
        if config:
            if options.distilled:
                loss += vai_q_tensorflow.distillation_loss(config, checkpoint)
            vai_q_tensorflow.CreateQuantizeTrainingGraph(config)
        rate = tf.train.cosine_decay(options.rate, step, options.steps) if options.decays else options.rate
        optimizer = OPTIMIZERS[options.optimizer](rate)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train_op = optimizer.minimize(loss, step)
        saver = tf.train.Saver()
        with tf.Session(config=SESSION) as session:
            session.run(tf.global_variables_initializer())
            if checkpoint:
                float_saver.restore(session, checkpoint)
            for batch in datasets.batches(digits, options.batch, options.steps, seed):
                session.run(train_op, dict(zip((images, labels), batch)))
            return saver.save(session, os.path.join(directory, 'model.ckpt'), write_meta_graph=False)
