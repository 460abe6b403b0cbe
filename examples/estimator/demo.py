"""Trains a small network on real digits and quantizes it to 8 and to 4 bits, after training and in training.

    python demo.py [--output_dir demo_results] [--quick]

1. Trains a float network with tf.estimator.
2. Quantizes it without training: freezes it and calibrates it on a few batches (post_training.py); at 4 bits a second time
   with fast finetuning of the weights on these batches.
3. Finetunes it quantization-aware: the same model_fn, one function call before the optimizer.
4. Evaluates each frozen file in a fresh process from the file alone (evaluate_frozen.py).
5. Prints the results and the next steps, and writes results.json.
"""
import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import time
from typing import NamedTuple, Optional

import quiet  # noqa: F401  isort: skip
import data
import model
import post_training
import progress
import tensorflow as tf

import vai_q_tensorflow

BITS = (8, 4)
BATCH = 64
FLOAT_GRAPH = 'float.pb'


class Settings(NamedTuple):
    """Lengths of the trainings. Learning rates fall to 0 along a cosine."""
    float_steps: int = 2000
    float_rate: float = 4e-3
    finetune_steps: int = 1200
    finetune_rate: float = 2e-3
    calibration_batches: int = 16


QUICK = Settings(float_steps=150, finetune_steps=20, calibration_batches=2)


class Row(NamedTuple):
    """A line of the result: accuracy on the test digits, of the frozen file if there is one.

    checkpoint_accuracy: of the evaluation graph with the checkpoint, in this process.
    """
    name: str
    accuracy: float
    file: str
    checkpoint_accuracy: Optional[float] = None


def main(arguments):
    options = _options(arguments)
    settings = QUICK if options.quick else Settings()
    started = time.time()
    training, test = data.load()
    print('{} training digits, {} test digits; results in {}'.format(
        len(training.labels), len(test.labels), options.output_dir))

    float_dir = _empty_directory(options.output_dir, 'float')
    network = _estimator(float_dir, None, None, settings.float_rate, settings.float_steps)
    network.train(data.training_input_fn(training, BATCH, seed=1), steps=settings.float_steps,
                  hooks=[progress.ProgressHook('Training the float network', settings.float_steps)])
    checkpoint = tf.train.latest_checkpoint(float_dir)
    accuracy = _checkpoint_accuracy(network, test)
    rows = [Row('float', accuracy, checkpoint, accuracy)]
    with open(os.path.join(options.output_dir, FLOAT_GRAPH), 'wb') as stream:
        stream.write(post_training.freeze(checkpoint).SerializeToString())

    calibration = [images for images, _ in data.batches(training, BATCH)][:settings.calibration_batches]
    for bits in BITS:
        rows.append(_quantize_after_training(options.output_dir, bits, checkpoint, calibration))
        if bits == 4:
            rows.append(_quantize_after_training(options.output_dir, bits, checkpoint, calibration, finetune=True))
        rows.append(_quantize_in_training(options.output_dir, bits, checkpoint, training, test, settings))
    rows = [row._replace(file=os.path.join(options.output_dir, os.path.relpath(row.file, options.output_dir))) for row in rows]
    _report(rows, len(test.labels), options.output_dir, time.time() - started)
    _say_what_is_next(rows, options.output_dir)


def _quantize_after_training(output_dir, bits, checkpoint, calibration, finetune=False):
    name = 'post-training, {} bits'.format(bits) + ', finetuned' * finetune
    print('Quantizing: ' + name, flush=True)
    directory = _empty_directory(output_dir, name.replace(', ', '_').replace(' ', '_').replace('-', '_'))
    file = post_training.quantize(checkpoint, calibration, bits, directory, finetune)
    return Row(name, _frozen_accuracy(file), file)


