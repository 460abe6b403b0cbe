"""Rounding against all possible roundings, and against a plain form of error feedback and coordinate descent."""
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.combinations import each_value_once
from vai_q_tf import fixed_point
from vai_q_tf.ptq.fitting.rounding import best_position, quadratic_error, round_with_feedback


def _problem(groups, inputs, outputs, samples=None, seed=0, spread=0.5):
    """(weights, covariance, samples x): correlated inputs of different size."""
    random = np.random.RandomState(seed)
    mix = random.randn(groups, inputs, inputs) / np.sqrt(inputs) + 1
    x = np.matmul(random.randn(groups, samples or 4 * inputs, inputs), mix) * np.exp(spread * random.randn(inputs))
    x -= x.mean(axis=1, keepdims=True)
    return random.randn(groups, inputs, outputs), np.matmul(np.swapaxes(x, 1, 2), x) / x.shape[1], x


def _plain(weights, position, bits):
    return fixed_point.quantize(weights, position, bits, fixed_point.HALF_AWAY).astype(np.float64)


def _damped(covariance, samples):
    return np.array([h + (0.01 + len(h) / samples) * np.trace(h) / len(h) * np.eye(len(h)) for h in covariance])


def _column_error(delta, h):
    return sum(delta[i] * h[i, j] * delta[j] for i in range(len(h)) for j in range(len(h)))


def _nearest(value, lo, hi):
    return min(max(np.copysign(np.floor(abs(value) + 0.5), value), lo), hi)


def _by_definition(w, h, order, lo, hi, sweeps):
    """Integers for one column, in units of the step: error feedback by inverses, then coordinate descent."""
    left, q, rest = w.copy(), np.empty_like(w), list(order)
    while rest:
        i = rest.pop(0)
        q[i] = _nearest(left[i], lo, hi)
        if rest:  # the least squares answer of the others to the error of this one
            left[rest] -= np.linalg.solve(h[np.ix_(rest, rest)], h[rest, i]) * (q[i] - left[i])
    for _ in range(sweeps):
        for i in order:
            options = [q[i]] + [q[i] + move for move in (-1, 1) if lo <= q[i] + move <= hi]
            errors = []
            for option in options:
                q[i] = option
                errors.append((q - w) @ h @ (q - w))
            q[i] = options[int(np.argmin(errors))]
    plain = np.array([_nearest(value, lo, hi) for value in w])
    return q if (q - w) @ h @ (q - w) < (plain - w) @ h @ (plain - w) else plain


def test_quadratic_error_is_the_variance_of_the_output_error():
    delta, covariance, x = _problem(3, 5, 4)
    expected = np.matmul(x, delta).var(axis=1)
    np.testing.assert_allclose(quadratic_error(delta, covariance), expected)
    assert quadratic_error(delta, covariance)[2, 1] == pytest.approx(_column_error(delta[2, :, 1], covariance[2]))


@pytest.mark.parametrize('size, grid', each_value_once(
    [(1, 150, 4), (1, 9, 20), (20, 9, 1), (3, 70, 2)], [(4, 2), (8, 5), (3, 0)]), ids=str)
def test_the_result_is_that_of_the_definition(size, grid):
    """size: groups, inputs and outputs. grid: bits and position."""
    (groups, inputs, outputs), (bits, position) = size, grid
    weights, covariance, _ = _problem(groups, inputs, outputs)
    found = round_with_feedback(weights, covariance, position, bits, 200)
    damped = _damped(covariance, 200)
    differences = 0
    for group in range(groups):
        order = np.argsort(-np.diag(covariance[group]))
        for column in range(outputs):
            expected = _by_definition(weights[group, :, column] * 2.0**position, damped[group], order,
                                      -2**(bits - 1), 2**(bits - 1) - 1, 2 if groups == 1 else 6)
            differences += not np.array_equal(found[group, :, column], expected * 2.0**-position)
    assert not differences


@pytest.mark.parametrize('inputs', [2, 3, 4])
def test_it_comes_close_to_the_best_of_all_roundings(inputs):
    bits, position, lo, hi = 3, 1, -4, 3
    weights, covariance, _ = _problem(60, inputs, 1, samples=50)
    damped = _damped(covariance, 50)
    found = round_with_feedback(weights, covariance, position, bits, 50)
    every = np.array(list(itertools.product(range(lo, hi + 1), repeat=inputs))).T * 2.0**-position
    least = np.array([quadratic_error((every - w)[None], h[None]).min() for w, h in zip(weights, damped)])
    errors = quadratic_error(found - weights, damped)[:, 0]
    plain = quadratic_error(_plain(weights, position, bits) - weights, damped)[:, 0]
    assert (errors >= least * (1 - 1e-9)).all() and (errors <= plain).all()
    assert np.mean(errors <= least * (1 + 1e-9)) >= 0.7
    assert errors.sum() - least.sum() < 0.2 * (plain.sum() - least.sum())


