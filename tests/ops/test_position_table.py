"""Moving positions: their state needs no initializer, survives a restart, and equals the NumPy definition."""
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.python.ops import gen_resource_variable_ops as resource_ops

from tests.ops import samples
from vai_q_tf import fixed_point, ops, position_histogram


class State:
    """A graph with one histogram variable of `rows` rows and all the ops on it."""

    def __init__(self, rows=3, row=1, decay=0.9):
        self.rows, self.row, self.decay = rows, row, decay
        with tf.Graph().as_default() as graph:
            handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[rows, 256], shared_name='positions')
            self.batch = tf.compat.v1.placeholder(tf.int32, [])
            self.new = tf.compat.v1.placeholder(tf.float32)
            self.position = ops.moving_position(handle, self.batch, rows, row, decay, tensor='conv1/Relu')
            self.read = ops.read_positions(handle, rows)
            self.write = ops.write_positions(handle, self.new, rows)
            self.read_variable = resource_ops.read_variable_op(handle, tf.float32)
            self.assign_variable = resource_ops.assign_variable_op(handle, self.new)
            self.exists = resource_ops.var_is_initialized_op(handle)
            with tf.control_dependencies([self.read_variable]):
                self.after_read = ops.moving_position(handle, self.batch, rows, row, decay, tensor='conv1/Relu')
        self.session = tf.compat.v1.Session(graph=graph)

    def vote(self, position):
        return self.session.run(self.position, {self.batch: position})

    def histograms(self):
        return self.session.run(self.read)


@given(votes=st.lists(st.one_of(st.integers(-3, 3), st.sampled_from([-126, 126, 127, fixed_point.NO_OBSERVATION])),
                      min_size=1, max_size=40), decay=st.sampled_from([1.0, 0.99, 0.5, 1e-20]))
def test_votes_are_the_definition(votes, decay):
    state = State(decay=decay)
    expected = np.zeros(256, np.float32)
    for position in votes:
        expected = position_histogram.vote(expected, position, decay)
        if expected.any():
            assert state.vote(position) == position_histogram.mode_position(expected)
    histograms = state.histograms()
    assert samples.same_bits(histograms[1], expected)
    assert not histograms[[0, 2]].any()


def test_first_use_needs_no_initializer():
    assert State().vote(5) == 5
    assert samples.same_bits(State(rows=2).histograms(), np.zeros([2, 256], np.float32))


def test_restart_by_read_and_write_continues_exactly():
    straight, stopped = State(), State()
    votes = np.random.RandomState(0).randint(-4, 5, 60).tolist()
    expected = [straight.vote(v) for v in votes]
    found = [stopped.vote(v) for v in votes[:25]]
    resumed = State()
    resumed.session.run(resumed.write, {resumed.new: stopped.histograms()})
    found += [resumed.vote(v) for v in votes[25:]]
    assert found == expected
    assert samples.same_bits(resumed.histograms(), straight.histograms())


def test_state_is_an_ordinary_variable():
    state = State()
    assert not state.session.run(state.exists)
    state.vote(-2)
    assert state.session.run(state.exists)
    assert samples.same_bits(state.session.run(state.read_variable), state.histograms())
    histograms = np.zeros([3, 256], np.float32)
    histograms[1, 9 + 128] = 4
    state.session.run(state.assign_variable, {state.new: histograms})
    assert state.vote(fixed_point.NO_OBSERVATION) == 9


def test_a_row_never_tracked_is_an_error_that_names_the_cure():
    state = State()
    with pytest.raises(tf.errors.FailedPreconditionError) as error:
        state.vote(fixed_point.NO_OBSERVATION)
    for words in ("'conv1/Relu' was never tracked", 'Train with quantization for at least one step', 'checkpoint'):
        assert words in str(error.value)
    assert state.vote(3) == 3


def test_later_votes_do_not_change_values_that_were_read():
    state = State()
    state.vote(1)
    before, _ = state.session.run([state.read_variable, state.after_read], {state.batch: 2})
    assert before[1, 1 + 128] == 1 and before[1, 2 + 128] == 0
    assert state.histograms()[1, 2 + 128] == 1
    kept = state.histograms()
    copy = kept.copy()
    state.vote(7)
    assert samples.same_bits(kept, copy)


@pytest.mark.parametrize('write', ['write', 'assign_variable'])
def test_written_array_is_not_changed_by_votes(write):
    histograms = np.zeros([3, 256], np.float32)
    state = State()
    state.session.run(getattr(state, write), {state.new: histograms})
    state.vote(7)
    assert not histograms.any()


