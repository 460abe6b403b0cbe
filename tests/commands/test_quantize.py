"""quantize: its output, the calls of the Python functions, and its errors."""
import shlex

import pytest
import tensorflow.compat.v1 as tf

from tests.command_line.conftest import QUANTIZE, RANGE, small_network
from tests.support import read_graph
from vai_q_tf import errors
from vai_q_tf.graph.view import GraphView
from vai_q_tf.summary.quantize_result import QuantizeResult


def test_the_model_and_the_answer(command, workplace):
    status, out, err = command('quantize', **QUANTIZE)
    assert status == 0, err
    assert out == 'The quantized model is ./quantize_results/quantize_eval_model.pb\n'
    view = GraphView(read_graph(workplace / 'quantize_results' / 'quantize_eval_model.pb'))
    fix_neurons = {name for name in view.names if view.op(name) == 'FixNeuron'}
    assert fix_neurons == {'input/aquant', 'weights/wquant', 'bias/wquant', 'relu/aquant'}
    assert 'WARNING' not in err and 'Instructions' not in err


def test_options_reach_the_model(command, workplace):
    status, _, err = command('quantize', weight_bit=6, activation_bit=12, nodes_bit='relu:5', output_dir='made/here',
                             ignore_nodes='', gpu='', **{key: QUANTIZE[key] for key in QUANTIZE if key != 'gpu'})
    assert status == 0, err
    view = GraphView(read_graph(workplace / 'made' / 'here' / 'quantize_eval_model.pb'))
    bits = {name: view.attr(name, 'bit_width').i for name in view.names if view.op(name) == 'FixNeuron'}
    assert bits == {'input/aquant': 12, 'weights/wquant': 6, 'bias/wquant': 6, 'relu/aquant': 5}


def test_every_option_of_quantize_frozen_is_forwarded(command, calls):
    noted = calls('quantize_frozen', QuantizeResult('model.pb', None))
    given = dict(skip_check=1, fold_constant=0, add_shapes=0, keep_float_weight=0, fix_input_shape=1, output_format='onnx',
                 onnx_opset=11, include_fast_ft=1, fast_ft_mode=0, fast_ft_epochs=4, fast_ft_lr=0.25, fast_ft_lrcoef=2.0,
                 gpu_memory_fraction=0.75, effort='high')
    assert command('quantize', '--strict', '--report', **QUANTIZE, **given)[0] == 0
    (_, (graph_def, input_fn, config), options), = noted
    assert options == dict(given, strict=True, report=True, graph_path='float.pb')
    assert isinstance(graph_def, tf.GraphDef) and input_fn == 'calib_module.calib'
    assert (config.input_nodes, config.output_nodes, config.calib_iter) == (['input'], ['relu'], 3)


def test_the_shape_is_optional(command, workplace):
    given = {key: value for key, value in QUANTIZE.items() if key != 'input_shapes'}
    assert command('quantize', **given)[0] == 0
    view = GraphView(read_graph(workplace / 'quantize_results' / 'quantize_eval_model.pb'))
    assert view.shape('input') == [-1, 8, 8, 3]


