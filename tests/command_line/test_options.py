"""What the options mean: each value that they take and each that they do not."""
import re

import pytest

from vai_q_tf import errors
from vai_q_tf.command_line.parse import CommandParser, UsageError, parse
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.errors import QuantizeError

# Name: default, in the order of the original's list of options. Its fast finetuning has one epoch at the rate 1e-6.
ORIGINAL = {
    'mode': 'frozen', 'input_frozen_graph': '', 'input_meta_graph': '', 'input_checkpoint': '', 'skip_check': 0,
    'fold_constant': 1, 'include_fast_ft': 0, 'fast_ft_mode': 1, 'fast_ft_lrcoef': 1.0,
    'custom_op_so': '', 'add_shapes': 1, 'convert_datatype': 0, 'keep_float_weight': 1, 'output_format': 'pb', 'onnx_opset': 13,
    'fix_input_shape': 0, 'debug_mode': 0, 'input_fn': '', 'fuse_op_config': '', 'max_dump_batches': 1, 'dump_float': 0,
    'dump_input_tensors': '', 'dump_as_xir': False, 'gpu_memory_fraction': 0.5}
ORIGINAL_CONFIG = {
    'output_dir': './quantize_results', 'weight_bit': 8, 'activation_bit': 8, 'nodes_bit': [], 'nodes_method': [], 'method': 1,
    'calib_iter': 100, 'input_nodes': [], 'output_nodes': [], 'input_shapes': [], 'ignore_nodes': [], 'target_type': '',
    'fold_reshape': 0, 'align_concat': 0, 'align_pool': 0, 'adjust_shift_bias': 1, 'adjust_shift_cut': 1, 'simulate_dpu': 1,
    'scale_all_avgpool': 1, 'do_cle': 0, 'replace_relu6': 1, 'replace_sigmoid': 0, 'replace_softmax': 0, 'arch_type': 'DEFAULT'}


def config(**options):
    return parse(['quantize'] + ['--{}={}'.format(*option) for option in options.items()]).config


def refused(code, words=(), **options):
    with pytest.raises(QuantizeError) as caught:
        config(**options)
    assert caught.value.code == code and all(word in str(caught.value) for word in words), caught.value


def test_the_defaults_of_the_original():
    options = parse(['quantize'])
    for name, default in ORIGINAL.items():
        assert getattr(options, name) == default and type(getattr(options, name)) is type(default), name
    assert options.fast_ft_epochs == 5 and options.fast_ft_lr is None
    for name, default in ORIGINAL_CONFIG.items():
        assert getattr(options.config, name) == default, name
    assert options.config.align_rule == 'least_error' and options.strict is False


def test_the_help_has_every_option_with_its_default():
    text = re.sub(r'\s+', ' ', CommandParser().format_help()) + ' --end'
    for name, default in list(ORIGINAL.items()) + list(ORIGINAL_CONFIG.items()):
        entry = re.search(r'--{} (.*?)(?= --\w)'.format(name), text)
        assert entry, name
        if default != '' and default != [] and default is not False:
            assert '(default: {})'.format(default) in entry.group(1), (name, entry.group(1))
    for word in ('quantize', 'inspect', 'sensitivity', 'analyze', 'dump', 'deploy', 'update', '--gpu', '--version',
                 '--align_rule', '--strict'):
        assert word in text


@pytest.mark.parametrize('command', ['quantize', 'inspect', 'sensitivity', 'analyze', 'dump', 'deploy', 'update'])
def test_one_flat_set_of_options_with_every_command(command):
    arguments = []
    for name, value in list(ORIGINAL.items()) + list(ORIGINAL_CONFIG.items()):
        arguments += ['--' + name] + ([] if value is False else ['' if value == [] else str(value)])
    arguments += ['--fast_ft_epochs', '1', '--fast_ft_lr', '1e-06']
    options = parse([command] + arguments + ['--gpu', '-1', '--strict', '--align_rule', 'output'])
    assert options.command == command and options.gpu == '-1' and options.strict
    assert (options.fast_ft_epochs, options.fast_ft_lr) == (1, 1e-6)
    assert repr(options.config) == repr(QuantizeConfig(align_rule='output'))


