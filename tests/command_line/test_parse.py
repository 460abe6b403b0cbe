"""Command lines and their checked values, the help, and which options a command shows."""
import re

import pytest

from vai_q_tf import cli, errors
from vai_q_tf.command_line.parse import CommandParser, UsageError, parse
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.options import COMMANDS, EVERYWHERE, REQUIRED, ROWS, USED
from vai_q_tf.errors import QuantizeError

# {option: default} in the documentation of the Vitis AI quantizer. Its fast finetuning has one epoch at the rate 1e-6.
DOCUMENTED = {
    'mode': 'frozen', 'input_frozen_graph': '', 'input_meta_graph': '', 'input_checkpoint': '', 'skip_check': 0,
    'fold_constant': 1, 'include_fast_ft': 0, 'fast_ft_mode': 1, 'fast_ft_lrcoef': 1.0,
    'custom_op_so': '', 'add_shapes': 1, 'convert_datatype': 0, 'keep_float_weight': 1, 'output_format': 'pb', 'onnx_opset': 13,
    'fix_input_shape': 0, 'debug_mode': 0, 'input_fn': '', 'fuse_op_config': '', 'max_dump_batches': 1, 'dump_float': 0,
    'dump_input_tensors': '', 'dump_as_xir': False, 'gpu_memory_fraction': 0.5}
DOCUMENTED_CONFIG = {
    'output_dir': './quantize_results', 'weight_bit': 8, 'activation_bit': 8, 'nodes_bit': [], 'nodes_method': [], 'method': 1,
    'calib_iter': 100, 'input_nodes': [], 'output_nodes': [], 'input_shapes': [], 'ignore_nodes': [], 'target_type': '',
    'fold_reshape': 0, 'align_concat': 0, 'align_pool': 0, 'adjust_shift_bias': 1, 'adjust_shift_cut': 1, 'simulate_dpu': 1,
    'scale_all_avgpool': 1, 'do_cle': 0, 'replace_relu6': 1, 'replace_sigmoid': 0, 'replace_softmax': 0, 'arch_type': 'DEFAULT'}


def config(**options):
    return parse(['quantize'] + ['--{}={}'.format(*option) for option in options.items()]).config


def test_the_documented_defaults():
    options = parse(['quantize'])
    for name, default in DOCUMENTED.items():
        assert getattr(options, name) == default and type(getattr(options, name)) is type(default), name
    assert options.fast_ft_epochs == 5 and options.fast_ft_lr is None
    for name, default in DOCUMENTED_CONFIG.items():
        assert getattr(options.config, name) == default, name
    assert options.config.align_rule == 'least_error' and options.strict is False


def test_the_help_has_every_option_with_its_default():
    text = CommandParser().format_help()
    entries = {entry.split()[0].rstrip(','): ' '.join(entry.split()) for entry in re.split(r'\n  (?=--)', text)}
    for name, default in list(DOCUMENTED.items()) + list(DOCUMENTED_CONFIG.items()):
        entry = entries['--' + name]
        if default != '' and default != [] and default is not False:
            assert '(default: {})'.format(default) in entry, (name, entry)
    for word in ('quantize', 'inspect', 'sensitivity', 'analyze', 'dump', 'deploy', 'update', '--gpu', '--version',
                 '--align_rule', '--strict'):
        assert word in text


@pytest.mark.parametrize('command', [None] + [name for name, _ in COMMANDS])
def test_the_help_fits_a_terminal_of_80_columns(command, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    assert max(map(len, CommandParser(command).format_help().splitlines())) <= 80


@pytest.mark.parametrize('command', ['quantize', 'inspect', 'sensitivity', 'analyze', 'dump', 'deploy', 'update'])
def test_one_flat_set_of_options_with_every_command(command):
    arguments = []
    for name, value in list(DOCUMENTED.items()) + list(DOCUMENTED_CONFIG.items()):
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


def test_a_dpu_is_known_and_needs_four_dimensions():
    assert config(input_shapes='?,8,8,3', target_type='DPUCZDX8G').target_type == 'DPUCZDX8G'
    assert config(input_shapes='?,8,8,3', target_type='DPUCAHX8H_ISA2_DWC').target_type
    for shapes in ('?,8,3', '?,8,8,3:?,4'):
        with pytest.raises(QuantizeError, match='Length_Mismatch.*4 dimensions'):
            config(input_shapes=shapes, target_type='DPUCZDX8G')
    with pytest.raises(QuantizeError, match='target_type'):
        config(target_type='DPUX')


def test_verbosity():
    for words, found in (([], (False, False)), (['-q'], (True, False)), (['--quiet'], (True, False)), (['-v'], (False, True)),
                         (['--verbose'], (False, True))):
        options = parse(['quantize'] + words)
        assert (options.quiet, options.verbose) == found
    with pytest.raises(UsageError, match='--quiet and --verbose are opposites'):
        parse(['quantize', '-q', '-v'])


def test_targets_are_numbers_or_missing():
    options = parse(['sensitivity'])
    assert (options.target_bits, options.target_db, options.sensitivity_iter) == (None, None, 4)
    options = parse(['sensitivity', '--target_bits', '5.5', '--target_db=', '--sensitivity_iter', '2'])
    assert (options.target_bits, options.target_db, options.sensitivity_iter) == (5.5, None, 2)


def test_sides_of_compare_and_options_in_any_order():
    for arguments in (['compare', 'a', 'b', '--tolerance', '0.5'], ['--tolerance=0.5', 'compare', 'a', 'b'],
                      ['compare', 'a', '--tolerance', '0.5', 'b'], ['compare', '--tolerance', '0.5', 'a', 'b']):
        options = parse(arguments)
        assert (options.command, options.sides, options.tolerance) == ('compare', ['a', 'b'], 0.5)
    assert parse(['compare', 'a', 'b']).tolerance is None and parse(['compare', '--tolerance', '0']).tolerance == 0
    for arguments in (['dump', 'a', 'b'], ['compare', 'a', '--tolerence', 'b'], ['compare', 'a\0', 'b']):
        with pytest.raises((UsageError, errors.QuantizeError)):
            parse(arguments)
    for value in ('-1', 'x', 'nan', 'inf', '0x1'):
        with pytest.raises(errors.QuantizeError, match='tolerance'):
            parse(['compare', '--tolerance', value])


@pytest.mark.parametrize('command', [None] + [name for name, _ in COMMANDS])
def test_help_lists_what_a_command_uses(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(([command] if command else []) + ['--help'])
    text = capsys.readouterr().out
    listed = [name for name, *_ in ROWS if '\n  --' + name in text]
    expected = set(USED[command] + EVERYWHERE) if command else {row[0] for row in ROWS}
    assert caught.value.code == 0 and set(listed) == expected
    assert text.startswith('usage: vai_q_tensorflow {} '.format(
        'compare A B' if command == 'compare' else command or 'COMMAND'))
    assert all('--{} '.format(name) in text.partition('\n\n')[0] for name in REQUIRED.get(command, ()))
    for number in (0, 1, 3, 129, 130, 143):
        assert '\n  {} '.format(number) in text
    assert text.rstrip().endswith('see the module vai_q_tensorflow.')


def test_what_a_command_does_not_use_is_accepted():
    names = [action.option_strings for action in CommandParser('dump')._actions]
    assert names == [action.option_strings for action in CommandParser()._actions]
