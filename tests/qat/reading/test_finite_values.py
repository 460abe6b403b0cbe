"""NaN and infinity are refused by the name of their variable."""
import numpy as np
import pytest

from vai_q_tf import errors
from vai_q_tf.qat.reading.finite_values import require_finite


def test_numbers_pass():
    values = {'a': np.float32([1, -3e38]), 'b': np.int32(3), 'c': np.zeros([0], np.float32), 'd': np.array([b'text'])}
    assert require_finite(values, 'model.ckpt-1') is values


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_the_error_names_the_variables(value):
    values = {'conv/kernel': np.float32([[1, value], [value, 2]]), 'conv/bias': np.float64(value), 'fine': np.zeros(2)}
    with pytest.raises(errors.QuantizeError) as raised:
        require_finite(values, 'model.ckpt-1')
    assert raised.value.code == errors.NOT_FINITE
    assert "'model.ckpt-1'" in raised.value.detail and 'fine' not in raised.value.detail
    assert "'conv/bias' (1 of 1 elements), 'conv/kernel' (2 of 4 elements)." in raised.value.detail


def test_the_error_lists_five_names_at_most():
    with pytest.raises(errors.QuantizeError, match="'v04' .* and 7 more"):
        require_finite({'v{:02}'.format(number): np.nan for number in range(12)}, 'model.ckpt-1')
    with pytest.raises(errors.QuantizeError, match=r"'v04' .1 of 1 elements.\. "):
        require_finite({'v{:02}'.format(number): np.nan for number in range(5)}, 'model.ckpt-1')
