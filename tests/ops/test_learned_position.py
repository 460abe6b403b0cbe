"""Learned positions: the gradient of a threshold, the update of its row, and which backward passes make one."""
import functools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops import samples
from tests.ops.running import eagerly
from vai_q_tf import fixed_point, ops

v1 = tf.compat.v1
modes = st.sampled_from([0, 1, 2])


def _gradient(bits, mode, narrow_range):
    """That of (dy, x, position, learning)."""
    def build(dy, x, position, learning):
        return ops.threshold_gradient(dy, x, position, learning, bits, mode, narrow_range)
    return eagerly(build, tf.float32, tf.float32, tf.int32, tf.bool)


def _scaled_gradient(bits, mode, inner, narrow_range):
    """That of (dy, x, scale, factor, position)."""
    def build(*inputs):
        return ops.scaled_threshold_gradient(*inputs, bit_width=bits, mode=mode, inner=inner, narrow_range=narrow_range)
    return eagerly(build, *[tf.float32] * 4, tf.int32)


@settings(max_examples=300)
@given(x=samples.tensors(), position=samples.positions, bits=samples.bit_widths, mode=modes, narrow_range=st.booleans())
def test_gradient_is_the_definition(x, position, bits, mode, narrow_range):
    dy = np.random.RandomState(x.size).standard_normal(x.size).astype(np.float32)
    expected = fixed_point.threshold_gradient(dy, x, position, bits, fixed_point.rounding_of(mode), narrow_range)
    found = _gradient(bits, mode, narrow_range)
    np.testing.assert_array_equal(found(dy, x, position, True), expected)
    assert found(dy, x, position, False) == 0
    assert found(dy, x, fixed_point.NO_OBSERVATION, True) == 0


@settings(max_examples=200)
@given(case=samples.scaled_tensors(), position=samples.positions, bits=samples.bit_widths, mode=modes,
       narrow_range=st.booleans())
def test_gradient_of_a_scaled_tensor_is_that_of_the_product(case, position, bits, mode, narrow_range):
    x, scale, factor, inner = case
    dy = np.random.RandomState(x.size).standard_normal(x.shape).astype(np.float32)
    expected = fixed_point.threshold_gradient(
        fixed_point.scaled(dy, factor, inner), fixed_point.scaled(x, scale, inner), position, bits,
        fixed_point.rounding_of(mode), narrow_range)
    found = _scaled_gradient(bits, mode, inner, narrow_range)(dy, x, scale, factor, position)
    np.testing.assert_array_equal(found, expected)  # NaN where a gradient is infinite


@pytest.mark.parametrize('size', [300001, 5000000])
def test_gradient_of_many_blocks(size):
    random = np.random.RandomState(0)
    x, dy = random.standard_t(3, [2, size]).astype(np.float32)
    assert _gradient(8, 1, False)(dy, x, 5, True) == fixed_point.threshold_gradient(dy, x, 5, 8)


@pytest.mark.parametrize('bits, position', [(4, 0), (4, 3), (8, 6), (3, -2)])
def test_gradient_is_that_of_tensorflow_through_a_straight_through_rounding(bits, position):
    """The quantizer in plain ops, of which only the rounding is not differentiated."""
    random = np.random.RandomState(bits)
    x, dy = (random.standard_normal([2, 1000]) * [[2.0 ** (bits - 1 - position)], [1]]).astype(np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        threshold = tf.constant(bits - 1. - position, tf.float64)
        step = tf.pow(tf.constant(2., tf.float64), threshold - (bits - 1))
        units = tf.constant(x, tf.float64) / step
        integers = tf.clip_by_value(units + tf.stop_gradient(tf.round(units) - units), -2. ** (bits - 1), 2. ** (bits - 1) - 1)
        expected = session.run(tf.gradients(integers * step, threshold, tf.constant(dy, tf.float64))[0])
    np.testing.assert_allclose(_gradient(bits, 1, False)(dy, x, position, True), expected, rtol=1e-6)


class State:
    """A table of `rows` rows with the update of `row`."""

    def __init__(self, rows=4, row=1, members=(3,), gradients=1, rate=0.01):
        self.row, self.members = row, members
        with tf.Graph().as_default() as graph:
            handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[rows, 256], shared_name='positions')
            self.gradients = [v1.placeholder(tf.float64, []) for _ in range(gradients)]
            self.learning = v1.placeholder_with_default(True, [])
            self.new = v1.placeholder(tf.float32)
            self.update = ops.learn_position(handle, self.learning, self.gradients, rows, row, members, rate)
            self.read, self.write = ops.read_positions(handle, rows), ops.write_positions(handle, self.new, rows)
            self.elected = ops.kept_position(handle, 0, rows, row, 'conv1')
        self.session = v1.Session(graph=graph)

    def start(self, histogram):
        table = np.zeros(self.read.shape.as_list(), np.float32)
        table[[self.row, *self.members]] = histogram
        self.session.run(self.write, {self.new: table})

    def learn(self, *gradients, learning=True):
        self.session.run(self.update, dict(zip([self.learning, *self.gradients], [learning, *gradients])))
        table, self.position = self.session.run([self.read, self.elected])
        return table[self.row]


