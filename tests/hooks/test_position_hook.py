"""QuantizePositionHook: history, summaries, logged changes, freezing."""
import glob
import json
import logging
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.support import read_graph
from vai_q_tf import QuantizeCheckpointListener, QuantizeConfig, QuantizeError, QuantizePositionHook, errors, fixed_point
from vai_q_tf.hooks.position_hook import HISTORY_FILE, PositionChange
from vai_q_tf.integrations import functions

NAMES = ['images/aquant', 'dense/kernel/wquant', 'dense/bias/wquant', 'dense/BiasAdd/aquant']


LAYERS = {'images/aquant': 'images', 'dense/kernel/wquant': 'dense.MatMul', 'dense/bias/wquant': 'dense.MatMul',
          'dense/BiasAdd/aquant': 'dense.MatMul'}


def _train(directory, *hooks, steps=20, quantized=True, **settings):
    """Trains on data that grow with the steps; returns the positions in use in each step, [steps, tensors]."""
    with tf.Graph().as_default() as graph:
        tf.compat.v1.set_random_seed(1)
        step = tf.compat.v1.train.get_or_create_global_step()
        data = np.random.RandomState(0).randn(8, 4).astype(np.float32)
        images = tf.multiply(tf.constant(data), tf.pow(2.0, tf.floor(tf.cast(step, tf.float32) / 6)), name='images')
        loss = tf.reduce_sum(tf.layers.dense(images, 3, name='dense'))
        if quantized:
            functions.CreateQuantizeTrainingGraph(QuantizeConfig(
                ['images'], ['dense/BiasAdd'], [[-1, 4]], output_dir=str(directory), position_decay=0.7, recipe='manual',
                **settings))
        train = tf.compat.v1.train.GradientDescentOptimizer(1e-3).minimize(loss, step)
        with tf.compat.v1.train.MonitoredTrainingSession(
                checkpoint_dir=str(directory / 'model'), hooks=list(hooks), save_checkpoint_steps=100,
                save_summaries_steps=None) as session:
            fetches = [train] + [graph.get_tensor_by_name(name + '/position:0') for name in NAMES]
            return [session.run(fetches)[1:] for _ in range(steps)]


def _file(directory):
    with open(str(directory / HISTORY_FILE)) as stream:
        return [PositionChange(**json.loads(line)) for line in stream]


@pytest.fixture(scope='module')
def free(tmp_path_factory):
    """(directory, hook, positions) of a training that is not frozen, and that writes a model of each step."""
    directory = tmp_path_factory.mktemp('free')
    hook = QuantizePositionHook(str(directory), every_n_steps=5)
    listener = QuantizeCheckpointListener(QuantizeConfig(['images'], ['dense/BiasAdd'], [[-1, 4]], output_dir=str(directory)))
    saver_hook = tf.estimator.CheckpointSaverHook(str(directory / 'model'), save_steps=1, listeners=[listener])
    return directory, hook, _train(directory, hook, saver_hook)


def _in_models(directory):
    """The positions in the model of each step, [steps, tensors]."""
    positions = []
    for step in range(1, 21):
        model = read_graph(next(directory.glob('quantize_eval_model_{}_*'.format(step))))
        found = {node.name: node.attr['quantize_pos'].i for node in model.node if node.op == 'FixNeuron'}
        positions.append([found[name] for name in NAMES])
    return positions


@pytest.fixture(scope='module')
def frozen(tmp_path_factory):
    """The positions of one that the hook freezes after step 8."""
    directory = tmp_path_factory.mktemp('frozen')
    return _train(directory, QuantizePositionHook(str(directory), every_n_steps=5, freeze_step=8))


def test_history_has_the_first_position_and_every_change(free):
    directory, hook, positions = free
    expected, current = [], {}
    for step, row in enumerate(_in_models(directory), 1):
        for name, position in zip(NAMES, row):
            if current.get(name) != position:
                current[name] = position
                expected.append(PositionChange(step, name, position))
    assert sorted(hook.history) == sorted(expected)
    assert hook.history == _file(directory)
    assert len(expected) > len(NAMES) + 2
    assert positions[0][2] == fixed_point.POSITION_ZERO  # of a bias of zeros, which no model has


def test_summaries_are_the_positions_at_their_steps(free):
    directory, _, _ = free
    seen, positions = {}, _in_models(directory)
    for path in glob.glob(str(directory / 'events.*')):
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                seen.setdefault(event.step, {})[value.tag] = value.simple_value
    assert set(seen) >= {5, 10, 15, 20}
    for step in (5, 10, 15, 20):
        assert [seen[step]['quantize.{}/position/{}'.format(LAYERS[name], name)] for name in NAMES] == positions[step - 1]
    moved = sum(positions[9][i] != positions[4][i] for i in range(len(NAMES)))
    assert seen[10]['quantize/moved'] == moved


def test_what_moved_is_logged(tmp_path, caplog):
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.INFO)
    tf.get_logger().propagate = True
    with caplog.at_level(logging.INFO):
        positions = _train(tmp_path, QuantizePositionHook(str(tmp_path), every_n_steps=10))
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.WARN)
    assert positions[19][0] != positions[9][0]
    expected = 'images/aquant {} -> {}'.format(positions[9][0], positions[19][0])
    first, second, *_ = [record.getMessage() for record in caplog.records if 'Quantize positions' in record.getMessage()]
    assert 'step 10: {0} of {0} found: '.format(len(NAMES)) in first and ' new -> ' in first
    assert 'step 20' in second and 'moved since the last report' in second and expected in second


def test_freeze_step_stops_the_positions(free, frozen):
    free, frozen = np.array(free[-1]), np.array(frozen)
    np.testing.assert_array_equal(frozen[:8], free[:8])
    np.testing.assert_array_equal(frozen[8:], np.repeat(frozen[7:8], 12, axis=0))
    assert (free[8:] != free[7]).any()


