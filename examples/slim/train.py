"""Trains a MobileNetV1 and a ResNet of tf.contrib.slim on real digits, float and then quantization-aware.

    python train.py [--network MobileNetV1] [--bits 8] [--output_dir slim_results] [--quick]

Everything is slim: a dataset read through queues, slim.learning.train and slim.evaluation. Two lines of `train` quantize the
training, one of `evaluate` quantizes the evaluation.
"""
import argparse
import glob
import json
import os
import shutil
import sys
import time
import warnings
from typing import NamedTuple

# The digits, the progress line and the evaluation of a frozen file are those of the first example.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'estimator'))

import quiet  # noqa: F401  isort: skip
import data
import evaluate_frozen
import networks
import progress
import records
import tensorflow as tf
from tensorflow.contrib import slim

import vai_q_tensorflow

# slim's Supervisor does so at the end of each training.
warnings.filterwarnings('ignore', message='Attempting to use a closed FileWriter')

BATCH = 64
INPUT = 'images'
OUTPUTS = {'MobileNetV1': 'MobilenetV1/SpatialSqueeze', 'ResNet': 'resnet_v1/SpatialSqueeze'}


class Settings(NamedTuple):
    """Lengths of the trainings. Learning rates fall to 0 along a cosine."""
    float_steps: int = 600
    float_rate: float = 4e-3
    finetune_steps: int = 240
    finetune_rate: float = 1e-3


QUICK = Settings(float_steps=30, finetune_steps=10)


def main(arguments):
    options = _options(arguments)
    settings = QUICK if options.quick else Settings()
    started = time.time()
    training, test = data.load()
    os.makedirs(options.output_dir, exist_ok=True)
    files = {part: os.path.join(options.output_dir, part + '.tfrecord') for part in ('training', 'test')}
    records.write(training, files['training'])
    records.write(test, files['test'])
    print('{} training digits, {} test digits; results in {}'.format(
        len(training.labels), len(test.labels), options.output_dir))
    rows = [_train_both(name, files, test, settings, options) for name in options.network or sorted(networks.NETWORKS)]
    _report(rows, options, len(test.labels), time.time() - started)


def _train_both(name, files, test, settings, options):
    """The row of the table for a network."""
    directory = os.path.join(options.output_dir, name)
    shutil.rmtree(directory, ignore_errors=True)  # slim would continue from a checkpoint in the directory
    logs = {kind: os.path.join(directory, kind) for kind in ('float', 'quantized')}
    config = vai_q_tensorflow.QuantizeConfig(
        input_nodes=[INPUT], output_nodes=[OUTPUTS[name]], input_shapes=[[-1, 28, 28, 1]], weight_bit=options.bits,
        activation_bit=options.bits, bias_bit=8, output_dir=os.path.join(directory, 'files'))
    train(name, files['training'], logs['float'], settings.float_steps, settings.float_rate)
    train(name, files['training'], logs['quantized'], settings.finetune_steps, settings.finetune_rate, config, logs['float'])
    frozen = sorted(glob.glob(os.path.join(config.output_dir, 'quantize_eval_model_{}_*.pb'.format(settings.finetune_steps))))
    if not frozen:
        raise SystemExit('error: no frozen model of the last step in {}'.format(config.output_dir))
    return {'network': name, 'float': evaluate(name, files['test'], logs['float'], len(test.labels)),
            'quantized': evaluate(name, files['test'], logs['quantized'], len(test.labels), config),
            'frozen': float(evaluate_frozen.accuracy(frozen[-1], test)), 'file': frozen[-1]}


def train(name, path, logs, steps, rate, config=None, float_checkpoint=None):
    """Trains a network with slim.learning.train; with a config quantization-aware, from the weights of a float checkpoint."""
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        images, labels = records.batches(path, BATCH, training=True)
        logits = networks.NETWORKS[name](tf.identity(images, INPUT), training=True)
        tf.losses.sparse_softmax_cross_entropy(labels, logits)
        step = tf.train.get_or_create_global_step()
        if config:
            vai_q_tensorflow.CreateQuantizeTrainingGraph(config)  # before the optimizer
        optimizer = tf.train.AdamOptimizer(tf.train.cosine_decay(rate, step, steps))
        train_op = slim.learning.create_train_op(tf.losses.get_total_loss(), optimizer)
        label = '{}, {}'.format(name, '{} bits'.format(config.weight_bit) if config else 'float')
        arguments = {'train_step_fn': _shown_steps(progress.Progress(label, steps))}
        if config:
            arguments = vai_q_tensorflow.slim_training_arguments(config, float_checkpoint, **arguments)
        slim.learning.train(train_op, logs, number_of_steps=steps, log_every_n_steps=0, save_summaries_secs=60, **arguments)


def evaluate(name, path, logs, count, config=None, size=250):
    """The accuracy of the latest checkpoint in `logs`, by slim.evaluation."""
    with tf.Graph().as_default():
        images, labels = records.batches(path, size, training=False)
        logits = networks.NETWORKS[name](tf.identity(images, INPUT), training=False)
        value, update = tf.metrics.accuracy(labels, tf.argmax(logits, -1))
        tf.train.get_or_create_global_step()
        if config:
            vai_q_tensorflow.CreateQuantizeEvaluationGraph(config)  # after everything that reads the logits
        return float(slim.evaluation.evaluate_once(
            '', tf.train.latest_checkpoint(logs), logs, num_evals=count // size, eval_op=update, final_op=value,
            summary_op=None))


def _shown_steps(show):
    """slim's train_step_fn, with a progress line."""
    def train_step(session, train_op, global_step, options):
        loss, should_stop = slim.learning.train_step(session, train_op, global_step, options)
        train_step.done += 1
        show(train_step.done, 'loss {:.3f}'.format(loss))
        return loss, should_stop
    train_step.done = 0
    return train_step


def _report(rows, options, count, seconds):
    print('\nAccuracy on {} test digits:'.format(count))
    print('{:<14}{:>9}{:>12}{:>14}'.format('network', 'float', 'quantized', 'frozen file'))
    for row in rows:
        print('{:<14}{:>7.1f} %{:>10.1f} %{:>12.1f} %   {}'.format(
            row['network'], 100 * row['float'], 100 * row['quantized'], 100 * row['frozen'], row['file']))
    print('\nWeights and activations have {} bits. {:.0f} seconds in all.'.format(options.bits, seconds))
    with open(os.path.join(options.output_dir, 'results.json'), 'w') as stream:
        json.dump({'seconds': seconds, 'rows': rows}, stream, indent=1)


def _options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--network', action='append', choices=sorted(networks.NETWORKS), help='both where it is not given')
    parser.add_argument('--bits', type=int, default=8, help='of weights and activations (%(default)s)')
    parser.add_argument('--output_dir', default='slim_results', help='where everything is written (%(default)s)')
    parser.add_argument('--quick', action='store_true',
                        help='a few steps only, to see that all works; the accuracies mean nothing')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    main(sys.argv[1:])
