"""Configuration files that are read, and errors that name the file, the key and its line."""
import json
import os
import re

import pytest
import yaml

from vai_q_tf import errors
from vai_q_tf.command_line.parse import parse
from vai_q_tf.configuration.read_file import read_config_file
from vai_q_tf.errors import INVALID_CONFIG as CONFIG
from vai_q_tf.errors import INVALID_INPUT as INPUT
from vai_q_tf.errors import QuantizeError

EXAMPLE = '''# a comment
command: quantize
input_frozen_graph: float.pb
input_nodes: net_in, second
output_nodes: [logits/BiasAdd]
input_shapes: [[?, 224, 224, 3], [-1, 8]]
calib_iter: 20
gpu: -1
do_cle: true
add_shapes: 0
strict: true
fast_ft_lr: 1e-3
target_db: null
nodes_bit:
  - conv1:4
  - conv2:6
convert_datatype: 0
'''
READ = {'command': 'quantize', 'input_frozen_graph': 'float.pb', 'input_nodes': ['net_in', 'second'],
        'output_nodes': ['logits/BiasAdd'], 'input_shapes': [[-1, 224, 224, 3], [-1, 8]], 'calib_iter': 20, 'gpu': '-1',
        'do_cle': 1, 'add_shapes': 0, 'strict': True,
        'fast_ft_lr': 1e-3, 'nodes_bit': ['conv1:4', 'conv2:6'], 'convert_datatype': 0}


@pytest.fixture
def config_file(tmp_path):
    """Writes bytes or text to run.yaml, and returns its path."""
    def write(content):
        path = tmp_path / 'run.yaml'
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)
    return write


def test_yaml(config_file):
    found = read_config_file(config_file(EXAMPLE))
    assert found == READ
    assert type(found['strict']) is bool and type(found['do_cle']) is int


def test_json_by_its_content(config_file):
    values = dict(yaml.safe_load(EXAMPLE.replace('?', 'null')), output_dir='a/\U0001f600')
    text = json.dumps(values, indent=1).replace('\n ', '\n\t')  # YAML has no tabs
    assert read_config_file(config_file('\ufeff ' + text)) == dict(READ, output_dir='a/\U0001f600')


@pytest.mark.parametrize('text, name, value', [
    ('input_shapes: "?,8,8,3:1,2"', 'input_shapes', [[-1, 8, 8, 3], [1, 2]]), ('input_shapes: ?,8', 'input_shapes', [[-1, 8]]),
    ('input_shapes: []', 'input_shapes', []), ('input_shapes: [[null, 2]]', 'input_shapes', [[-1, 2]]),
    ('gpu: 0,1', 'gpu', '0,1'), ('gpu: [0, 1]', 'gpu', '0,1'), ('gpu: 3', 'gpu', '3'),
    ('custom_op_so: [Op:a.so, Other:b.so]', 'custom_op_so', 'Op:a.so,Other:b.so'),
    # In YAML 1.1 these are a date, an octal number, a boolean, a number of base 60 and one with separators.
    ('output_dir: 2024-01-01', 'output_dir', '2024-01-01'), ('output_dir: 010', 'output_dir', '010'),
    ('input_fn: on', 'input_fn', 'on'), ('ignore_nodes: [1:30, yes, 1_000]', 'ignore_nodes', ['1:30', 'yes', '1_000']),
    ('percentile: 99', 'percentile', 99.0), ('target_bits: 5', 'target_bits', 5.0), ("calib_iter: '7'", 'calib_iter', 7),
    ('skip_check: True', 'skip_check', 1), ('strict: 0', 'strict', False), ('freeze_bn_step: 0.5', 'freeze_bn_step', 0.5),
    ('fold_bn_only: false', 'fold_bn_only', 0), ('position_update: learned', 'position_update', 'learned'),
    ("{'effort': 'high'}", 'effort', 'high'), ('gpu_memory_fraction: .25', 'gpu_memory_fraction', 0.25)])
