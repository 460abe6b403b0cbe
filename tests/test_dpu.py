"""The constants of the hardware against the integer arithmetic that they describe."""
from fractions import Fraction

import numpy as np
import pytest

from vai_q_tf import dpu
from vai_q_tf.errors import QuantizeError


def test_the_leaky_relu_is_a_multiplication_and_a_shift():
    x = np.arange(-128, 0)
    np.testing.assert_array_equal(x * dpu.LEAKY_RELU_SLOPE * 256, x * 26)


@pytest.mark.parametrize('position', range(8))
def test_the_hard_sigmoid_is_a_multiplication_and_a_shift(position):
    """(x * 2731 + 3 * 2731 * 2^p) >> 14 for integers x at position p, before the shift truncates the product."""
    x = np.arange(-128, 128)
    inside = np.abs(x) <= 3 * 2**position
    product = x[inside] * 2731 + 3 * 2731 * 2**position
    sigmoid = (x[inside] * 2.0**-position + 3) / 6 * dpu.HARD_SIGMOID_FACTOR
    np.testing.assert_allclose(sigmoid * 2.0**(14 + position), product, rtol=1e-15)


def test_reciprocals_of_average_pools_are_integers_over_powers_of_two_near_the_exact_ones():
    assert set(dpu.AVERAGE_POOL_RECIPROCALS) == {3, 5, 6, 7, 14}
    for side, reciprocal in dpu.AVERAGE_POOL_RECIPROCALS.items():
        fraction = Fraction(reciprocal)
        assert fraction.denominator & (fraction.denominator - 1) == 0 and fraction.denominator <= 4096
        assert abs(float(fraction) * side * side - 1) < 1 / 40


def test_one_step_from_the_seed_gives_the_reciprocal_of_the_softmax():
    """The bits of a bfloat16 are the upper half of those of a float32."""
    numbers = np.linspace(1, 1000, 5000).astype(np.float32)
    bits = dpu.RECIPROCAL_SEED - (numbers.view(np.uint32) >> 16)
    guess = (bits.astype(np.uint32) << 16).view(np.float32)
    factor, offset = dpu.RECIPROCAL_STEP
    better = guess * factor * (offset - guess * numbers)
    assert np.abs(better * numbers - 1).max() < 1e-3


def test_the_polynomial_of_the_softmax_is_the_exponential():
    x = np.linspace(0, np.log(2), 100)
    assert np.abs(np.polyval(dpu.SOFTMAX_POLYNOMIAL, x) / np.exp(x) - 1).max() < .01


def test_unknown_targets():
    for name in ('', 'DPU', 'ZCU102', 'DPUCZDX8'):
        with pytest.raises(QuantizeError) as caught:
            dpu.find_target(name)
        assert all(known in str(caught.value) for known in dpu.TARGETS)


def test_a_configuration_belongs_to_its_family():
    assert dpu.find_target('DPUCZDX8G_ISA1_B4096') is dpu.find_target(' dpuczdx8g ') is dpu.TARGETS['DPUCZDX8G']
