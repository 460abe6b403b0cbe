"""Learned positions: the gradient of a threshold, and the update of its row, against the NumPy definition."""
import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops import samples
from tests.ops.running import eagerly
from vai_q_tf import fixed_point, ops, position_histogram

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
        histogram[int(name[1:].replace('_', '-')) + position_histogram.HISTOGRAM_ZERO] = count
    return histogram


@given(start=st.sampled_from([-126, -1, 0, 5, 126]), rate=st.sampled_from([0.01, 0.3, 1.0]), seed=st.integers(0, 1000),
       drift=st.sampled_from([-1, 0, 1]), scale=st.sampled_from([1e-30, 1.0, 1e30]))
def test_updates_are_the_definition(start, rate, seed, drift, scale):
    state = _state(rate)
    expected = _votes(**{'p{}'.format(start).replace('-', '_'): 3.0})
    state.start(expected)
    for gradient in (np.random.RandomState(seed).standard_normal(40) + drift) * scale:
        expected = position_histogram.learn(expected, gradient, rate)
        found = state.learn(gradient)
        assert samples.same_bits(found, expected)
        assert state.position == position_histogram.mode_position(expected)
    table = state.session.run(state.read)
    assert samples.same_bits(table[3], found) and not table[[0, 2]].any()


def test_several_gradients_are_summed_in_their_order():
    state = State(gradients=3)
    state.start(_votes(p2=1))
    gradients = 1e16, -1e16, 1.0
    assert sum(gradients) == 1 and sum(gradients[::-1]) == 0
    assert samples.same_bits(state.learn(*gradients), position_histogram.learn(_votes(p2=1), 1.0, 0.01))


def test_at_the_border_the_position_stays():
    """The votes of the smaller position would be as many, were they rounded to the nearest float32."""
    row = _votes(p2=np.nextafter(np.float32(0.5), np.float32(0)), p3=0.5)
    row[[0, -1]] = 1 / 4096, 1
    state = State()
    state.start(row)
    for found in (state.learn(0.0), position_histogram.learn(row, 0.0, 0.01)):
        assert position_histogram.mode_position(found) == position_histogram.mode_position(row) == 3
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


def test_a_new_position_starts_in_the_middle():
    """Half of an interval is 67 steps of a gradient that never changes."""
    state, course = State(), []
    state.start(_votes(p2=1))
    for _ in range(200):
        course.append(position_histogram.mode_position(state.learn(1.0)))
    assert course == [2] * 65 + [3] * 66 + [4] * 66 + [5] * 3
    for _ in range(66):
        assert position_histogram.mode_position(state.learn(-1.0)) in (4, 5)
