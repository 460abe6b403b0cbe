"""Values that options accept, as text and from a file, and those that they refuse."""
import pytest

from vai_q_tf import errors
from vai_q_tf.configuration.option_values import from_text, from_value
from vai_q_tf.errors import QuantizeError


@pytest.mark.parametrize('name, text, value', [
    ('gpu_memory_fraction', '1', 1.0), ('gpu_memory_fraction', '1e-9', 1e-9), ('fast_ft_lrcoef', '1000', 1000.0),
    ('tolerance', '0', 0.0), ('tolerance', '00.', 0.0), ('tolerance', '0.0', 0.0), ('tolerance', '0.5', 0.5),
    ('tolerance', '', None), ('target_db', '', None), ('target_db', '30', 30.0), ('calib_iter', '1', 1), ('onnx_opset', '1', 1),
    ('percentile', '100', 100.0), ('percentile', '50.1', 50.1), ('weight_bit', '24', 24), ('skip_check', '0', 0),
    ('skip_check', '1', 1)])
def test_accepted_values(name, text, value):
    for found in [from_text(name, text)] + ([from_value(name, value)] if value is not None else []):
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize('name, text, value', [
    ('input_nodes', 'a, b,', ['a', 'b']), ('ignore_nodes', '', []),
    ('nodes_bit', 'conv1/Relu:16,conv1:4', ['conv1/Relu:16', 'conv1:4']), ('nodes_method', 'x:0 , y:2', ['x:0', 'y:2'])])
def test_lists(name, text, value):
    assert from_text(name, text) == value


@pytest.mark.parametrize('text, shapes', [
    ('', []), ('?,224,224,3', [[-1, 224, 224, 3]]), ('1,2', [[1, 2]]), ('5', [[5]]), ('-1,10,3', [[-1, 10, 3]]),
    (' ?, 224,224 ,3 : ?,300,300,1 ', [[-1, 224, 224, 3], [-1, 300, 300, 1]]), ('?,8,8,8,3:?', [[-1, 8, 8, 8, 3], [-1]])])
def test_shapes(text, shapes):
    assert from_text('input_shapes', text) == shapes


@pytest.mark.parametrize('text', ['?,224,x,3', '1.5,2', '?,0,3', '?,-2,3', '1,,3', '1,2:', 'None,3', '1;2'])
def test_text_that_is_no_shape(text):
    with pytest.raises(QuantizeError, match='Length_Mismatch.*input_shapes'):
        from_text('input_shapes', text)


# {code: {option: texts}}
REFUSED = {
    errors.INVALID_METHOD: {'method': ('3', 'min', ''), 'nodes_method': ('a:3',)},
    errors.INVALID_BITWIDTH: {'weight_bit': ('0', 'eight'), 'activation_bit': ('25',), 'nodes_bit': ('a:0', 'a:25', 'a:b')},
    errors.INVALID_TARGET_DTYPE: {'convert_datatype': ('5', 'fp16', '')},
    errors.INVALID_CONFIG: {
        'nodes_bit': ('a',), 'arch_type': ('DPUCZDX8G',), 'mode': ('test',), 'output_format': ('tflite',),
        'align_rule': ('input',), 'positions_by': ('max', ''), 'percentile': ('50', '100.1', 'nan', 'x', ''),
        'calib_iter': ('0', '-1', 'x', '1.5', ''), 'max_dump_batches': ('0', '-1', 'x'), 'onnx_opset': ('0', '', '-1', '1.5'),
        'fast_ft_epochs': ('0', '1.5'), 'sensitivity_iter': ('0', '1.5', ''), 'tolerance': ('-0.5', 'nan', 'inf'),
        'analyze_iter': ('0', '-1', 'x'), 'target_bits': ('0', '-6', 'six', 'nan'), 'target_db': ('0', '-1', 'inf', 'x'),
        'fast_ft_lr': ('0', '-1', 'nan', 'inf', 'x'), 'fast_ft_lrcoef': ('0', 'inf', 'x'),
        'gpu_memory_fraction': ('0', '1.01', '-0.5', 'half', 'nan', 'inf', ''), 'skip_check': ('2', 'True', ''),
        'fold_constant': ('',), 'dump_float': ('-1',), 'include_fast_ft': ('yes',), 'align_concat': ('3',),
        'align_pool': ('-1',), 'adjust_shift_bias': ('3',),
        **{name: ('2',) for name in ('debug_mode', 'fast_ft_mode', 'keep_float_weight', 'add_shapes', 'fix_input_shape',
                                     'adjust_shift_cut', 'simulate_dpu', 'scale_all_avgpool', 'do_cle', 'replace_relu6',
                                     'replace_sigmoid', 'replace_softmax', 'fold_reshape')}}}


@pytest.mark.parametrize('name, text, code', [
    (name, text, code) for code, options in REFUSED.items() for name, texts in options.items() for text in texts])
def test_refused_values(name, text, code):
    with pytest.raises(QuantizeError) as caught:
        from_text(name, text)
    assert caught.value.code == code and name in caught.value.detail
