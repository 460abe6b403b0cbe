"""The NumPy definition against the measured cases and against exact rational arithmetic."""
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ops import samples
from vai_q_tf import errors, fixed_point, position_histogram


@pytest.mark.parametrize('name, x, position, mode, rounding, narrow_range, expected', samples.evaluation_cases(),
                         ids=lambda value: value if isinstance(value, str) else '')
def test_quantize_equals_every_measured_evaluation(name, x, position, mode, rounding, narrow_range, expected):
    y = fixed_point.quantize(x, position, 8, rounding or fixed_point.rounding_of(mode), narrow_range, keep_non_finite=False)
    assert samples.same_bits(y, expected)


def test_positions_and_outputs_equal_every_measured_calibration():
    inputs = samples.golden_inputs()
    cases = samples.search_cases()
    assert len(cases) == 792
    found = {}
    for data, bits, method, mode, _, positions, outputs in cases:
        histogram = np.zeros(256, np.float32)
        for i in range(5):
            key = data, i, bits, method, mode
            if key not in found:  # phases 0 and 2 are the same
                x = inputs['{}_{}'.format(data, i)]
                position = fixed_point.search_position(x, bits, method, mode)
                y = fixed_point.quantize(x, position, bits, fixed_point.rounding_of(mode))
                found[key] = position, samples.md5(y)
            position, digest = found[key]
            histogram = position_histogram.vote(histogram, position, decay=1.0)
            assert (position_histogram.mode_position(histogram), digest) == (positions[i], outputs[i]), key


def _exact(x, position, bits, half_up, narrow_range):
    """The definition in rational numbers: (value, whether the sign of a zero is negative)."""
    if position == fixed_point.POSITION_ZERO:
        return Fraction(0), False
    step = Fraction(2)**-position
    lowest, highest = -2**(bits - 1) + narrow_range, 2**(bits - 1) - 1
    finite = int(Fraction(float(np.finfo(np.float32).max)) / step)
    lowest, highest = max(lowest, -finite), min(highest, finite)
    if math.isnan(x) or x == -math.inf:
        return lowest * step, False
    if x == math.inf:
        return highest * step, False
    if abs(x) < float(np.finfo(np.float32).tiny):
        x = math.copysign(0.0, x)
    t = Fraction(x) / step
    if half_up:
        q = math.floor(t + Fraction(1, 2))
    else:
        q = int(math.copysign(math.floor(abs(t) + Fraction(1, 2)), t))
    return min(max(q, lowest), highest) * step, math.copysign(1.0, x) < 0


@given(x=st.one_of(st.floats(width=32), st.integers(-300, 300).map(lambda i: i / 2), st.sampled_from(
    samples.HOSTILE.tolist())), position=samples.positions, bits=st.integers(1, 24), half_up=st.booleans(),
       narrow_range=st.booleans())
def test_quantize_is_the_exact_definition(x, position, bits, half_up, narrow_range):
    rounding = 'half_up' if half_up else 'half_away'
    y = float(fixed_point.quantize(np.float32(x), position, bits, rounding, narrow_range))
    if not math.isfinite(x):
        np.testing.assert_equal(y, x)
        y = float(fixed_point.quantize(x, position, bits, rounding, narrow_range, keep_non_finite=False))
    expected, negative = _exact(float(np.float32(x)), position, bits, half_up, narrow_range)
    assert math.isfinite(y) and Fraction(y) == expected
    if y == 0 and bits > 1:
        assert (math.copysign(1.0, y) < 0) == negative


@given(x=samples.tensors(sizes=(1, 2, 40)), position=st.integers(-126, 126), bits=st.integers(2, 24))
def test_quantizing_twice_changes_nothing(x, position, bits):
    for rounding in ('half_up', 'half_away'):
        once = fixed_point.quantize(x, position, bits, rounding)
        assert samples.same_bits(fixed_point.quantize(once, position, bits, rounding), once)


def _exact_error(x, position, bits, relative):
    total = 0.0
    for value in x.tolist():
        quantized, _ = _exact(value, position, bits, True, False)
        error = abs(float(quantized - Fraction(value)))
        total += math.sqrt(error / (abs(value) + 1e-9)) if relative else error * error
    return total


@given(values=st.lists(st.floats(-1e4, 1e4, width=32, allow_subnormal=False), min_size=1, max_size=12),
       bits=st.integers(1, 24), settings=st.sampled_from([(0, 1), (1, 0), (1, 1), (2, 0), (2, 2)]))
def test_search_is_the_definition(values, bits, settings):
    method, mode = settings
    x = np.array(values, np.float32)
    found = fixed_point.search_position(x, bits, method, mode)
    if not x.any():
        assert found == fixed_point.POSITION_ZERO
        return
    below, above = -Fraction(2)**(bits - 1) - Fraction(1, 2), Fraction(2)**(bits - 1) - Fraction(1, 2)
    fits = [p for p in range(-126, 127) if all(below <= Fraction(v) * Fraction(2)**p <= above for v in x.tolist())]
    first = fits[-1]
    if method == 0:
        assert found == first
        return
    candidates = {p: _exact_error(x, p, bits, method == 2 and mode == 2) for p in range(first, min(first + 5, 127))}
    best = min(candidates, key=candidates.get)
    assert found in candidates
    if found != best:  # only within the precision of float32
        assert candidates[found] <= candidates[best] * (1 + 1e-5) + 1e-60