def test_two_rows_vote_at_the_same_time_without_loss():
    rows, steps = 8, 50
    with tf.Graph().as_default() as graph:
        handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[rows, 256])
        votes = [ops.moving_position(handle, row, rows, row, 1.0, tensor=str(row)) for row in range(rows)]
        read = ops.read_positions(handle, rows)
    with tf.compat.v1.Session(graph=graph) as session:
        for _ in range(steps):
            assert session.run(votes) == list(range(rows))
        histograms = session.run(read)
    assert histograms[range(rows), np.arange(rows) + 128].tolist() == [steps] * rows
    assert histograms.sum() == steps * rows


class _Calibrating:
    """Row 1 of 3 elects while a placeholder says whether positions are calibrated; `legal` is given or not."""

    def __init__(self, legal):
        with tf.Graph().as_default() as graph:
            handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[3, 256])
            self.batch, self.calibrating = tf.compat.v1.placeholder(tf.int32), tf.compat.v1.placeholder(tf.bool)
            legal = tf.constant([7, 8, 9]) if legal else None
            self.moving = ops.moving_position(handle, self.batch, 3, 1, 0.5, 'join', copies=[2], legal=legal,
                                              calibrating=self.calibrating)
            self.kept = ops.kept_position(handle, self.batch, 3, 1, 'join', legal=legal, calibrating=self.calibrating)
            self.read = ops.read_positions(handle, 3)
        self.session = tf.compat.v1.Session(graph=graph)

    def run(self, fetch, batch, calibrating):
        return self.session.run(fetch, {self.batch: batch, self.calibrating: calibrating})


@pytest.mark.parametrize('legal', [False, True])
def test_votes_count_while_positions_are_calibrated(legal):
    graph, expected = _Calibrating(legal), np.zeros(256, np.float32)
    for i, position in enumerate((3, 5, 5, fixed_point.NO_OBSERVATION, 127, 5, 2)):
        expected = position_histogram.vote(expected, position, 0.5)
        calibrating = i != 4
        elected = fixed_point.NO_OBSERVATION if calibrating else position_histogram.mode_position(expected)
        assert graph.run(graph.moving, position, calibrating) == elected
        np.testing.assert_array_equal(graph.session.run(graph.read), [np.zeros(256), expected, expected])
        assert graph.run(graph.kept, 6, True) == fixed_point.NO_OBSERVATION
        assert graph.run(graph.kept, 6, False) == position_histogram.mode_position(expected)
        np.testing.assert_array_equal(graph.session.run(graph.read), [np.zeros(256), expected, expected])
    unobserved = 8 if legal else position_histogram.mode_position(expected)
    for fetch in (graph.moving, graph.kept):
        assert graph.run(fetch, fixed_point.NO_OBSERVATION, False) == unobserved
        assert graph.run(fetch, fixed_point.NO_OBSERVATION, True) == fixed_point.NO_OBSERVATION


@pytest.mark.parametrize('legal', [False, True])
@pytest.mark.parametrize('op', ['moving', 'kept'])
def test_calibration_needs_no_known_position(op, legal):
    graph = _Calibrating(legal)
    fetch = getattr(graph, op)
    assert graph.run(fetch, fixed_point.NO_OBSERVATION, True) == fixed_point.NO_OBSERVATION
    assert not graph.session.run(graph.read).any()
    with pytest.raises(tf.errors.FailedPreconditionError, match="'join' was never tracked"):
        graph.run(fetch, fixed_point.NO_OBSERVATION, False)


def test_values_pass_while_positions_are_calibrated():
    """The graph of a training step: search, vote, quantize."""
    x = tf.compat.v1.placeholder(tf.float32, [3])
    calibrating = tf.compat.v1.placeholder(tf.bool, [])
    handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[1, 256])
    position = ops.moving_position(handle, ops.search_position(x), 1, 0, 1.0, 'x', calibrating=calibrating)
    y = ops.vai_fix_neuron(x, position)
    data = np.float32([0.3, -1, 0.7])
    with tf.compat.v1.Session() as session:
        outputs = [y, tf.gradients(y, x)[0]]
        assert samples.same_bits(session.run(y, {x: data, calibrating: True}), data)
        assert samples.same_bits(session.run(y, {x: data, calibrating: False}), fixed_point.quantize(data, 7))
        found, slope = session.run(outputs, {x: data * 8, calibrating: True})
        assert samples.same_bits(found, data * 8) and slope.tolist() == [1, 1, 1]
        assert session.run(outputs[1], {x: [0.3, -1, 8], calibrating: False}).tolist() == [1, 1, 0]


@pytest.mark.parametrize('op', ['moving', 'kept'])
def test_calibrating_is_one_value(op):
    graph = _Calibrating(True)
    for value in ([True, False], []):
        with pytest.raises(tf.errors.InvalidArgumentError, match='calibrating must be one value'):
            graph.run(getattr(graph, op), 3, value)
    assert not graph.session.run(graph.read).any(), 'a vote was counted'