def test_forms_of_values(config_file, text, name, value):
    found = read_config_file(config_file(text))
    assert found == {name: value} and isinstance(found[name], type(value))


def test_null_is_the_default(config_file):
    assert read_config_file(config_file('calib_iter: null\neffort:\npositions_by: ~\nignore_nodes: []')) == {'ignore_nodes': []}
    options = parse(['quantize', '--config', config_file('calib_iter: null\neffort:\nfast_ft_lr: null')])
    assert (options.config.calib_iter, options.effort, options.fast_ft_lr) == (100, 'standard', None)


@pytest.mark.parametrize('content, code, words', [
    (b'', INPUT, ['empty']), (b'# nothing\n', INPUT, ['empty']),
    (b'- a\n- b', CONFIG, ['line 1', 'a list']), (b'["a"]', CONFIG, ['a list']),
    (b'quantize', CONFIG, ['text', 'mapping']), (b'\x7fELF\x02\x01\x01\0\0', CONFIG, ['run.yaml']),
    (b'\n\x0a\x05image\x12\x0bPlaceholder', CONFIG, ['run.yaml']),
    (b'input_fn: "\xff"', INPUT, ['UTF-8', 'byte 11']), ('effort: high'.encode('utf-16'), INPUT, ['UTF-8']),
    (b'effort: high\ncalib_iter: 3\neffort: fast', CONFIG, ['line 3', "'effort'", 'twice']),
    (b'{\n"effort": "high",\n"effort": "fast"}', CONFIG, ['line 3', "'effort'", 'twice']),
    (b'effort: high\ncalibiter: 3', CONFIG, ['line 2', "'calibiter'", "did you mean 'calib_iter'"]),
    (b'--calib_iter: 3', CONFIG, ["did you mean 'calib_iter'"]),
    (b'zzz: 3', CONFIG, ["'zzz'", 'names of options']), (b'config: other.yaml', CONFIG, ["'config'"]),
    (b'? [a]\n: 3', CONFIG, ['line 1', 'key']), (b'<<: {effort: high}', CONFIG, ["'<<'"]),
    (b'effort: &a high', CONFIG, ['line 1', "'&a'"]), (b'effort: *a', CONFIG, ["'*a'"]),
    (b'mode: frozen\neffort: !!str high', CONFIG, ['line 2', "'!!str'"]),
    (b'effort: !!python/object/apply:os.system [ls]', CONFIG, ['line 1', 'tag']),
    (b'a: &a [x]\nb: &b [*a,*a]\ninput_nodes: [*b,*b]', CONFIG, ['line 1']),
    (b'effort: high\n---\neffort: fast', CONFIG, ['line 2']), (b'effort: [high', CONFIG, ['line 1']),
    (b'\teffort: high', CONFIG, ['line 1']), (b'{"effort": }}', CONFIG, ['line 1']),
    *(pytest.param(content, INPUT, words, id=name) for name, content, words in (
        ('deep YAML', b'[' * 20000, ['deep']), ('deep JSON', b'{"a":' * 20000, ['deep']),
    ('large', b'#' * 2 ** 21, ['bytes']))),
    (b'calib_iter: many', CONFIG, ['line 1', 'calib_iter', "'many'"]),
    (b'calib_iter: true', CONFIG, ['calib_iter', 'not a flag']), (b'calib_iter: [3]', CONFIG, ['calib_iter']),
    (b'calib_iter: 1.5', CONFIG, ['calib_iter']), (b'onnx_opset: 1.5', CONFIG, ['onnx_opset']),
    (b'skip_check: yes', CONFIG, ["skip_check is 'yes'"]), (b'skip_check: 2', CONFIG, ['0 or 1']),
    (b'strict: perhaps', CONFIG, ['strict']), (b'effort: 3', CONFIG, ['effort', 'fast or standard or high']),
    (b'effort: {a: b}', CONFIG, ['effort', 'text']), (b'weight_bit: 33', errors.INVALID_BITWIDTH, ['line 1', 'weight_bit']),
    (b'method: 7', errors.INVALID_METHOD, ['method']),
    (b'convert_datatype: 9', errors.INVALID_TARGET_DTYPE, ['convert_datatype']),
    (b'input_nodes: 3', CONFIG, ['input_nodes', 'list']), (b'input_nodes: [a, 3]', CONFIG, ['input_nodes']),
    (b'input_shapes: [1, 2]', CONFIG, ['input_shapes']), (b'input_shapes: 1;2', errors.LENGTH_MISMATCH, ['input_shapes']),
    (b'input_shapes: [[0]]', errors.LENGTH_MISMATCH, ['input_shapes']), (b'output_dir: 3.5', CONFIG, ['output_dir']),
    (b'fast_ft_lr: 1e400', CONFIG, ['fast_ft_lr']), (b'{"percentile": NaN}', CONFIG, ['percentile']),
    (b'{"input_fn": "\\ud800"}', CONFIG, ['input_fn', 'UTF-8']), (b'gpu_memory_fraction: 2', CONFIG, ['at most 1']),
    (b'command: optimise', CONFIG, ['command', 'quantize']), (b'command: [quantize]', CONFIG, ['command'])])