@pytest.mark.parametrize('values, bits, method, mode, position', [
    ([127.5], 8, 0, 1, 0), ([127.51], 8, 0, 1, -1), ([-128.5], 8, 0, 1, 0), ([-128.51], 8, 0, 1, -1),
    ([1.0], 8, 0, 1, 6), ([0.9], 8, 0, 1, 7), ([26 / 256], 8, 0, 1, 10), ([1e-3], 8, 0, 1, 16),
    ([300, -4], 8, 0, 1, -2),
    ([0.0] * 3, 8, 1, 1, 127), ([1.0] * 3, 16, 0, 1, 14), ([1.0] * 3, 4, 0, 1, 2),
    (np.linspace(-1, 1, 101), 8, 0, 1, 6), (np.linspace(-1, 1, 101), 8, 1, 1, 7),
    ([0.01] * 1000 + [10.0], 8, 0, 2, 3), ([0.01] * 1000 + [10.0], 8, 1, 2, 3), ([0.01] * 1000 + [10.0], 8, 2, 2, 7),
    ([0.3] * 50 + [-7.7], 8, 0, 2, 4), ([0.3] * 50 + [-7.7], 8, 1, 2, 4), ([0.3] * 50 + [-7.7], 8, 2, 2, 8),
    ([], 8, 1, 1, 127), ([math.nan, math.inf, -math.inf], 8, 1, 1, 127), ([1e-40], 8, 1, 1, 127),
    ([1.0, math.nan, math.inf], 8, 1, 1, 6), ([3.4028235e38], 8, 0, 1, -122), ([1.2e-38], 8, 0, 1, 126),
    ([3.4028235e38], 1, 1, 1, -126),
])
def test_known_positions(values, bits, method, mode, position):
    assert fixed_point.search_position(np.array(values, np.float32), bits, method, mode) == position


# At 3 bits the integers go from -4 to 3. 3 needs position 0 and is clipped to 1.5, 0.75, 0.375 and 0.1875 at the finer
# ones; 3.5 becomes 3 at position 0. The errors of positions 0 to 4, and their ratios to the least:
_NO_TIE_IN_BETWEEN = [3.0] + [0.25] * 64  # 4, 6.25, 5.0625, 6.890625, 8.16015625: 1, 1.5625, 1.265625, 1.72265625, 2.04...
_FINER_IS_BETTER = [3.5] + [0.5] * 20  # 5.25, 4, 7.5625, 10.078125, 12.92578125: 1.3125, 1, 1.890625, 2.51953125, 3.23...
# The sums of sqrt(|error| / |x|): 8, 15.07, 8.66, 9.35, 13.68: 1, 1.884, 1.083, 1.169, 1.710.
_RELATIVE = [3.0] * 10 + [0.25] * 8
_RELATIVE_FINER = [3.0] * 8 + [0.25] * 10  # 10, 15.66, 6.93, 7.48, 12.75: 1.443, 2.260, 1, 1.080, 1.840


@pytest.mark.parametrize('values, method, mode, ties', [
    (_NO_TIE_IN_BETWEEN, 1, 1, {1.0: 0, 1.27: 0, 1.5624999: 0, 1.5625: 2, 1.72: 2, 1.72265625: 3, 2.04: 3, 2.05: 4, 1e6: 4}),
    (_FINER_IS_BETTER, 1, 0, {1.0: 1, 1.4: 1, 1.8906249: 1, 1.890625: 2, 2.5: 2, 2.51953125: 3, 3.2: 3, 3.3: 4, 100: 4}),
    (_FINER_IS_BETTER, 2, 0, {1.0: 1, 1.890625: 2}),
    (_RELATIVE, 2, 2, {1.0: 0, 1.1: 0, 1.88: 0, 1.89: 4}),
    (_RELATIVE_FINER, 2, 2, {1.0: 2, 1.07: 2, 1.09: 3, 1.83: 3, 1.85: 4}),
    (_FINER_IS_BETTER, 0, 1, {1.0: 0, 100: 0}),
    ([0.0] * 3, 1, 1, {1.3: 127}), ([], 1, 1, {1.3: 127}),
    ([3.0, 1.0], 1, 1, {1.3: 0, 1e6: 0}),  # no error at position 0
    ([2.0**-124 * 3], 1, 1, {1.0: 124, 1e30: 124}),
    ([2.0**-125 * 3.5], 1, 1, {1.0: 125, 10: 125, 20: 126}),  # 0.25, then 4, at the last position
])
def test_known_ties(values, method, mode, ties):
    for tie, position in ties.items():
        assert fixed_point.search_position(np.array(values, np.float32), 3, method, mode, tie=tie) == position, tie


@given(x=samples.tensors(sizes=(1, 2, 40, 3000)), bits=samples.bit_widths, mode=st.sampled_from([0, 1, 2]),
       narrow_range=st.booleans(), tie=st.floats(1, 5, width=32))
