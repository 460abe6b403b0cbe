"""Restoring positions from checkpoints that have all, some or none of them, and the ops that a Saver adds for that."""
import collections

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import CreateQuantizeEvaluationGraph, CreateQuantizeTrainingGraph, QuantizeConfig, ops
from vai_q_tf.qat.positions.position_saveable import (
    BITS_KEY,
    START_KEY,
    STRUCTURES_KEY,
    TENSORS_KEY,
    UNTRACKED,
    VARIABLES_KEY,
    VOTES_KEY,
)

_KEYS = [TENSORS_KEY, VARIABLES_KEY, STRUCTURES_KEY, VOTES_KEY, BITS_KEY, START_KEY]


def _network():
    hidden = tf.layers.dense(tf.placeholder(tf.float32, [None, 4], 'x'), 3, name='hidden')
    tf.layers.dense(tf.nn.relu(hidden), 2, name='logits')


def _graph(directory, rewrite):
    _network()
    rewrite(QuantizeConfig(['x'], ['logits/BiasAdd'], output_dir=str(directory)))


def _read(prefix):
    reader = tf.train.load_checkpoint(prefix)
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}


def _write(prefix, values):
    with tf.Graph().as_default(), tf.Session() as session:
        names = sorted(values)
        session.run(tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[''] * len(names), tensors=[
            tf.constant(values[name], tf.string if values[name].dtype == object else values[name].dtype) for name in names]))
    return prefix


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """The values of a checkpoint of a training."""
    directory = tmp_path_factory.mktemp('saved')
    with tf.Graph().as_default(), tf.Session() as session:
        _graph(directory, CreateQuantizeTrainingGraph)
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver()
        session.run('logits/BiasAdd/aquant:0', {'x:0': np.ones([2, 4])})
        values = _read(saver.save(session, str(directory / 'model')))
    assert set(_KEYS) <= set(values) and values[VOTES_KEY].any(axis=1).all() and values[START_KEY].any()
    votes = values[VOTES_KEY]
    return dict(values, **{VOTES_KEY: votes + np.float32(0.1) * np.arange(1, len(votes) + 1, dtype=np.float32)[:, np.newaxis]})


def _restored(directory, values):
    """{VOTES_KEY: votes, START_KEY: the start} of a training graph with votes, after restoring a checkpoint of `values`."""
    prefix = _write(str(directory / 'odd'), values)
    with tf.Graph().as_default(), tf.Session() as session:
        _graph(directory, CreateQuantizeTrainingGraph)
        saver = tf.train.Saver()
        session.run(tf.global_variables_initializer())
        session.run('logits/BiasAdd/aquant:0', {'x:0': np.full([2, 4], 9.)})
        saver.restore(session, prefix)
        return {key: session.run(key + ':0') for key in (VOTES_KEY, START_KEY)}


@pytest.mark.parametrize('missing, votes, start', [
    ([], True, True), ([BITS_KEY], True, True), ([STRUCTURES_KEY], True, True),
    ([START_KEY], True, False), ([STRUCTURES_KEY, START_KEY], True, False),
    (_KEYS, False, False), ([VARIABLES_KEY], False, True), ([VARIABLES_KEY, TENSORS_KEY], False, True),
    ([VARIABLES_KEY, VOTES_KEY, START_KEY], False, False)])
def test_state_that_a_checkpoint_lacks_is_empty(tmp_path, saved, missing, votes, start):
    found = _restored(tmp_path, {key: value for key, value in saved.items() if key not in missing})
    np.testing.assert_array_equal(found[VOTES_KEY], saved[VOTES_KEY] * votes)
    np.testing.assert_array_equal(found[START_KEY], saved[START_KEY] * start)


@pytest.mark.parametrize('missing', [TENSORS_KEY, VOTES_KEY])
def test_a_table_without_names_or_votes_is_damage(tmp_path, saved, missing):
    with pytest.raises(tf.errors.InvalidArgumentError, match='MatchRows: saved_(names|votes) has the shape'):
        _restored(tmp_path, {key: value for key, value in saved.items() if key != missing})


def test_rows_are_found_by_structure_name_or_variable(tmp_path, saved):
    """Structures count before names; without either the variable does."""
    number = len(saved[TENSORS_KEY])
    others = dict(saved, **{TENSORS_KEY: saved[TENSORS_KEY][::-1].copy()})
    np.testing.assert_array_equal(_restored(tmp_path, others)[VOTES_KEY], saved[VOTES_KEY])
    others.pop(STRUCTURES_KEY)
    others.pop(BITS_KEY)  # or a training would begin anew because of the rows that are not found
    np.testing.assert_array_equal(_restored(tmp_path, others)[VOTES_KEY], saved[VOTES_KEY][::-1])
    others[TENSORS_KEY] = np.array([b''] * number, object)
    of_variables = np.array([bool(variable) for variable in saved[VARIABLES_KEY]])[:, np.newaxis]
    assert of_variables.any() and not of_variables.all()
    np.testing.assert_array_equal(_restored(tmp_path, others)[VOTES_KEY], saved[VOTES_KEY] * of_variables)


@pytest.mark.parametrize('change, expected', [(lambda votes: votes, 0), (lambda votes: votes * 0, 1), (None, 0)])
def test_an_evaluation_graph_notes_that_training_has_not_begun(tmp_path, saved, change, expected):
    values = {key: value for key, value in saved.items() if change or key not in _KEYS}
    if change:
        values[VOTES_KEY] = change(values[VOTES_KEY])
    prefix = _write(str(tmp_path / 'odd'), values)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        _graph(tmp_path, CreateQuantizeEvaluationGraph)
        mark = ops.read_positions(graph.get_tensor_by_name(UNTRACKED + ':0'), rows=1)
        tf.train.Saver().restore(session, prefix)
        np.testing.assert_array_equal(session.run(mark), np.full([1, 256], expected))


def _added_by_a_saver(directory, rewrite):
    with tf.Graph().as_default() as graph:
        if rewrite:
            _graph(directory, rewrite)
        else:
            _network()
        before = set(graph.get_operations())
        tf.train.Saver()
        return collections.Counter(op.type for op in graph.get_operations() if op not in before)


@pytest.mark.parametrize('rewrite, more', [
    (CreateQuantizeTrainingGraph, {
        'VaiWritePositions': 2, 'NoOp': 2, 'VaiSay': 1, 'NotEqual': 1, 'Select': 1, 'Const': 3}),
    (CreateQuantizeEvaluationGraph, {'VaiWritePositions': 2, 'NoOp': 1, 'Cast': 1, 'Fill': 1, 'Const': 1})])
def test_a_saver_has_few_ops_more_than_that_of_a_float_graph(tmp_path, rewrite, more):
    """A tf.cond would take some twenty ops, and longer to build than the rest of the Saver."""
    added = _added_by_a_saver(tmp_path, rewrite) - _added_by_a_saver(tmp_path, None)
    assert added == collections.Counter(more, VaiRestoreTensors=1, VaiMatchRows=1)