def test_refused_files(config_file, content, code, words):
    path = config_file(content)
    for call in (lambda: read_config_file(path), lambda: parse(['quantize', '--config', path])):
        with pytest.raises(QuantizeError) as caught:
            call()
        assert caught.value.code == code, caught.value
        assert all(word in str(caught.value) for word in words + ['run.yaml']), caught.value
        assert '\n' not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / 'missing.yaml', tmp_path, 'a\0b'):
        with pytest.raises(QuantizeError) as caught:
            read_config_file(path)
        assert caught.value.code == INPUT


def test_the_command_line_takes_precedence(config_file):
    path = config_file(EXAMPLE)
    options = parse(['--config', path])
    assert options.command == 'quantize'
    for name, value in READ.items():
        assert getattr(options.config if hasattr(options.config, name) else options, name) == value, name
    assert (options.effort, options.onnx_opset, options.config.weight_bit) == ('standard', 13, 8)  # in neither
    options = parse(['dump', '--config', path, '--calib_iter=3', '--gpu', '', '--add_shapes', '1', '--input_nodes', 'x',
                     '--ignore_nodes', 'y', '--do_cle', '0', '--fast_ft_lr', '2'])
    assert (options.command, options.config.calib_iter, options.gpu, options.add_shapes) == ('dump', 3, '', 1)
    assert (options.config.input_nodes, options.config.ignore_nodes, options.config.do_cle) == (['x'], ['y'], 0)
    assert options.fast_ft_lr == 2 and options.strict and options.config.output_nodes == ['logits/BiasAdd']
    assert parse(['quantize', '--config', config_file('freeze_bn_step: 3')]).config.freeze_bn_step == 3  # is not an option


def test_fields_are_checked_against_each_other(config_file):
    with pytest.raises(QuantizeError, match='4 dimensions'):
        parse(['quantize', '--config', config_file('target_type: DPUCZDX8G\ninput_shapes: [[1, 2]]')])


def test_the_example_of_the_document(config_file):
    path = os.path.join(os.path.dirname(__file__), '..', '..', 'docs', 'how_to', 'post_training', 'configuration_files.md')
    with open(path, encoding='utf-8') as stream:
        example = re.findall(r'```yaml\n(.*?)```', stream.read(), re.DOTALL)[0]
    assert read_config_file(config_file(example)) == {
        'command': 'quantize', 'input_frozen_graph': 'float.pb', 'input_nodes': ['image'], 'output_nodes': ['logits/BiasAdd'],
        'input_shapes': [[-1, 28, 28, 1]], 'input_fn': 'calibration.calib_input', 'calib_iter': 10, 'effort': 'fast',
        'nodes_bit': ['conv1/Conv2D:16'], 'do_cle': 1}