def test_positions_that_are_not_there_yet_are_not_frozen(tmp_path, free):
    """For example if a float training is resumed at a step after freeze_step."""
    free = np.array(free[-1][:1])
    frozen = np.array(_train(tmp_path / 'frozen', QuantizePositionHook(str(tmp_path / 'frozen'), freeze_step=0)))
    seen = [number for number, position in enumerate(free[0]) if position != fixed_point.POSITION_ZERO]
    assert len(seen) == 3  # the bias is zero, so any position suits it
    np.testing.assert_array_equal(frozen[:, seen], np.repeat(free[:, seen], 20, axis=0))


def test_freezing_by_the_hook_and_by_the_config_is_the_same(tmp_path, frozen):
    by_config = _train(tmp_path, QuantizePositionHook(str(tmp_path), every_n_steps=5), freeze_position_step=8)
    np.testing.assert_array_equal(frozen, by_config)


def test_a_line_cut_off_by_a_crash_is_dropped(tmp_path, free):
    tmp_path = tmp_path / 'restarted'
    shutil.copytree(str(free[0]), str(tmp_path))
    whole = _file(tmp_path)
    with open(str(tmp_path / HISTORY_FILE), 'a') as stream:
        stream.write('{"step": 21, "tens')
    hook = QuantizePositionHook(str(tmp_path), every_n_steps=5)
    _train(tmp_path, hook, steps=1)
    assert hook.history[:len(whole)] == whole
    assert _file(tmp_path) == hook.history


FORMS = {
    'config': (lambda config, place: QuantizePositionHook(config, 10), 'quantized'),
    'config and place': (lambda config, place: QuantizePositionHook(config, every_n_steps=10, output_dir=place), 'place'),
    'a path in place of the config': (lambda config, place: QuantizePositionHook(pathlib.Path(place), 10), 'place'),
    'of 0.1.0, positional': (lambda config, place: QuantizePositionHook(place, 10), 'place'),
    'of 0.1.0, keywords': (lambda config, place: QuantizePositionHook(output_dir=place, every_n_secs=1e-6), 'place'),
}


@pytest.mark.parametrize('form', sorted(FORMS))
def test_call_forms(tmp_path, form):
    make, place = FORMS[form]
    config = QuantizeConfig(['images:0'], ['dense/BiasAdd'], output_dir=str(tmp_path / 'quantized'))
    hook = make(config, str(tmp_path / 'place'))
    _train(tmp_path, hook, steps=2)
    assert _file(tmp_path / place) == hook.history and glob.glob(str(tmp_path / place / 'events.*'))
    assert not os.path.exists(str(tmp_path / ('place' if place == 'quantized' else 'quantized')))


@pytest.mark.parametrize('arguments', [{}, {'every_n_steps': 100}])
def test_it_reports_every_100_steps_by_default(tmp_path, arguments):
    timer = QuantizePositionHook(QuantizeConfig(['images'], ['dense/BiasAdd'], output_dir=str(tmp_path)), **arguments)._timer
    timer.update_last_triggered_step(1)
    assert [timer.should_trigger_for_step(step) for step in (2, 100, 101)] == [False, False, True]


@pytest.mark.parametrize('config', [None, 7, ['images'], {}], ids=str)
def test_a_config_of_a_wrong_type(config):
    with pytest.raises(TypeError, match='must be a vai_q_tensorflow.QuantizeConfig, got {}'.format(type(config).__name__)):
        QuantizePositionHook(config)


def test_a_directory_twice_is_an_error(tmp_path):
    with pytest.raises(TypeError, match='QuantizeConfig, got str'):
        QuantizePositionHook('directory', output_dir=str(tmp_path))


def test_a_graph_of_another_range_is_refused(tmp_path):
    with pytest.raises(QuantizeError, match='from images to dense/BiasAdd, .*from images to dense/MatMul'):
        _train(tmp_path, QuantizePositionHook(QuantizeConfig(['images'], ['dense/MatMul'], output_dir=str(tmp_path / 'other'))))
    assert not os.path.exists(str(tmp_path / 'other'))


def test_wrong_use_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='not both'):
        QuantizePositionHook(str(tmp_path), every_n_steps=1, every_n_secs=1.0)
    with pytest.raises(QuantizeError) as raised:
        _train(tmp_path, QuantizePositionHook(str(tmp_path), every_n_steps=1), quantized=False)
    assert raised.value.code == errors.NOT_QUANTIZED
    assert not os.path.exists(str(tmp_path / HISTORY_FILE))


def test_a_run_without_the_network_needs_no_inputs_and_casts_no_vote(tmp_path):
    images = tf.compat.v1.placeholder(tf.float32, [None, 4], name='images')
    step = tf.compat.v1.train.get_or_create_global_step()
    loss = tf.reduce_sum(tf.layers.dense(images, 3, name='dense'))
    functions.CreateQuantizeTrainingGraph(QuantizeConfig(['images'], ['dense/BiasAdd'], output_dir=str(tmp_path)))
    train = tf.compat.v1.train.GradientDescentOptimizer(1e-3).minimize(loss, step)
    hook = QuantizePositionHook(str(tmp_path), every_n_steps=5)
    with tf.compat.v1.train.MonitoredTrainingSession(hooks=[hook]) as session:
        assert session.run(step) == 0
        assert hook.history == []
        session.run(train, {images: np.ones([2, 4])})
        votes = session.run('vai_q_tf/positions/votes:0')
        session.run(step)
        np.testing.assert_array_equal(session.run('vai_q_tf/positions/votes:0'), votes)
        assert {change.tensor for change in hook.history} == set(NAMES)