@functools.lru_cache(maxsize=None)
def _state(rate):
    return State(rate=rate)


def _votes(**counts):
    """A histogram with so many votes for positions, {'p3': 2.0}."""
    histogram = np.zeros(256, np.float32)
    for name, count in counts.items():
        histogram[int(name[1:].replace('_', '-')) + fixed_point.HISTOGRAM_ZERO] = count
    return histogram


@given(start=st.sampled_from([-126, -1, 0, 5, 126]), rate=st.sampled_from([0.01, 0.3, 1.0]), seed=st.integers(0, 1000),
       drift=st.sampled_from([-1, 0, 1]), scale=st.sampled_from([1e-30, 1.0, 1e30]))
def test_updates_are_the_definition(start, rate, seed, drift, scale):
    state = _state(rate)
    expected = _votes(**{'p{}'.format(start).replace('-', '_'): 3.0})
    state.start(expected)
    for gradient in (np.random.RandomState(seed).standard_normal(40) + drift) * scale:
        expected = fixed_point.learn(expected, gradient, rate)
        found = state.learn(gradient)
        assert samples.same_bits(found, expected)
        assert state.position == fixed_point.mode_position(expected)
    table = state.session.run(state.read)
    assert samples.same_bits(table[3], found) and not table[[0, 2]].any()


def test_several_gradients_are_summed_in_their_order():
    state = State(gradients=3)
    state.start(_votes(p2=1))
    gradients = 1e16, -1e16, 1.0
    assert sum(gradients) == 1 and sum(gradients[::-1]) == 0
    assert samples.same_bits(state.learn(*gradients), fixed_point.learn(_votes(p2=1), 1.0, 0.01))


def test_at_the_border_the_position_stays():
    """The votes of the smaller position would be as many, were they rounded to the nearest float32."""
    row = _votes(p2=np.nextafter(np.float32(0.5), np.float32(0)), p3=0.5)
    row[[0, -1]] = 1 / 4096, 1
    state = State()
    state.start(row)
    for found in (state.learn(0.0), fixed_point.learn(row, 0.0, 0.01)):
        assert fixed_point.mode_position(found) == fixed_point.mode_position(row) == 3
        assert found[128 + 3] == np.nextafter(np.float32(0.5), np.float32(1))


@pytest.mark.parametrize('gradient, learning', [(np.nan, True), (np.inf, True), (1.0, False)])
def test_no_update(gradient, learning):
    state = State()
    state.start(_votes(p2=1, p3=2))
    assert samples.same_bits(state.learn(gradient, learning=learning), _votes(p2=1, p3=2))


@pytest.mark.parametrize('histogram', [_votes(), _votes(p127=2)], ids=['nothing', 'zeros'])
def test_without_a_position_nothing_is_learned(histogram):
    state = State()
    state.start(histogram)
    assert samples.same_bits(state.learn(1.0), histogram)


def test_attributes_out_of_range():
    for fields in (dict(rate=0.0), dict(rate=1.5), dict(row=4), dict(members=(1,)), dict(members=(4,))):
        with pytest.raises(tf.errors.InvalidArgumentError, match='must be'):
            State(**fields).learn(1.0)