@pytest.mark.parametrize('change, code, words', [
    ({'input_frozen_graph': 'no.pb'}, errors.INVALID_INPUT, ['no.pb']),
    ({'input_frozen_graph': 'calib_module.py'}, errors.INVALID_INPUT, ['calib_module.py']),
    ({'input_frozen_graph': '.'}, errors.INVALID_INPUT, ['directory']),
    ({'input_frozen_graph': '/dev/zero'}, errors.INVALID_INPUT, ['device']),
    ({'input_nodes': 'inputs'}, errors.UNKNOWN_NODE, ['--input_nodes', "'inputs'", "did you mean 'input'?"]),
    ({'input_nodes': 'relu', 'output_nodes': 'input', 'input_shapes': ''}, errors.EMPTY_RANGE, ['swapped']),
    ({'input_shapes': '?,8,8,3:?,8,8,3'}, errors.LENGTH_MISMATCH, ['2 input_shapes', '1 input_nodes']),
    ({'input_shapes': '?,8,8'}, errors.LENGTH_MISMATCH, ['input']),
    ({'method': 7}, errors.INVALID_METHOD, ['method', '7']),
    ({'convert_datatype': 9}, errors.INVALID_TARGET_DTYPE, ['convert_datatype', '9']),
    ({'nodes_bit': 'conv:0'}, errors.INVALID_BITWIDTH, ['conv']),
    ({'calib_iter': 0}, errors.INVALID_CONFIG, ['calib_iter']),
    ({'input_fn': 'calib_module.nothing'}, errors.INVALID_INPUT_FN, ['nothing']),
    ({'input_fn': 'no_module.calib'}, errors.INVALID_INPUT_FN, ['no_module']),
    ({'input_fn': 'calib_module.broken'}, errors.INVALID_INPUT_FN, ['step 0', "'inputs'"]),
    ({'input_fn': 'calib_module.bug'}, errors.INVALID_INPUT_FN, ['NameError', 'undefined', 'line 8']),
    ({'output_dir': 'float.pb/results'}, errors.INVALID_CONFIG, ['float.pb/results']),
    ({'custom_op_so': 'MyOp'}, errors.INVALID_CONFIG, ['MyOp']),
    ({'custom_op_so': 'MyOp:no.so'}, errors.INVALID_CONFIG, ['no.so']),
    ({'fuse_op_config': 'x.json'}, errors.INVALID_CONFIG, ['fuse_op_config', 'not supported']),
])
def test_what_quantize_refuses(refused, change, code, words, workplace):
    refused('quantize', words=['[' + code + ']'] + words, **dict(QUANTIZE, **change))
    assert not list(workplace.rglob('*_model*'))


def test_a_quantized_graph_is_refused(command, refused):
    assert command('quantize', **QUANTIZE)[0] == 0
    again = dict(QUANTIZE, input_frozen_graph='quantize_results/quantize_eval_model.pb')
    refused('quantize', words=[errors.ALREADY_QUANTIZED], **again)
    refused('quantize', words=[errors.ALREADY_QUANTIZED], convert_datatype=1, **again)


def test_convert_datatype_needs_no_input_fn(command, calls):
    noted = calls('convert_datatype', result='converted.pb')
    status, out, _ = command('quantize', convert_datatype=3, fold_constant=0, **RANGE)
    assert status == 0 and out == 'The converted model is converted.pb\n'
    (_, (graph_def, config, datatype), options), = noted
    assert datatype == 3 and options == {'fold_constant': 0}
    assert isinstance(graph_def, tf.GraphDef) and config.output_nodes == ['relu']


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_meta_graphs(command, refused, calls, mode):
    noted = calls('quantize_meta_graph', result='made.meta')
    given = {'input_nodes': 'input', 'output_nodes': 'relu', 'mode': mode}
    refused('quantize', words=[errors.INVALID_INPUT, '--input_meta_graph'], **given)
    status, out, _ = command('quantize', input_meta_graph='x.meta', input_checkpoint='x.ckpt', **given)
    assert status == 0 and out == 'The quantized MetaGraph is made.meta\n'
    (_, args, _), = noted
    assert args[:3] == (mode, 'x.meta', 'x.ckpt') and args[3].input_nodes == ['input']
    refused('quantize', input_meta_graph='x.meta', mode=mode, words=[errors.INVALID_CONFIG, '--input_nodes'])


def test_the_command_that_the_summary_proposes_works(command):
    status, _, err = command('quantize', **QUANTIZE)
    line, = [line for line in err.splitlines() if 'vai_q_tensorflow analyze' in line]
    words = shlex.split(line[line.index('vai_q_tensorflow analyze'):])
    status, out, err = command(*words[1:])
    assert status == 0 and '4 quantized tensors against float.pb' in out, err


def test_an_op_that_needs_a_library(refused, workplace):
    graph_def = small_network()
    graph_def.node.add(name='mine', op='MyOp', input=['relu'])
    (workplace / 'float.pb').write_bytes(graph_def.SerializeToString())
    refused('quantize', words=[errors.UNSUPPORTED_OP, 'MyOp', "'mine'", 'custom_op_so'], **dict(QUANTIZE, output_nodes='mine'))