def _quantize_in_training(output_dir, bits, checkpoint, training, test, settings):
    directory = _empty_directory(output_dir, 'finetuned_{}_bits'.format(bits))
    config = model.quantize_config(bits, directory)
    steps = settings.finetune_steps
    network = _estimator(directory, config, checkpoint, settings.finetune_rate, steps)
    network.train(
        data.training_input_fn(training, BATCH, seed=2), steps=steps,
        hooks=[progress.ProgressHook('Quantization-aware finetuning at {} bits'.format(bits), steps),
               vai_q_tensorflow.QuantizePositionHook(config)],
        saving_listeners=[vai_q_tensorflow.QuantizeCheckpointListener(config)])
    files = sorted(glob.glob(os.path.join(directory, 'quantize_eval_model_{}_*.pb'.format(steps))))
    if not files:
        raise SystemExit('error: no frozen model of step {} in {}; the reason is above'.format(steps, directory))
    return Row('quantization-aware, {} bits'.format(bits), _frozen_accuracy(files[-1]), files[-1],
               _checkpoint_accuracy(network, test))


def _estimator(directory, config, float_checkpoint, learning_rate, steps):
    return tf.estimator.Estimator(
        model.model_fn, directory,
        tf.estimator.RunConfig(tf_random_seed=1, save_checkpoints_steps=steps, save_summary_steps=100,
                               log_step_count_steps=100),
        {'config': config, 'float_checkpoint': float_checkpoint, 'learning_rate': learning_rate, 'steps': steps})


def _checkpoint_accuracy(network, digits):
    return float(network.evaluate(data.evaluation_input_fn(digits))['accuracy'])


def _frozen_accuracy(file):
    """The accuracy that evaluate_frozen.py prints for `file`."""
    print('Evaluating {} in a fresh process'.format(os.path.basename(file)), flush=True)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'evaluate_frozen.py')
    process = subprocess.run([sys.executable, script, file], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             universal_newlines=True)
    if process.returncode:
        raise SystemExit('error: evaluate_frozen.py failed:\n' + process.stderr)
    return float(process.stdout.split()[-1])


def _empty_directory(output_dir, name):
    """output_dir/name, emptied: tf.estimator would continue from the checkpoint of an earlier run."""
    directory = os.path.join(output_dir, name)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    return directory


def _report(rows, digits, output_dir, seconds):
    print('\nAccuracy on {} test digits, and where it is from:'.format(digits))
    for row in rows:
        print('{:<33}{:>6.1f} %   {}'.format(row.name, 100 * row.accuracy, row.file))
    print('\n"post-training" calibrates the float network on a few batches; "finetuned" adjusts its weights on these, without\n'
          'labels. Weights and activations have 8 or 4 bits, biases 8. {:.0f} seconds in all.'.format(seconds))
    with open(os.path.join(output_dir, 'results.json'), 'w') as stream:
        json.dump({'seconds': seconds, 'rows': [row._asdict() for row in rows]}, stream, indent=1)


def _say_what_is_next(rows, output_dir):
    """Command lines to continue with the files of the demo."""
    float_graph, model_file = os.path.join(output_dir, FLOAT_GRAPH), next(row.file for row in rows if '4 bits' in row.name)
    modules = os.path.relpath(os.path.dirname(os.path.abspath(__file__)))
    print('\nNext: what is quantized in the network, and from which tensor on 4 bits depart from float:\n')
    if sys.prefix != sys.base_prefix:
        print('  source {}'.format(os.path.join(os.path.relpath(sys.prefix), 'bin', 'activate')))
    print('  vai_q_tensorflow inspect --input_frozen_graph {}'.format(float_graph))
    print('  PYTHONPATH={} vai_q_tensorflow compare {} {} --input_fn post_training.calib_input'.format(
        modules, float_graph, model_file))


def _options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output_dir', default='demo_results', help='where everything is written (%(default)s)')
    parser.add_argument('--quick', action='store_true',
                        help='a few steps only, to see that all works; the accuracies mean nothing')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    main(sys.argv[1:])
