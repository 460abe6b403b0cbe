"""Decibels are exact for powers of ten, and infinite without an error or an energy."""
import math

import pytest

from vai_q_tf.decibels import decibels


def test_ratios():
    assert [decibels(error) for error in (1, 0.1, 0.01, 10)] == [0, 10, 20, -10]
    assert decibels(1.0, 100.0) == 20 and decibels(100.0, 1.0) == -20
    assert decibels(1e300, 1e-300) == pytest.approx(-6000), 'their ratio is no number above 0'
    assert math.copysign(1, decibels(1.0)) == 1, 'no -0.0'


def test_no_ratio():
    assert decibels(0.0) == decibels(0.0, 0.0) == math.inf
    assert decibels(1.0, 0.0) == decibels(math.inf) == decibels(math.nan) == decibels(1.0, math.nan) == -math.inf
