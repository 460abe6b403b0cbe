"""Arrays quantized outside a graph have the values of the definition."""
import numpy as np
import pytest

from vai_q_tf import fixed_point
from vai_q_tf.export.constants import ERRORS_ABOVE, ConstantQuantizer, errors_below
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.plan.quant_plan import QuantTensor


@pytest.mark.parametrize('narrow_range', [False, True])
@pytest.mark.parametrize('method', [0, 1])
@pytest.mark.parametrize('value', [[-4, -3.3, 0.1, 2.7, 3], [-1.5, 1.5, -1., -2.5, 0]])
def test_a_range_without_its_smallest_integer(value, narrow_range, method):
    """In one quantizer, which keeps its ops by kind: the range is a part of the kind."""
    value = np.float32(value)
    with ConstantQuantizer() as quantizer:
        for narrow in (not narrow_range, narrow_range):
            record = QuantTensor('x/aquant', 'constant', 1, 3, method, 'x', (), narrow_range=narrow)
            found = quantizer.search(record, value, with_errors=True)
            assert found.position == fixed_point.search_position(value, 3, method, 1, narrow)
            expected = final_positions.error_table(
                *fixed_point.position_errors(value, 3, 1, errors_below(3), ERRORS_ABOVE, narrow))
            np.testing.assert_array_equal(found.errors, expected)
            np.testing.assert_array_equal(quantizer.quantize(value, 1, 3, 1, narrow), fixed_point.quantize(
                value, 1, 3, fixed_point.HALF_UP, narrow))
