"""Trains a small Keras network on real digits in a session loop, float and then quantization-aware.

    python session_loop.py [--bits 8] [--output_dir keras_loop_results] [--quick]

The layers are those of tf.keras, the training is a loop of `session.run` on an optimizer of tf.train. The learning phase is
fixed before the network is built; the rewrite comes before the optimizer, and before Keras makes its session.
"""
import os
import sys
import time

# The digits and the progress line are those of the first example.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'estimator'))

import quiet  # noqa: F401  isort: skip
import command
import data
import numpy as np
import progress
import tensorflow as tf
from tensorflow.keras import backend, layers

import vai_q_tensorflow

BATCH = 64


def main(arguments):
    options = command.options(__doc__, 'keras_loop_results', arguments)
    float_steps, steps = (60, 30) if options.quick else (500, 250)
    started = time.time()
    training, test = data.load()
    os.makedirs(options.output_dir, exist_ok=True)
    print('{} training digits, {} test digits; results in {}'.format(
        len(training.labels), len(test.labels), options.output_dir))
    config = vai_q_tensorflow.QuantizeConfig(
        input_nodes=['images'], output_nodes=['logits/BiasAdd'], input_shapes=[[-1, 28, 28, 1]], weight_bit=options.bits,
        activation_bit=options.bits, bias_bit=8, output_dir=options.output_dir)
    float_checkpoint = train(training, float_steps, 4e-3, os.path.join(options.output_dir, 'float'))
    checkpoint = train(training, steps, 1e-3, os.path.join(options.output_dir, 'quantized'), config, float_checkpoint)
    rows = [('float', evaluate(test, float_checkpoint), float_checkpoint),
            ('quantized', evaluate(test, checkpoint, config), checkpoint)]
    command.report('Accuracy on {} test digits'.format(len(test.labels)), rows, options, time.time() - started)


def network(phase):
    """(placeholder of images, logits, update ops) under a fixed learning phase, 1 for training and 0 for evaluation."""
    backend.clear_session()
    backend.set_learning_phase(phase)
    tf.compat.v1.set_random_seed(1)
    images = tf.compat.v1.placeholder(tf.float32, [None, 28, 28, 1], 'images')
    net, norms = images, []
    for number, (channels, stride) in enumerate(((16, 1), (32, 2), (32, 1), (64, 2)), 1):
        net = layers.Conv2D(channels, 3, stride, padding='same', use_bias=False, name='conv{}'.format(number))(net)
        norms.append(layers.BatchNormalization(momentum=0.95, name='norm{}'.format(number)))
        net = layers.ReLU(6., name='relu{}'.format(number))(norms[-1](net))
    net = layers.GlobalAveragePooling2D(name='pool')(net)
    logits = layers.Dense(data.CLASSES, name='logits')(net)
    return images, logits, [update for norm in norms for update in norm.updates]


def train(digits, steps, rate, path, config=None, float_checkpoint=None):
    """Trains the network, with a config quantization-aware from a float checkpoint; returns the checkpoint."""
    images, logits, updates = network(1)
    labels = tf.compat.v1.placeholder(tf.int32, [None])
    loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, logits)
    step = tf.compat.v1.train.get_or_create_global_step()
    weights = [variable for variable in tf.compat.v1.global_variables() if variable is not step]
    if config:
        vai_q_tensorflow.CreateQuantizeTrainingGraph(config)  # after everything that reads the logits, before the optimizer
    with tf.control_dependencies(updates):  # Keras does not put them into UPDATE_OPS
        train_op = tf.compat.v1.train.AdamOptimizer(tf.compat.v1.train.cosine_decay(rate, step, steps)).minimize(loss, step)
    session = backend.get_session()
    session.run(tf.compat.v1.global_variables_initializer())
    if float_checkpoint:
        tf.compat.v1.train.Saver(weights).restore(session, float_checkpoint)
    show = progress.Progress('{} bits'.format(config.weight_bit) if config else 'Training the float network', steps)
    random = np.random.RandomState(1)
    for number in range(1, steps + 1):
        rows = random.choice(len(digits.labels), BATCH, replace=False)
        value, _ = session.run([loss, train_op], {images: digits.images[rows], labels: digits.labels[rows]})
        show(number, 'loss {:.3f}'.format(value))
    return tf.compat.v1.train.Saver().save(session, path, step)  # with the positions


def evaluate(digits, checkpoint, config=None):
    """The accuracy of a checkpoint; with a config that of the quantized network, whose frozen files it also writes."""
    images, logits, _ = network(0)
    predictions = tf.argmax(logits, -1)
    if config:
        vai_q_tensorflow.CreateQuantizeEvaluationGraph(config)
    session = backend.get_session()
    tf.compat.v1.train.Saver().restore(session, checkpoint)
    predicted = [session.run(predictions, {images: batch}) for batch, _ in data.batches(digits, 250)]
    if config:
        vai_q_tensorflow.CreateQuantizeDeployGraph(checkpoint=checkpoint, config=config)
    return float(np.mean(np.concatenate(predicted) == digits.labels))


if __name__ == '__main__':
    main(sys.argv[1:])
