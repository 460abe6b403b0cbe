"""A training that is killed between two checkpoints and restarted equals one that was never killed."""
import os
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from tests.hooks import train_estimator
from vai_q_tf.hooks.position_hook import HISTORY_FILE


def _train_in_a_process(python, directory, *arguments):
    return subprocess.run([python, train_estimator.__file__, str(directory)] + [str(a) for a in arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)


def _variables(directory, step):
    reader = tf.train.load_checkpoint(os.path.join(str(directory), 'model', 'model.ckpt-{}'.format(step)))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def _history(directory):
    with open(os.path.join(str(directory), 'history', HISTORY_FILE)) as stream:
        return stream.read()


@pytest.fixture(scope='module')
def trainings(tmp_path_factory, forked_python):
    whole, killed = tmp_path_factory.mktemp('whole'), tmp_path_factory.mktemp('killed')
    train_estimator.main(str(whole), 30)
    # Killed at step 17, so it starts again from the checkpoint of step 10.
    process = _train_in_a_process(forked_python, killed, 30, 17)
    assert process.returncode and process.stdout.endswith('the process was killed\n'), process.stdout
    assert tf.train.latest_checkpoint(str(killed / 'model')).endswith('-10')
    before = _history(killed)
    train_estimator.main(str(killed), 30)
    return whole, killed, before


def test_weights_and_positions_are_equal(trainings):
    whole, killed, _ = trainings
    for step in (20, 30):
        expected, resumed = _variables(whole, step), _variables(killed, step)
        assert sorted(expected) == sorted(resumed)
        assert 'vai_q_tf/positions/votes' in expected
        for name, value in expected.items():
            np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def test_history_is_equal(trainings):
    whole, killed, before = trainings
    expected = _history(whole)
    assert _history(killed) == expected
    # Positions moved between the checkpoint and the kill, and after both; otherwise the test would show nothing.
    steps = [int(line.split(',')[0].rpartition(' ')[2]) for line in before.splitlines()]
    assert any(10 < step <= 17 for step in steps)
    assert any(int(line.split(',')[0].rpartition(' ')[2]) > 17 for line in expected.splitlines())


def test_each_checkpoint_leaves_both_files_once(trainings):
    whole, _, _ = trainings
    names = sorted(name.rpartition('_')[0] for name in os.listdir(str(whole / 'quantized')) if name.endswith('.pb'))
    assert names == sorted(['quantize_train_graph.pb'.rpartition('_')[0]] + [
        'quantize_eval_{}_{}'.format(kind, step) for kind in ('graph', 'model') for step in (10, 20, 30)])
