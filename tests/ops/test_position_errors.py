"""The errors of a window of positions: the op equals the definition, and the definition the error of quantizing."""
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.ops import running, samples
from vai_q_tf import errors, fixed_point, ops


def _first(x, bits, below):
    return max(fixed_point.search_position(x, bits, method=0) - below, fixed_point.POSITION_MIN)


@given(x=samples.tensors(), bits=samples.bit_widths, mode=st.sampled_from([0, 1, 2]), window=samples.windows,
       narrow_range=st.booleans())
def test_op_is_the_definition(x, bits, mode, window, narrow_range):
    first, expected = fixed_point.position_errors(x, bits, mode, *window, narrow_range)
    found = running.position_errors(bits, mode, *window, narrow_range)(x)
    assert found[0] == first and samples.same_bits(found[1], expected)


@given(x=samples.tensors(), bits=samples.bit_widths, mode=st.sampled_from([0, 1, 2]), window=samples.windows,
       narrow_range=st.booleans())
def test_errors_are_those_of_quantizing(x, bits, mode, window, narrow_range):
    x = np.where(np.isfinite(x), x, np.float32(0))
    x[np.abs(x) < 2.0**-126] = 0
    first, found = fixed_point.position_errors(x, bits, mode, *window, narrow_range)
    if not x.any():
        assert first == fixed_point.POSITION_ZERO and found.tolist() == [0] * len(found)
        return
    assert first == _first(x, bits, window[0])
    rounding = fixed_point.rounding_of(mode)
    for i, error in enumerate(found):
        position = min(first + i, fixed_point.POSITION_MAX)
        y = fixed_point.quantize(x, position, bits, rounding, narrow_range).astype(np.float64)
        np.testing.assert_allclose(error, np.sum((y - x)**2), rtol=1e-5, atol=x.size * 4.0**(-first - 60))


@given(x=samples.tensors(), bits=samples.bit_widths, mode=st.sampled_from([0, 1]))
def test_the_search_finds_the_least_error(x, bits, mode):
    first, found = fixed_point.position_errors(x, bits, mode, 0, 4)
    assert fixed_point.search_position(x, bits, 1, mode) == min(first + int(found.argmin()), 127)


@pytest.mark.parametrize('x, below, above, first, expected', [
    ([1.0, 0.5, -0.25], 6, 2, 0, [0.3125, 0.0625, 0, 0, 0, 0, 0, 2.0**-14, (129 / 256)**2 + 2.0**-16]),
    ([0.0, -0.0, 1e-40, np.nan, np.inf], 1, 2, 127, [0, 0, 0, 0]),
    ([], 0, 1, 127, [0, 0]),
    ([-2.0**127], 9, 0, -126, [0] * 7 + [2.0**252, (2.0**127 - 2.0**125)**2, (2.0**127 - 2.0**124)**2]),
    ([2.0**-125], 0, 3, 126, [0, 0, 0, 0]),
    ([2.0**-126], 1, 1, 125, [2.0**-252, 0, 0]),
])
def test_cases_computed_by_hand(x, below, above, first, expected):
    found = running.position_errors(8, 1, below, above, False)(np.array(x, np.float32))
    assert (found[0], found[1].tolist()) == (first, expected)


def test_errors_of_small_elements_next_to_a_large_one():
    x = np.array([100.0] + [2.0**-40] * 1000, np.float32)
    first, found = running.position_errors(8, 1, 4, 4, False)(x)
    assert (first, found[4]) == (-4, 1000 * 2.0**-80)
    x = np.array([100.0] + [2.0**-70] * 1000, np.float32)
    assert running.position_errors(8, 1, 4, 4, False)(x)[1][4] == fixed_point.position_errors(x, 8, 1, 4, 4)[1][4] == 0


def test_static_shapes():
    first, found = ops.position_errors(tf.zeros([2, 3]), 3, 12)
    assert first.shape.as_list() == [] and found.shape.as_list() == [16]


@pytest.mark.parametrize('below, above, message', [(37, 0, 'below is 37'), (0, 37, 'above is 37'),
                                                   (30, 7, 'above is 7, it must be from 0 to 6')])
def test_windows_that_reach_too_far_are_errors(below, above, message):
    with pytest.raises(errors.QuantizeError, match='reaches {} below and {} above'.format(below, above)):
        fixed_point.position_errors([1.0], 8, 1, below, above)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        running.position_errors(8, 1, below, above, False)(np.ones(1, np.float32))


@pytest.mark.parametrize('below, above', [(-1, 0), (0, -1)])
def test_negative_reach_is_an_error(below, above):
    with pytest.raises(errors.QuantizeError, match='reaches {} below'.format(below)):
        fixed_point.position_errors([1.0], 8, 1, below, above)
    with pytest.raises(ValueError, match='below|above'):
        ops.position_errors([1.0], below, above)
