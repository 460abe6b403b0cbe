"""One process of a parameter-server cluster: TF_CONFIG names its task. python train_cluster.py DIR STEPS.

Its id is in DIR/TASK.pid.
"""
import json
import os
import sys

from tests import quick_tensorflow  # noqa: F401  (what it sets)

import tensorflow as tf  # isort: skip  (after its settings)

import vai_q_tensorflow  # isort: skip
from tests.distributed import training  # isort: skip


def model_fn(features, labels, mode, params):
    """The model_fn of the training, with a listener for the chief, for which TrainSpec has no argument."""
    spec = training.model_fn(features, labels, mode, params)
    if mode != tf.estimator.ModeKeys.TRAIN:
        return spec
    listener = vai_q_tensorflow.QuantizeCheckpointListener(training.config(params['directory']))
    saver = tf.estimator.CheckpointSaverHook(os.path.join(params['directory'], 'model'), save_steps=20, listeners=[listener])
    return spec._replace(training_chief_hooks=[saver])


def main(directory, steps):
    with open(os.path.join(directory, json.loads(os.environ['TF_CONFIG'])['task']['type'] + '.pid'), 'w') as stream:
        stream.write(str(os.getpid()))
    run_config = tf.estimator.RunConfig(os.path.join(directory, 'model'), tf_random_seed=5, save_checkpoints_steps=20)
    estimator = tf.estimator.Estimator(model_fn, config=run_config, params={
        'directory': directory, 'start': os.path.join(directory, 'float', 'model.ckpt'), 'settings': {'recipe': 'auto'}})
    hooks = [vai_q_tensorflow.QuantizePositionHook(os.path.join(directory, 'history'), every_n_steps=10)]
    tf.estimator.train_and_evaluate(
        estimator, tf.estimator.TrainSpec(training.input_fn, max_steps=int(steps), hooks=hooks),
        tf.estimator.EvalSpec(training.input_fn, steps=4, start_delay_secs=0, throttle_secs=1))


if __name__ == '__main__':
    main(*sys.argv[1:])
