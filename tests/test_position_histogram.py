"""Histograms of positions: votes, and updates by gradients, computed by hand and from the definition."""
import math

import numpy as np
import pytest

from tests.ops import samples
from vai_q_tf import errors, fixed_point, position_histogram


def test_a_threshold_goes_against_its_gradient():
    """A positive gradient lowers log2 of the threshold, so the position rises, and vice versa."""
    for sign in (1, -1):
        row = np.zeros(256, np.float32)
        row[[128 + 2, 128 + 5]] = 2, 1
        row = position_histogram.learn(row, sign * 1e-3, 0.1)
        step = np.float32(0.1 * math.tanh(1))
        np.testing.assert_allclose(row[128 + 1:128 + 4], [step, 1 - step, 0] if sign < 0 else [0, 1 - step, step], rtol=1e-6)
        assert row[0] == 1 / 4096 and row[255] == np.float32(1e-3) and np.count_nonzero(row) == 4
        row = position_histogram.learn(row, sign * 2e-3, 0.1)
        size = math.sqrt((1 + 4) / 2)
        step += 0.1 * math.tanh(2 / size)
        np.testing.assert_allclose(row[[128 + 2 + sign, 255]], [step, size * 1e-3], rtol=1e-6)
        for _ in range(5):
            row = position_histogram.learn(row, sign * 2e-3, 0.1)
        assert position_histogram.mode_position(row) == 2 + sign and row[128 + 2 + sign] > 0.9


def test_the_size_of_gradients_is_that_of_the_last_thousand():
    row = np.zeros(256, np.float32)
    row[128] = 1
    gradients = np.random.RandomState(0).standard_normal(3000)
    for number, gradient in enumerate(gradients):
        row = position_histogram.learn(row, gradient, 1e-6)
        if number == 999:
            assert row[255] == pytest.approx(math.sqrt(np.square(gradients[:1000]).mean()), rel=1e-4)
    assert row[0] == 1000 / 4096
    weights = 0.999 ** np.arange(2000)[::-1]
    size = np.square(gradients[:1000]).mean() * 0.999 ** 2000 + (np.square(gradients[1000:]) * weights).sum() / 1000
    assert row[255] == pytest.approx(math.sqrt(size), rel=1e-4)


def test_histogram_forgets_and_prefers_the_smallest_position():
    histogram = np.zeros(256, np.float32)
    with pytest.raises(errors.QuantizeError, match='empty'):
        position_histogram.mode_position(histogram)
    histogram = position_histogram.vote(histogram, 127, 0.5)
    histogram = position_histogram.vote(histogram, 127, 0.5)
    assert position_histogram.mode_position(histogram) == 127
    histogram = position_histogram.vote(histogram, -3, 0.5)
    assert histogram[255] == 0.75 and position_histogram.mode_position(histogram) == -3
    histogram[-4 + 128] = 1
    assert position_histogram.mode_position(histogram) == -4
    assert samples.same_bits(position_histogram.vote(histogram, fixed_point.NO_OBSERVATION, 0.5), histogram)
    assert position_histogram.vote(np.full(256, 1e-30, np.float32), 0, 0.9)[0] == 0