@pytest.mark.parametrize('inputs, message', [
    ({'legal': [[1, 2, 3], [1, 2, 3]], 'calibrating': []}, 'N is 2'),
    ({'legal': [], 'calibrating': [True, False]}, 'M is 2'),
])
def test_optional_inputs_are_given_at_most_once(inputs, message):
    handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[3, 256])
    position = ops.load_library().vai_kept_position(handle, 0, rows=3, row=1, tensor='x', **inputs)
    with tf.compat.v1.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match=message):
        session.run(position)


@pytest.mark.parametrize('position', [-127, 128, fixed_point.NO_OBSERVATION + 1])
def test_positions_out_of_range_are_errors(position):
    with pytest.raises(tf.errors.InvalidArgumentError, match='position is {}'.format(position)):
        State().vote(position)


@pytest.mark.parametrize('attrs, message', [
    ({'row': 3}, 'row is 3'), ({'decay': 0.0}, 'decay is 0'), ({'decay': 1.5}, 'decay is 1.5'),
    ({'decay': float('nan')}, 'decay is'),
])
def test_wrong_attributes_are_errors(attrs, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        State(**attrs).vote(0)


@pytest.mark.parametrize('rows', [2**20 + 1, 2**23 + 1, 2**30, 2**31 - 1])
def test_an_absurd_number_of_rows_is_an_error(rows):
    handle = resource_ops.var_handle_op(dtype=tf.float32, shape=None)
    found = [
        ops.read_positions(handle, rows), ops.write_positions(handle, tf.compat.v1.placeholder(tf.float32), rows),
        ops.moving_position(handle, 0, rows, rows - 1, 0.9, 'x'), ops.kept_position(handle, 0, rows, rows - 1, 'x'),
        ops.learn_position(handle, True, [tf.constant(1.0, tf.float64)], rows, rows - 1),
        ops.learned_position(handle, 0, [0], True, rows, rows - 1)]
    with tf.compat.v1.Session() as session:
        for fetched in found:
            with pytest.raises(tf.errors.InvalidArgumentError, match='rows is {}, it must be from 1 to'.format(rows)):
                session.run(fetched)


@pytest.mark.parametrize('votes', [[np.nan] * 255 + [1], [np.inf] * 256, [-np.inf] * 256, [3e38] * 256, [np.nan] + [1] * 255])
def test_a_foreign_table_does_not_crash(votes):
    """An assignment to the variable, of which the ops know nothing."""
    handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[1, 256])
    assign = resource_ops.assign_variable_op(handle, tf.constant([votes], tf.float32))
    with tf.control_dependencies([assign]):
        learned = ops.learn_position(handle, True, [tf.constant(1.0, tf.float64)], 1, 0)
    with tf.control_dependencies([learned]):
        position = ops.moving_position(handle, 0, 1, 0, 0.9, 'x')
    with tf.compat.v1.Session() as session:
        assert -128 <= session.run(position) <= 127


@pytest.mark.parametrize('value', [-1, np.nan, np.inf])
def test_impossible_histograms_are_errors(value):
    histograms = np.zeros([3, 256], np.float32)
    histograms[2, 100] = value
    state = State()
    with pytest.raises(tf.errors.InvalidArgumentError, match='row 2 .* position -28'):
        state.session.run(state.write, {state.new: histograms})


def test_histograms_of_another_graph_are_an_error():
    state = State()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'shape \[2,256\], expected \[3,256\]'):
        state.session.run(state.write, {state.new: np.zeros([2, 256])})
    with tf.Graph().as_default() as graph:
        handle = resource_ops.var_handle_op(dtype=tf.float32, shape=None)
        assign = resource_ops.assign_variable_op(handle, tf.zeros([2, 256]))
        with tf.control_dependencies([assign]):
            position = ops.moving_position(handle, 0, 3, 0, 0.9, tensor='x')
    with tf.compat.v1.Session(graph=graph) as session:
        with pytest.raises(tf.errors.InvalidArgumentError, match='other quantized tensors'):
            session.run(position)


def test_static_shapes():
    handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[4, 256])
    assert ops.read_positions(handle, 4).shape.as_list() == [4, 256]
    assert ops.moving_position(handle, 0, 4, 0, 0.9, tensor='x').shape.as_list() == []
    for legal in (None, tf.zeros([4], tf.int32)):
        assert ops.kept_position(handle, 0, 4, 0, 'x', legal=legal, calibrating=True).shape.as_list() == []
        with pytest.raises(ValueError, match='rank 0'):
            ops.moving_position(handle, 0, 4, 0, 0.9, 'x', legal=legal, calibrating=[True])
        with pytest.raises(ValueError, match='rank 0'):
            ops.kept_position(handle, 0, 4, 0, 'x', legal=legal, calibrating=[True])
    with pytest.raises(ValueError):
        ops.write_positions(handle, tf.zeros([3, 256]), 4)
