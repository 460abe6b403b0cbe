"""The ends of the ranges of options, as text and as values of a file."""
import pytest

from vai_q_tf.configuration.option_values import from_text, from_value
from vai_q_tf.errors import QuantizeError


@pytest.mark.parametrize('name, text, value', [
    ('gpu_memory_fraction', '1', 1.0), ('gpu_memory_fraction', '1e-9', 1e-9), ('fast_ft_lrcoef', '1000', 1000.0),
    ('tolerance', '0', 0.0), ('tolerance', '00.', 0.0), ('tolerance', '0.0', 0.0), ('tolerance', '0.5', 0.5),
    ('tolerance', '', None),
    ('target_db', '', None), ('target_db', '30', 30.0), ('calib_iter', '1', 1), ('onnx_opset', '1', 1),
    ('percentile', '100', 100.0),
    ('percentile', '50.1', 50.1), ('weight_bit', '24', 24), ('skip_check', '0', 0), ('skip_check', '1', 1)])
def test_what_is_taken(name, text, value):
    for found in [from_text(name, text)] + ([from_value(name, value)] if value is not None else []):
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize('name, texts', [
    ('gpu_memory_fraction', ('0', '1.01', '-0.5', 'nan', 'inf', '')), ('fast_ft_lrcoef', ('0', 'inf', 'x')),
    ('tolerance', ('-0.5', 'nan', 'inf')), ('target_db', ('0', '-1')), ('calib_iter', ('0', '1.5')),
    ('onnx_opset', ('0', '-1', '1.5')), ('percentile', ('50', '100.5')), ('weight_bit', ('0', '25')),
    ('skip_check', ('2', 'true', ''))])
def test_what_is_refused(name, texts):
    for text in texts:
        with pytest.raises(QuantizeError, match=name):
            from_text(name, text)