class Tensors:
    """A table whose rows are those of tensors that are quantized at learned positions, in the default graph."""

    def __init__(self, rows=2, networks=1, members=()):
        self.rows, self.networks, self.members = rows, networks, members
        self.handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[rows, 256], shared_name='positions')
        self.legal = tf.constant([50] * rows)
        self.learning = v1.placeholder_with_default(True, [])
        self.votes = ops.read_positions(self.handle, rows)
        self.new = v1.placeholder(tf.float32)
        self.write = ops.write_positions(self.handle, self.new, rows)

    def position(self, row=0):
        elected = ops.kept_position(self.handle, fixed_point.NO_OBSERVATION, self.rows, row, 'x')
        return ops.learned_position(self.handle, elected, self.legal, self.learning, self.rows, row, self.members,
                                    self.networks)

    def session(self, *positions):
        session = v1.Session()
        table = np.zeros([self.rows, 256], np.float32)
        table[range(self.rows), np.array(positions) + fixed_point.HISTOGRAM_ZERO] = 1
        session.run(self.write, {self.new: table})
        return session


def _least_error(x, bits=4):
    first, errors = fixed_point.position_errors(x, bits, below=3, above=6)
    return first + int(errors.argmin())


@pytest.mark.parametrize('scaled', [False, True])
@pytest.mark.parametrize('offset', [-2, 3], ids=['rounded too coarsely', 'clipped'])
def test_a_loss_of_squared_errors_leads_to_the_position_of_the_least(scaled, offset):
    """A far outlier among small values, from a position that spares it and from one that clips nearly all."""
    x = np.random.RandomState(1).standard_normal(2000).astype(np.float32)
    x[0] = 9.0
    best = _least_error(x)
    assert best > fixed_point.search_position(x, 4, method=0), 'the outlier is to be clipped'
    tensors = Tensors(rows=1)
    variable = tf.constant(x)
    if scaled:
        y = ops.scaled_fix_neuron(variable * 2., tf.constant([0.5]), tf.constant([1.]), tensors.position(), 4)
    else:
        y = ops.vai_fix_neuron(variable, tensors.position(), 4)
    backward = tf.gradients(tf.reduce_sum(tf.square(y - x)), variable)
    with tensors.session(best + offset) as session:
        course = []
        for _ in range(400):
            session.run(backward)
            course.append(fixed_point.mode_position(session.run(tensors.votes)[0]))
    there = course.index(best)
    assert course[:there] == sorted(course[:there], reverse=offset > 0) and course[0] == best + offset
    assert set(course[there:]) <= {best - 1, best, best + 1}


def test_a_new_position_is_begun_in_the_middle():
    """Half of an interval is 67 steps of a gradient that never changes."""
    state, course = State(), []
    state.start(_votes(p2=1))
    for _ in range(200):
        course.append(fixed_point.mode_position(state.learn(1.0)))
    assert course == [2] * 65 + [3] * 66 + [4] * 66 + [5] * 3
    for _ in range(66):
        assert fixed_point.mode_position(state.learn(-1.0)) in (4, 5)


def test_only_a_backward_pass_that_runs_learns():
    tensors = Tensors(rows=1)
    x = tf.constant([0.3, 20., -4.])
    y = ops.vai_fix_neuron(x, tensors.position(), 4)
    backward = tf.gradients(y, x)
    with tensors.session(0) as session:
        before = session.run(tensors.votes)
        session.run(y)
        np.testing.assert_array_equal(session.run(tensors.votes), before)
        values = session.run([y, backward], {tensors.learning: False})[0]
        np.testing.assert_array_equal(session.run(tensors.votes), before)
        np.testing.assert_array_equal(values, fixed_point.quantize([0.3, 20., -4.], 50, 4))
        session.run(backward)
        gradient = fixed_point.threshold_gradient(np.ones(3), [0.3, 20., -4.], 0, 4)
        assert samples.same_bits(session.run(tensors.votes)[0], fixed_point.learn(before[0], gradient, 0.01))


@pytest.mark.parametrize('gradient', ['clipped', 'straight_through'])
def test_the_gradient_that_is_handed_on_is_what_it_was(gradient):
    tensors = Tensors(rows=1)
    x, dy = tf.constant([0.3, 20., -4.]), tf.constant([1., 2., 3.])
    found = [tf.gradients(ops.vai_fix_neuron(x, position, 4, gradient=gradient), x, dy) for position in (tensors.position(), 0)]
    with tensors.session(0) as session:
        np.testing.assert_array_equal(*session.run(found))