def test_forms_of_options():
    for arguments in (['quantize', '--calib_iter', '7'], ['quantize', '--calib_iter=7'], ['--calib_iter', '7', 'quantize'],
                      ['quantize', '--calib', '7'], ['quantize', '--cal=7'], ['--gpu', '', 'quantize', '--calib_iter', '7']):
        assert parse(arguments).config.calib_iter == 7 and parse(arguments).command == 'quantize'


@pytest.mark.parametrize('arguments, words', [
    ([], ['no command', 'quantize, inspect']), (['optimize'], ['optimize', 'quantize, inspect']),
    (['--gpu', '0'], ['no command']), (['quantize', '--learning_rate', '3'], ['--learning_rate']),
    (['quantize', '--calibiter=3'], ['--calibiter', 'did you mean --calib_iter']), (['quantize', '-x'], ['-x']),
    (['quantize', 'float.pb'], ['argument', 'float.pb']), (['quantize', '--input', 'x'], ['ambiguous', '--input_fn']),
    (['quantize', '--calib_iter'], ['calib_iter', 'expected one argument']),
])
def test_command_lines_that_cannot_be_read(arguments, words):
    with pytest.raises(UsageError) as caught:
        parse(arguments)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize('value', ['--', '-', '---', '=', 'a=b', ':', '\u00fc'])
def test_odd_names(value):
    assert config(ignore_nodes=value).ignore_nodes == [value]


@pytest.mark.parametrize('name, value', [
    ('nodes_bit', '--'), ('nodes_method', '--'), ('input_shapes', '--'), ('calib_iter', '--'), ('target_bits', '--'),
    ('output_dir', 'a\udcff'), ('input_frozen_graph', '\udcff'), ('input_fn', 'a\0b'), ('onnx_opset', '1' * 5000),
    ('calib_iter', '1' * 5000), ('weight_bit', '1' * 5000), ('fast_ft_lr', '1e400'), ('percentile', 'inf')])
def test_odd_values(name, value):
    with pytest.raises(QuantizeError) as caught:
        config(**{name: value})
    assert name in str(caught.value)


def test_lists_of_names_and_of_settings():
    made = config(input_nodes='a, b,', output_nodes='c', ignore_nodes='', nodes_bit='conv1/Relu:16,conv1:4',
                  nodes_method='x:0 , y:2')
    assert (made.input_nodes, made.output_nodes, made.ignore_nodes) == (['a', 'b'], ['c'], [])
    assert (made.nodes_bit, made.nodes_method) == (['conv1/Relu:16', 'conv1:4'], ['x:0', 'y:2'])


@pytest.mark.parametrize('text, shapes', [
    ('', []), ('?,224,224,3', [[-1, 224, 224, 3]]), ('1,2', [[1, 2]]), ('5', [[5]]), ('-1,10,3', [[-1, 10, 3]]),
    (' ?, 224,224 ,3 : ?,300,300,1 ', [[-1, 224, 224, 3], [-1, 300, 300, 1]]), ('?,8,8,8,3:?', [[-1, 8, 8, 8, 3], [-1]])])
def test_shapes(text, shapes):
    assert config(input_shapes=text).input_shapes == shapes
    if text:
        assert parse(['quantize', '--input_shapes', text]).config.input_shapes == shapes


@pytest.mark.parametrize('text', ['?,224,x,3', '1.5,2', '?,0,3', '?,-2,3', '1,,3', '1,2:', 'None,3', '1;2'])
def test_shapes_that_are_none(text):
    refused(errors.LENGTH_MISMATCH, ['input_shapes'], input_shapes=text)


def test_a_dpu_needs_four_dimensions():
    assert config(input_shapes='?,8,8,3', target_type='DPUCZDX8G').target_type == 'DPUCZDX8G'
    assert config(input_shapes='?,8,8,3', target_type='DPUCAHX8H_ISA2_DWC').target_type
    refused(errors.LENGTH_MISMATCH, ['4 dimensions'], input_shapes='?,8,3', target_type='DPUCZDX8G')
    refused(errors.LENGTH_MISMATCH, ['4 dimensions'], input_shapes='?,8,8,3:?,4', target_type='DPUCZDX8G')