def test_two_equal_inputs_share_their_error():
    """.4 + .4 becomes 1 + 0, not 0 + 0."""
    found = round_with_feedback(np.array([[[0.4], [0.4]]]), np.ones((1, 2, 2)), 0, 8, 1000)
    assert sorted(found.ravel()) == [0, 1]


@pytest.mark.parametrize('scale', [1, 7, 2.0**-40])
def test_few_samples_damp_the_feedback(scale):
    """.3 + .3 becomes 1 + 0 while the damping .01 + 2 / samples is below 1 / 2: from 5 samples on."""
    weights, covariance = np.full((1, 2, 1), 0.3), scale * np.ones((1, 2, 2))
    assert round_with_feedback(weights, covariance, 0, 8, 5).sum() == 1
    assert round_with_feedback(weights, covariance, 0, 8, 4).sum() == 0


def test_inputs_of_larger_variance_are_rounded_first():
    """The small input compensates the error of the large one in either order, damped: 10 * .4 / (1 + .01 * 101 / 2) = 2.66.

    The other way round nothing is carried, and two sweeps of single steps come to 2.
    """
    values = np.array([1.0, 10.0])
    covariance = (np.outer(values, values) + 1e-6 * np.eye(2))[None]
    for order in ([0, 1], [1, 0]):
        found = round_with_feedback(np.array([0.0, 0.4])[order][None, :, None],
                                    covariance[:, order][:, :, order], 0, 8, 10**9)
        assert found[0, order, 0].tolist() == [3, 0]


def test_strongly_correlated_inputs_gain_much():
    random = np.random.RandomState(0)
    x = random.randn(2000, 1) + 0.03 * random.randn(2000, 64)
    covariance, weights = np.cov(x.T, bias=True)[None], random.randn(1, 64, 16)
    found = round_with_feedback(weights, covariance, 3, 8, 2000)
    errors = quadratic_error(found - weights, covariance).sum()
    assert errors < 0.1 * quadratic_error(_plain(weights, 3, 8) - weights, covariance).sum()


@pytest.mark.parametrize('bits, position', [(8, 4), (4, 2), (8, -3), (1, 0)])
@pytest.mark.parametrize('diagonal', [np.ones(40), np.linspace(0, 3, 40), np.zeros(40)])
def test_independent_inputs_are_rounded_plainly(bits, position, diagonal):
    """Halves away from zero, and clipped; constant inputs do not matter."""
    weights = np.round(np.random.RandomState(0).randn(3, 40, 7) * 64 * 2.0**-position) / 8
    weights[0, 0, :3] = np.array([0.5, -0.5, 2.5]) * 2.0**-position
    with np.errstate(all='raise'):
        found = round_with_feedback(weights, np.tile(np.diag(diagonal), (3, 1, 1)), position, bits, 100)
    np.testing.assert_array_equal(found, _plain(weights, position, bits))


def test_the_largest_number_below_a_half_rounds_to_zero():
    weights = np.full((1, 1, 1), np.nextafter(0.5, 0))
    assert round_with_feedback(weights, np.ones((1, 1, 1)), 0, 8, 100) == 0


def _cases():
    return given(seed=st.integers(0, 2**31), groups=st.integers(1, 3), inputs=st.integers(1, 12), outputs=st.integers(1, 3),
                 bits=st.integers(1, 16), position=st.integers(-4, 12), samples=st.integers(1, 40))


@_cases()
@settings(max_examples=150, deadline=None)
def test_every_result_is_on_the_grid_and_no_worse_than_plain(seed, groups, inputs, outputs, bits, position, samples):
    weights, covariance, _ = _problem(groups, inputs, outputs, samples, seed)
    found = round_with_feedback(weights, covariance, position, bits, samples)
    np.testing.assert_array_equal(_plain(found, position, bits), found)
    damped = _damped(covariance, samples)
    plain = quadratic_error(_plain(weights, position, bits) - weights, damped)
    assert (quadratic_error(found - weights, damped) <= plain * (1 + 1e-6)).all()  # the precision of float32 weights