def _slope(x, position=0):
    return fixed_point.threshold_gradient(np.ones(np.shape(x)), x, position, 4)


def test_tensors_of_one_row_make_one_update_wherever_the_pass_ends():
    """A chain, whose second tensor is differentiated first."""
    tensors = Tensors(rows=2, members=(1,))
    position = tensors.position()
    x = tf.constant([0.3, 20.])
    first = ops.vai_fix_neuron(x, position, 4)
    second = ops.vai_fix_neuron(first * 0.3, tf.identity(position), 4)
    backward = tf.gradients(second, x)
    updates = [op for op in backward[0].graph.get_operations() if op.type == 'VaiLearnPosition']
    waited_for = [op for op in updates if op._control_outputs]
    assert len(updates) == 2 and len(waited_for) == 1
    with tensors.session(0, 0) as session:
        before = session.run(tensors.votes)
        session.run(backward)
        quantized = fixed_point.quantize([0.3, 20.], 0, 4)
        later = fixed_point.threshold_gradient(np.ones(2), quantized * np.float32(0.3), 0, 4)
        earlier = fixed_point.threshold_gradient(np.full(2, np.float32(0.3)), [0.3, 20.], 0, 4)
        votes = session.run(tensors.votes)
        assert samples.same_bits(votes[0], fixed_point.learn(before[0], later + earlier, 0.01))
        assert samples.same_bits(votes[0], votes[1])


def test_another_call_for_the_same_tensor_is_another_step():
    """As two optimizers make them, that run in turn."""
    tensors = Tensors(rows=1)
    x = tf.constant([0.3, 20.])
    y = ops.vai_fix_neuron(x, tensors.position(), 4)
    passes = [tf.gradients(y, x), tf.gradients(y * 3., x)]
    with tensors.session(0) as session:
        expected = session.run(tensors.votes)[0]
        for backward, factor in zip(passes * 2, (1, 3, 1, 3)):
            session.run(backward)
            expected = fixed_point.learn(expected, fixed_point.threshold_gradient(np.full(2, factor), [0.3, 20.], 0, 4), 0.01)
            assert samples.same_bits(session.run(tensors.votes)[0], expected)


@pytest.mark.parametrize('calls', ['one call', 'a call for each'])
def test_copies_of_a_network_make_one_update(calls):
    """Of weights that they share, and of a tensor that each of them has."""
    tensors = Tensors(rows=2, networks=2)
    weights = tf.constant([0.3, 20.])
    shared, own = ops.vai_fix_neuron(weights, tensors.position(0), 4), tensors.position(1)
    losses = [tf.reduce_sum(ops.vai_fix_neuron(shared * factor, own, 4)) for factor in (0.2, 0.4)]
    backward = tf.gradients(losses, weights) if calls == 'one call' else [tf.gradients(loss, weights) for loss in losses]
    with tensors.session(0, 0) as session:
        before = session.run(tensors.votes)
        session.run(backward)
        quantized = fixed_point.quantize([0.3, 20.], 0, 4)
        of_shared = sum(fixed_point.threshold_gradient(
            np.full(2, np.float32(factor)), [0.3, 20.], 0, 4) for factor in (0.2, 0.4))
        of_own = sum(_slope(quantized * np.float32(factor)) for factor in (0.2, 0.4))
        for row, expected in zip(range(2), (of_shared, of_own)):
            learned = fixed_point.learn(before[row], expected, 0.01)
            np.testing.assert_allclose(session.run(tensors.votes)[row], learned, rtol=1e-6)
            assert not math.isclose(expected, 0)


def test_a_second_derivative_learns_nothing_more():
    tensors = Tensors(rows=1)
    x = tf.constant([0.3, 2.])
    slope = tf.gradients(tf.square(ops.vai_fix_neuron(x, tensors.position(), 4)), x)[0]
    with tensors.session(0) as session:
        np.testing.assert_array_equal(session.run(tf.gradients(slope, x)[0]), [2., 2.])