def test_ties_end_where_the_errors_exceed_them(x, bits, mode, narrow_range, tie):
    first, errors = fixed_point.position_errors(x, bits, mode, narrow_range=narrow_range)
    best = fixed_point.search_position(x, bits, 1, mode, narrow_range)
    found = fixed_point.search_position(x, bits, 1, mode, narrow_range, tie)
    if first == fixed_point.POSITION_ZERO:
        assert found == best == first
        return
    within = errors <= errors.min() * tie
    assert best == first + errors.argmin() and best <= found <= min(first + 4, fixed_point.POSITION_MAX)
    assert found == best if tie == 1 else within[best - first:found - first + 1].all()
    if tie > 1 and found < min(first + 4, fixed_point.POSITION_MAX):
        assert not within[found - first + 1]


def test_non_finite_elements_do_not_change_the_position():
    x = np.random.RandomState(0).standard_normal(3000).astype(np.float32)
    hostile = x.copy()
    hostile[::3] = np.nan
    hostile[1::300] = np.inf
    x[::3] = x[1::300] = 0
    for method, mode in ((0, 0), (1, 1), (2, 2)):
        position = fixed_point.search_position(x, 8, method, mode)
        assert fixed_point.search_position(hostile, 8, method, mode) == position


def test_limits():
    assert fixed_point.limits(0, 8) == (-128, 127)
    assert fixed_point.limits(3, 4, narrow_range=True) == (-7 / 8, 7 / 8)
    assert fixed_point.limits(127, 8) == (0, 0)
    lo, hi = fixed_point.limits(-126, 8)
    assert (lo, hi) == (-3 * 2.0**126, 3 * 2.0**126) and np.isfinite(np.float32(hi))


def test_gradient_passes_inside_the_closed_range_only():
    x = np.array([-128.1, -128, -127.5, 0, 127, 127.1, np.inf, -np.inf, np.nan], np.float32)
    dy = np.arange(1, 10, dtype=np.float32)
    assert fixed_point.gradient(dy, x, 0, 8).tolist() == [0, 2, 3, 4, 5, 0, 0, 0, 9]
    assert fixed_point.gradient(dy, x, 0, 8, narrow_range=True).tolist() == [0, 0, 0, 4, 5, 0, 0, 0, 9]
    assert fixed_point.gradient(dy[:2], np.array([0, 1], np.float32), 127, 8).tolist() == [1, 0]


@pytest.mark.parametrize('x, slope', [
    (0.25, -0.25), (2.75, 0.25), (-2.75, -0.25), (7.25, -0.25), (-8.25, 0.25),  # the last two round to a limit
    (9, 7), (7.75, 7), (1e38, 7), (-12, -8), (-8.75, -8), (-np.inf, -8),
    (1.5, 0.5), (-1.5, 0.5), (7.5, 7), (-8.5, 0.5)])
def test_gradient_of_a_threshold_by_hand(x, slope):
    """At 4 bits and a step of 1, with halves up: from -8 to 7."""
    assert fixed_point.threshold_gradient([3], [x], 0, 4) == 3 * slope * math.log(2)
    assert fixed_point.threshold_gradient([-3], [x / 4], 2, 4) == -3 * slope / 4 * math.log(2)


def test_gradient_of_a_threshold_is_nan_where_the_tensor_is():
    assert math.isnan(fixed_point.threshold_gradient([1, 0], [0.25, np.nan], 0, 4))
    assert fixed_point.threshold_gradient([1], [np.nan], 127, 4) == 0


def test_gradient_of_a_threshold_is_a_sum_and_rounds_as_the_tensor():
    assert fixed_point.threshold_gradient([1, 2, 4], [0.25, 9, -12], 0, 4) == (-0.25 + 14 - 32) * math.log(2)
    assert fixed_point.threshold_gradient([1, 2], [-1.5, -8.5], 0, 4, 'half_away') == (-0.5 - 16) * math.log(2)
    assert fixed_point.threshold_gradient([1], [-8], 0, 4, narrow_range=True) == -7 * math.log(2)
    assert fixed_point.threshold_gradient([1], [0.0], 127, 4) == fixed_point.threshold_gradient([], [], 0, 4) == 0


@pytest.mark.parametrize('call', [
    lambda: fixed_point.quantize([1], 128), lambda: fixed_point.quantize([1], -127),
    lambda: fixed_point.quantize([1], 0, 0), lambda: fixed_point.quantize([1], 0, 25),
    lambda: fixed_point.quantize([1], 0, 8, 'even'),
    lambda: fixed_point.search_position([1], 8, 3), lambda: fixed_point.search_position([1], 8, 1, 3),
    lambda: fixed_point.search_position([1], 0), lambda: fixed_point.search_position([1], tie=0.99),
    lambda: fixed_point.search_position([1], tie=math.nan), lambda: fixed_point.rounding_of(-1),
    lambda: fixed_point.limits(200, 8),
])
def test_values_out_of_range_are_errors(call):
    with pytest.raises(errors.QuantizeError, match='must be'):
        call()