@_cases()
@settings(max_examples=50, deadline=None)
def test_shifts_and_scales_change_nothing(seed, groups, inputs, outputs, bits, position, samples):
    weights, covariance, _ = _problem(groups, inputs, outputs, samples, seed)
    expected = round_with_feedback(weights, covariance, position, bits, samples)
    found = round_with_feedback(weights * 2.0**-5, covariance * 4.0**9, position + 5, bits, samples)
    np.testing.assert_array_equal(found, expected * 2.0**-5)
    assert best_position(weights * 2.0**-5, covariance * 4.0**9, bits, position + 5, position + 9) == best_position(
        weights, covariance, bits, position, position + 4) + 5


def test_groups_and_columns_are_independent():
    weights, covariance, _ = _problem(4, 9, 3)
    found = round_with_feedback(weights, covariance, 2, 4, 50)
    some = round_with_feedback(weights[[3, 1], :, 1:2], covariance[[3, 1]], 2, 4, 50)
    np.testing.assert_array_equal(some, found[[3, 1], :, 1:2])


@pytest.mark.parametrize('position', [fixed_point.POSITION_MIN, -120, 120, fixed_point.POSITION_MAX])
def test_results_at_extreme_positions_are_on_the_grid(position):
    weights, covariance, _ = _problem(1, 9, 3)
    found = round_with_feedback(weights * 100 * 2.0**-position, covariance, position, 8, 50)
    np.testing.assert_array_equal(_plain(found, position, 8), found)
    assert found.any()


def test_position_zero_has_only_zeros():
    weights, covariance, _ = _problem(1, 9, 3)
    assert not round_with_feedback(weights, covariance, fixed_point.POSITION_ZERO, 8, 50).any()


def test_best_position_has_the_least_error_of_all():
    found = set()
    for seed in range(20):
        weights, covariance, x = _problem(4, 9, 2, samples=50, seed=seed)
        first = fixed_point.search_position(weights, 5, method=0)
        errors = [np.square(np.matmul(x, _plain(weights, first + finer, 5) - weights)).sum() for finer in range(6)]
        best = best_position(weights, covariance, 5, first, first + 5)
        assert best == int(np.argmin(errors)) + first
        assert best_position(weights, covariance, 5, first, best) == best
        found.add(best - first)
    assert len(found) > 1


@pytest.mark.parametrize('octaves', [-120, 90])
def test_best_position_of_very_small_and_very_large_values(octaves):
    weights, covariance, _ = _problem(1, 9, 2)
    first = fixed_point.search_position(weights, 8, method=0)
    best = best_position(weights, covariance, 8, first, first + 5)
    with np.errstate(divide='raise', invalid='raise', over='raise'):
        for factor in (2.0**-120, 1, 2.0**120):
            assert best_position(weights * 2.0**octaves, covariance * factor, 8, first - octaves,
                                 first - octaves + 5) == best - octaves
        assert best_position(weights, 0 * covariance, 8, first, first + 5) == first


def test_inputs_decide_the_position():
    """Three small weights need fine steps, one large weight needs range; the variances of the inputs decide."""
    weights = np.array([[[7.9], [0.3], [0.3], [0.3]]])
    assert best_position(weights, np.diag([1.0, 0, 0, 0])[None], 4, 0, 4) == 0
    assert best_position(weights, np.diag([0, 1.0, 1, 1])[None], 4, 0, 4) > 1


def test_the_smaller_of_equal_positions():
    weights, covariance, _ = _problem(2, 5, 3)
    assert best_position(np.round(weights * 4) / 4, covariance, 8, 0, 4) == 2
    assert best_position(np.zeros_like(weights), covariance, 8, -3, 4) == -3
    assert best_position(weights, np.zeros_like(covariance), 8, -3, 4) == -3


@pytest.mark.parametrize('value', [np.nan, np.inf])
@pytest.mark.parametrize('which', [0, 1])
def test_values_that_are_not_finite_are_refused(value, which):
    arrays = _problem(2, 5, 3)
    arrays[which][1, 2, 2] = value
    with pytest.raises(ValueError, match='not finite'):
        round_with_feedback(arrays[0], arrays[1], 2, 8, 50)
    with pytest.raises(ValueError, match='not finite'):
        best_position(arrays[0], arrays[1], 8, 0, 4)