@pytest.mark.parametrize('name, value, code', [
    ('method', 3, errors.INVALID_METHOD), ('method', 'min', errors.INVALID_METHOD), ('method', '', errors.INVALID_METHOD),
    ('nodes_method', 'a:3', errors.INVALID_METHOD),
    ('weight_bit', 0, errors.INVALID_BITWIDTH), ('activation_bit', 25, errors.INVALID_BITWIDTH),
    ('weight_bit', 'eight', errors.INVALID_BITWIDTH), ('nodes_bit', 'a:0', errors.INVALID_BITWIDTH),
    ('nodes_bit', 'a:25', errors.INVALID_BITWIDTH), ('nodes_bit', 'a:b', errors.INVALID_BITWIDTH),
    ('nodes_bit', 'a', errors.INVALID_CONFIG),
    ('convert_datatype', 5, errors.INVALID_TARGET_DTYPE), ('convert_datatype', 'fp16', errors.INVALID_TARGET_DTYPE),
    ('convert_datatype', '', errors.INVALID_TARGET_DTYPE),
    ('target_type', 'DPUX', errors.INVALID_CONFIG), ('arch_type', 'DPUCZDX8G', errors.INVALID_CONFIG),
    ('mode', 'test', errors.INVALID_CONFIG), ('output_format', 'tflite', errors.INVALID_CONFIG),
    ('align_rule', 'input', errors.INVALID_CONFIG),
    ('positions_by', 'max', errors.INVALID_CONFIG), ('positions_by', '', errors.INVALID_CONFIG),
    *(('percentile', value, errors.INVALID_CONFIG) for value in ('50', '100.1', 'nan', 'x', '')),
    *((name, value, errors.INVALID_CONFIG) for name, values in (
        ('calib_iter', ('0', '-1', 'x', '1.5', '')), ('max_dump_batches', ('0', '-1', 'x')), ('onnx_opset', ('0', '')),
        ('fast_ft_epochs', ('0', '1.5')), ('sensitivity_iter', ('0', '1.5', '')), ('analyze_iter', ('0', '-1', 'x')),
        ('target_bits', ('0', '-6', 'six', 'nan')), ('target_db', ('0', '-1', 'inf', 'x')),
        ('fast_ft_lr', ('0', '-1', 'nan', 'inf', 'x')), ('fast_ft_lrcoef', ('0',)),
        ('gpu_memory_fraction', ('0', '1.1', '-0.5', 'half')), ('skip_check', ('2', 'True')), ('fold_constant', ('',)),
        ('dump_float', ('-1',)), ('debug_mode', ('2',)), ('include_fast_ft', ('yes',)), ('fast_ft_mode', ('2',)),
        ('keep_float_weight', ('2',)), ('add_shapes', ('2',)), ('fix_input_shape', ('2',)), ('align_concat', ('3',)),
        ('align_pool', ('-1',)), ('adjust_shift_bias', ('3',)), ('adjust_shift_cut', ('2',)), ('simulate_dpu', ('2',)),
        ('scale_all_avgpool', ('2',)), ('do_cle', ('2',)), ('replace_relu6', ('2',)), ('replace_sigmoid', ('2',)),
        ('replace_softmax', ('2',)), ('fold_reshape', ('2',))) for value in values)])
def test_values_that_an_option_does_not_take(name, value, code):
    refused(code, [name], **{name: value})


def test_how_positions_are_chosen():
    assert (config().positions_by, config().percentile) == (None, 99.99)
    for word in ('votes', 'mse', 'percentile', 'entropy'):
        assert config(positions_by=word).positions_by == word
    assert config(positions_by='percentile', percentile='99.9').percentile == 99.9


def test_how_much_is_said():
    for words, found in (([], (False, False)), (['-q'], (True, False)), (['--quiet'], (True, False)), (['-v'], (False, True)),
                         (['--verbose'], (False, True))):
        options = parse(['quantize'] + words)
        assert (options.quiet, options.verbose) == found
    with pytest.raises(UsageError, match='--quiet and --verbose are opposites'):
        parse(['quantize', '-q', '-v'])


def test_targets_are_numbers_or_not_there():
    options = parse(['sensitivity'])
    assert (options.target_bits, options.target_db, options.sensitivity_iter) == (None, None, 4)
    options = parse(['sensitivity', '--target_bits', '5.5', '--target_db=', '--sensitivity_iter', '2'])
    assert (options.target_bits, options.target_db, options.sensitivity_iter) == (5.5, None, 2)
