"""The commands, and each way in which they fail: one line, a code, exit status 1."""
import errno
import json
import os
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

from tests.command_line.conftest import small_network
from vai_q_tf import cli, errors
from vai_q_tf.errors import QuantizeError
from vai_q_tf.graph.view import GraphView
from vai_q_tf.report.bits.results import Sensitivity
from vai_q_tf.summary.quantize_result import QuantizeResult

RANGE = {'input_frozen_graph': 'float.pb', 'input_nodes': 'input', 'output_nodes': 'relu', 'input_shapes': '?,8,8,3'}
QUANTIZE = dict(RANGE, input_fn='calib_module.calib', calib_iter=3, gpu='-1')


def read(path):
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    return graph_def


# quantize

def test_quantize_writes_the_model_and_says_where(command, workplace):
    status, out, err = command('quantize', **QUANTIZE)
    assert status == 0, err
    assert os.path.join('.', 'quantize_results', 'quantize_eval_model.pb') in out and out.count('\n') == 1
    view = GraphView(read(workplace / 'quantize_results' / 'quantize_eval_model.pb'))
    fix_neurons = {name for name in view.names if view.op(name) == 'FixNeuron'}
    assert fix_neurons == {'input/aquant', 'weights/wquant', 'bias/wquant', 'relu/aquant'}
    assert 'WARNING' not in err and 'Instructions' not in err


def test_options_reach_the_model(command, workplace):
    status, _, err = command('quantize', weight_bit=6, activation_bit=12, nodes_bit='relu:5', output_dir='made/here',
                             ignore_nodes='', gpu='', **{key: QUANTIZE[key] for key in QUANTIZE if key != 'gpu'})
    assert status == 0, err
    view = GraphView(read(workplace / 'made' / 'here' / 'quantize_eval_model.pb'))
    bits = {name: view.attr(name, 'bit_width').i for name in view.names if view.op(name) == 'FixNeuron'}
    assert bits == {'input/aquant': 12, 'weights/wquant': 6, 'bias/wquant': 6, 'relu/aquant': 5}


def test_every_option_of_quantize_frozen_is_handed_on(command, calls):
    noted = calls('quantize_frozen', QuantizeResult('model.pb', None))
    given = dict(skip_check=1, fold_constant=0, add_shapes=0, keep_float_weight=0, fix_input_shape=1, output_format='onnx',
                 onnx_opset=11, include_fast_ft=1, fast_ft_mode=0, fast_ft_epochs=4, fast_ft_lr=0.25, fast_ft_lrcoef=2.0,
                 gpu_memory_fraction=0.75, effort='high')
    assert command('quantize', '--strict', '--report', **QUANTIZE, **given)[0] == 0
    (_, (graph_def, input_fn, config), options), = noted
    assert options == dict(given, strict=True, report=True, graph_path='float.pb')
    assert isinstance(graph_def, tf.GraphDef) and input_fn == 'calib_module.calib'
    assert (config.input_nodes, config.output_nodes, config.calib_iter) == (['input'], ['relu'], 3)


@pytest.mark.parametrize('missing, code', [
    ('input_frozen_graph', errors.INVALID_INPUT), ('input_nodes', errors.INVALID_CONFIG),
    ('output_nodes', errors.INVALID_CONFIG), ('input_fn', errors.INVALID_INPUT_FN)])
def test_a_missing_option_is_named(refused, missing, code):
    given = {key: value for key, value in QUANTIZE.items() if key != missing}
    proposed = ['inspect --input_frozen_graph float.pb'] if missing.endswith('_nodes') else []
    refused('quantize', words=[code, '--' + missing] + proposed, **given)
    refused('quantize', words=[code, '--' + missing], **dict(given, **{missing: ''}))


def test_the_shape_is_optional(command):
    given = {key: value for key, value in QUANTIZE.items() if key != 'input_shapes'}
    assert command('quantize', **given)[0] == 0


@pytest.mark.parametrize('change, code, words', [
    ({'input_frozen_graph': 'no.pb'}, errors.INVALID_INPUT, ['no.pb']),
    ({'input_frozen_graph': 'calib_module.py'}, errors.INVALID_INPUT, ['calib_module.py']),
    ({'input_frozen_graph': '.'}, errors.INVALID_INPUT, ['directory']),
    ({'input_frozen_graph': '/dev/zero'}, errors.INVALID_INPUT, ['device']),
    ({'input_nodes': 'inputs'}, errors.UNKNOWN_NODE, ['--input_nodes', "'inputs'", "did you mean 'input'?"]),
    ({'output_nodes': 'relu,rely'}, errors.UNKNOWN_NODE, ['--output_nodes', "'rely'", "'relu'"]),
    ({'ignore_nodes': 'konv'}, errors.UNKNOWN_NODE, ['--ignore_nodes', "'konv'", "'conv'"]),
    ({'nodes_bit': 'weight:8'}, errors.UNKNOWN_NODE, ['--nodes_bit', "'weight'", "'weights'"]),
    ({'nodes_method': 'zzz:1'}, errors.UNKNOWN_NODE, ['--nodes_method', "'zzz'"]),
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
    assert status == 0 and 'converted.pb' in out
    (_, (graph_def, config, datatype), options), = noted
    assert datatype == 3 and options == {'fold_constant': 0}
    assert isinstance(graph_def, tf.GraphDef) and config.output_nodes == ['relu']


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_meta_graphs(command, refused, calls, mode):
    noted = calls('quantize_meta_graph', result='made.meta')
    given = {'input_nodes': 'input', 'output_nodes': 'relu', 'mode': mode}
    refused('quantize', words=[errors.INVALID_INPUT, '--input_meta_graph'], **given)
    status, out, _ = command('quantize', input_meta_graph='x.meta', input_checkpoint='x.ckpt', **given)
    assert status == 0 and 'made.meta' in out
    (_, args, _), = noted
    assert args[:3] == (mode, 'x.meta', 'x.ckpt') and args[3].input_nodes == ['input']
    refused('quantize', input_meta_graph='x.meta', mode=mode, words=[errors.INVALID_CONFIG, '--input_nodes'])


def test_json_and_quiet(command, workplace):
    status, out, err = command('quantize', '--json', '-q', **QUANTIZE)
    assert (status, err) == (0, '')
    read = json.loads(out)
    assert read == json.loads((workplace / 'quantize_results' / 'quantize_summary.json').read_text())
    assert read['coverage']['quantized'] == ['conv'] and read['files']['model'] == './quantize_results/quantize_eval_model.pb'
    assert read['next_steps'][-1].endswith('analyze --input_frozen_graph ./quantize_results/quantize_eval_model.pb '
                                           '--float_graph float.pb --input_fn calib_module.calib')
    status, out, _ = command('inspect', '--json', input_frozen_graph='float.pb')
    assert status == 0 and json.loads(out)['inputs'] == [{'name': 'input', 'dtype': 'float(1)', 'shape': [-1, 8, 8, 3]}]
    status, out, _ = command('sensitivity', '--json', **QUANTIZE)
    assert status == 0 and len(json.loads(out)['tensors']) == 4
    status, out, _ = command('update', '--json', input_frozen_graph='quantize_results/quantize_eval_model.pb')
    assert status == 0 and 'is up to date' in json.loads(out)['text']


def test_verbose_tells_more(command):
    status, _, err = command('quantize', '-v', include_fast_ft=1, fast_ft_epochs=1, **QUANTIZE)
    assert status == 0 and 'Summary: ' in err
    levels = [line.split(': ')[1] for line in err.splitlines() if line.startswith('vai_q_tensorflow quantize: ')]
    assert levels and set(levels) == {'info'}, err
    assert tf.get_logger().level != tf.logging.INFO


def test_the_command_that_the_summary_proposes_works(command):
    import shlex
    status, _, err = command('quantize', **QUANTIZE)
    line, = [line for line in err.splitlines() if 'vai_q_tensorflow analyze' in line]
    words = shlex.split(line[line.index('vai_q_tensorflow analyze'):])
    status, out, err = command(*words[1:])
    assert status == 0 and '4 quantized tensors against float.pb' in out, err


# the other commands

def test_deploy(command, refused, calls):
    noted = calls('deploy_checkpoint', result='model.pb')
    given = {'input_nodes': 'input', 'output_nodes': 'relu'}
    refused('deploy', words=['--input_meta_graph'], **given)
    refused('deploy', input_meta_graph='x.meta', words=['--input_checkpoint'], **given)
    status, out, _ = command('deploy', input_meta_graph='x.meta', input_checkpoint='x.ckpt', **given)
    assert status == 0 and 'model.pb' in out and noted[0][1][:2] == ('x.meta', 'x.ckpt')


def test_update(command, refused, calls):
    noted = calls('update', result={'T': 3})
    refused('update', words=['--input_frozen_graph'])
    status, out, _ = command('update', input_frozen_graph='float.pb')
    assert status == 0 and noted == [('update', ('float.pb',), {})]
    assert 'float.pb is up to date; added T to 3 nodes' in out


def test_dump(command, refused, calls):
    noted = calls('dump')
    refused('dump', words=['--input_frozen_graph'])
    refused('dump', input_frozen_graph='float.pb', words=[errors.INVALID_INPUT_FN, '--input_fn'])
    status, out, _ = command('dump', input_frozen_graph='float.pb', input_fn='calib_module.calib', output_dir='out', gpu='-1',
                             max_dump_batches=2, dump_float=1, dump_input_tensors='input:0', arch_type='DPUCADF8H')
    assert status == 0 and 'out' in out
    (_, args, _), = noted
    assert set(args[1](0)) == {'input'} and args[2:] == (os.path.abspath('out'), 2, 1, 'input:0', 'DPUCADF8H')


def test_dump_as_xir_is_said_to_have_no_effect(command, calls):
    calls('update', result={'T': 3})
    status, _, err = command('update', '--dump_as_xir', input_frozen_graph='float.pb')
    assert (status, err) == (0, 'vai_q_tensorflow update: warning: --dump_as_xir has no effect\n')


def test_inspect_gives_a_command_that_works(command, workplace):
    import shlex
    status, out, _ = command('inspect', input_frozen_graph='float.pb')
    assert status == 0
    line = next(line for line in out.splitlines() if 'vai_q_tensorflow quantize' in line)
    words = [word.replace('MODULE.FUNCTION', 'calib_module.calib') for word in shlex.split(line)]
    assert command(*words[1:], calib_iter=2)[0] == 0
    assert (workplace / 'quantize_results' / 'quantize_eval_model.pb').exists()


def test_inspect_refuses(refused, workplace):
    refused('inspect', words=[errors.INVALID_INPUT, '--input_frozen_graph'])
    refused('inspect', input_frozen_graph='no.pb', words=[errors.INVALID_INPUT, 'no.pb'])
    broken = small_network()
    del next(node for node in broken.node if node.name == 'conv').input[1]
    (workplace / 'broken.pb').write_bytes(broken.SerializeToString())
    refused('inspect', input_frozen_graph='broken.pb', words=[errors.UNSUPPORTED_GRAPH, 'conv'])
    refused('inspect', input_frozen_graph='float.pb', target_type='DPUX', words=['DPUX', 'DPUCZDX8G'])
    refused('inspect', input_frozen_graph='float.pb', output_nodes='rely', words=[errors.UNKNOWN_NODE, 'rely', 'relu'])


@pytest.mark.parametrize('target', [{'target_bits': 5.5}, {'target_db': 60}, {}], ids=str)
def test_every_option_of_sensitivity_is_handed_on(command, calls, target):
    noted = calls('sensitivity', result=Sensitivity(1.0, 8.0, 2, ()))
    given = dict(sensitivity_iter=2, skip_check=1, fold_constant=0, gpu_memory_fraction=0.75)
    assert command('sensitivity', **QUANTIZE, **given, **target)[0] == 0
    (_, (graph_def, input_fn, config), options), = noted
    assert options == dict({'target_bits': None, 'target_db': None}, **given, **target)
    assert isinstance(graph_def, tf.GraphDef) and input_fn == 'calib_module.calib'
    assert (config.input_nodes, config.output_nodes, config.calib_iter) == (['input'], ['relu'], 3)


@pytest.mark.parametrize('target, bits', [
    ({'target_bits': 6}, {'weights/wquant': 6}),
    ({'target_db': 70}, {'input/aquant': 16, 'weights/wquant': 16, 'bias/wquant': 16, 'relu/aquant': 16})], ids=str)
def test_the_bits_that_sensitivity_prints_can_be_given_to_quantize(command, workplace, target, bits):
    status, out, err = command('sensitivity', **QUANTIZE, **target)
    assert status == 0 and 'WARNING' not in err, err
    lines = out.splitlines()
    assert lines[-1] == 'The report is {}'.format(os.path.join('.', 'quantize_results', 'sensitivity.json'))
    report = json.loads((workplace / 'quantize_results' / 'sensitivity.json').read_text())
    assert lines[-2] == '--nodes_bit ' + report['choice']['nodes_bit']
    assert '{:.2f} dB'.format(report['choice']['db']) in lines[-3]
    assert {line.split()[-1] for line in lines[4:8]} == {'input/aquant', 'weights/wquant', 'bias/wquant', 'relu/aquant'}
    assert command('quantize', *lines[-2].split(), **QUANTIZE)[0] == 0
    view = GraphView(read(workplace / 'quantize_results' / 'quantize_eval_model.pb'))
    found = {name: view.attr(name, 'bit_width').i for name in view.names if view.op(name) == 'FixNeuron'}
    assert {name: found[name] for name in bits} == bits


def test_what_cannot_be_reached_is_said(command, workplace):
    status, out, _ = command('sensitivity', target_db=300, **QUANTIZE)
    assert status == 0 and '300 dB cannot be reached: with 4 of 4 tensors at 16 bits' in out and '--nodes_bit' not in out
    status, out, _ = command('sensitivity', target_db=5, **QUANTIZE)
    assert status == 0 and 'No tensor has to stay at 16 bits for 5 dB.' in out and '--nodes_bit' not in out


@pytest.mark.parametrize('change, code, words', [
    ({'target_bits': 9}, errors.INVALID_CONFIG, ['target_bits', '4 to 8']),
    ({'target_bits': 6, 'target_db': 30}, errors.INVALID_CONFIG, ['target_bits', 'target_db']),
    ({'target_db': -3}, errors.INVALID_CONFIG, ['target_db']),
    ({'input_fn': ''}, errors.INVALID_INPUT_FN, ['--input_fn']),
    ({'input_frozen_graph': ''}, errors.INVALID_INPUT, ['--input_frozen_graph']),
    ({'output_nodes': 'rely'}, errors.UNKNOWN_NODE, ["'relu'"]),
    ({'output_dir': 'float.pb'}, errors.INVALID_CONFIG, ['output_dir'])], ids=str)
def test_what_sensitivity_refuses(refused, change, code, words, workplace):
    refused('sensitivity', words=[code] + words, **dict(QUANTIZE, **change))
    assert not (workplace / 'quantize_results' / 'sensitivity.json').exists()


# the same without stubs

def test_every_command_on_real_files(command, workplace):
    assert command('quantize', **QUANTIZE)[0] == 0
    model = os.path.join('quantize_results', 'quantize_eval_model.pb')
    status, out, err = command('dump', input_frozen_graph=model, input_fn='calib_module.calib', output_dir='dumped', gpu='-1')
    assert status == 0 and 'dumped' in out, err
    assert list((workplace / 'dumped').rglob('relu_aquant*'))
    graph_def = read(workplace / model)
    for node in graph_def.node:
        if node.op == 'FixNeuron':
            del node.attr['T']
    (workplace / model).write_bytes(graph_def.SerializeToString())
    status, out, err = command('update', input_frozen_graph=model)
    assert status == 0 and 'added T to 4 nodes' in out, err
    status, out, err = command('quantize', convert_datatype=2, **RANGE)
    assert status == 0 and 'converted_model_double.pb' in out, err
    status, out, err = command('inspect', input_frozen_graph=model)
    assert status == 0 and 'quantized already' in out, err


def test_training_and_deployment_of_meta_graphs(command, workplace):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 4], name='input')
        tf.nn.relu(tf.layers.dense(x, 3, name='dense'), name='out')
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(workplace / 'float.ckpt'))
    given = {'input_nodes': 'input', 'output_nodes': 'out', 'input_meta_graph': prefix + '.meta', 'input_checkpoint': prefix}
    status, out, err = command('quantize', mode='train', **given)
    assert status == 0 and 'quantize_train.ckpt.meta' in out, err
    status, out, err = command('quantize', mode='eval', **given)
    assert status == 0 and 'quantize_eval.ckpt.meta' in out, err
    status, _, err = command('deploy', **given)
    assert status == 1 and errors.MISSING_QUANTIZE_INFO in err


# GPUs, errors, interrupts

@pytest.mark.parametrize('arguments, visible', [
    ([], '7'), (['--gpu', ''], '7'), (['--gpu', '-1'], '-1'), (['--gpu', '1,2'], '1,2'), (['--gpu='], '7')])
def test_visible_gpus(command, calls, arguments, visible):
    calls('update', result={'T': 3})
    assert command('update', *arguments, input_frozen_graph='float.pb')[0] == 0
    assert os.environ['CUDA_VISIBLE_DEVICES'] == visible


def test_the_first_gpu_where_nothing_is_said(command, calls, monkeypatch):
    calls('update', result={'T': 3})
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    assert command('update', input_frozen_graph='float.pb')[0] == 0
    assert os.environ['CUDA_VISIBLE_DEVICES'] == '0'


@pytest.mark.parametrize('error, words, hint', [
    (QuantizeError('Code', 'Short', 'line 1\nline 2'), ['[Code][Short] line 1 line 2'], False),
    (PermissionError(13, 'Permission denied', 'x.pb'), [errors.INVALID_CONFIG, 'Permission denied', 'x.pb'], False),
    (RuntimeError('strange'), [errors.INTERNAL_ERROR, 'RuntimeError', 'strange'], True),
    (ValueError('odd\nvalue'), ['odd value'], True), (NameError('x'), ['NameError'], True),
    (MemoryError(), [errors.OUT_OF_MEMORY, 'MemoryError'], False),
    (tf.errors.ResourceExhaustedError(None, None, 'OOM'), [errors.OUT_OF_MEMORY, 'OOM'], False)])
def test_errors_are_one_line_with_a_traceback_on_demand(command, refused, calls, error, words, hint):
    calls('update', result=error)
    line = refused('update', input_frozen_graph='float.pb', words=words)
    assert ('--debug_mode 1' in line) == hint
    status, _, err = command('update', '--debug_mode', '1', input_frozen_graph='float.pb')
    assert status == 1 and 'Traceback' in err and type(error).__name__ in err
    assert 'error: ' in err.splitlines()[-1] and 'debug_mode' not in err.splitlines()[-1]
    tf.logging.set_verbosity(tf.logging.WARN)


def test_an_interrupt(command, calls):
    calls('update', result=KeyboardInterrupt())
    assert command('update', input_frozen_graph='float.pb') == (130, '', 'vai_q_tensorflow: interrupted\n')


class Full:
    def __init__(self, number):
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))

    def flush(self):
        pass


@pytest.mark.parametrize('command_name, number, status, code', [
    ('inspect', errno.ENOSPC, 1, errors.INVALID_CONFIG), ('inspect', errno.EPIPE, 0, ''), ('convert', errno.EPIPE, 0, ''),
    ('convert', errno.ENOSPC, 0, 'warning: stdout: No space left on device. The converted model is')])
def test_a_stdout_that_takes_nothing(workplace, monkeypatch, capsys, command_name, number, status, code):
    """What was written counts; `inspect` writes nothing else."""
    words = ['--{}={}'.format(*option) for option in dict(RANGE, gpu='-1').items()]
    words = ['inspect'] + words if command_name == 'inspect' else ['quantize', '--convert_datatype=2'] + words
    monkeypatch.setattr(sys, 'stdout', Full(number))
    assert cli.main(words) == status
    err = capsys.readouterr().err
    assert code in err and err.count('\n') == bool(code)


@pytest.mark.parametrize('arguments', [[], ['optimize'], ['quantize', '--unknown', '1'], ['quantize', '--input', 'x']])
def test_what_cannot_be_read_is_one_line(refused, arguments):
    refused(*arguments)


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(['quantize', '--help'])
    assert caught.value.code == 0 and '--input_frozen_graph' in capsys.readouterr().out


def test_a_custom_op_library(command, workplace):
    from vai_q_tf.ops import library
    assert command('inspect', input_frozen_graph='float.pb', custom_op_so='FixNeuron:' + library._PATH)[0] == 0


def test_an_op_that_needs_a_library(refused, workplace):
    graph_def = small_network()
    graph_def.node.add(name='mine', op='MyOp', input=['relu'])
    (workplace / 'float.pb').write_bytes(graph_def.SerializeToString())
    refused('quantize', words=[errors.UNSUPPORTED_OP, 'MyOp', "'mine'", 'custom_op_so'], **dict(QUANTIZE, output_nodes='mine'))


def test_the_shell_sees_status_output_and_errors(workplace):
    def shell(*arguments):
        code = 'import sys; from vai_q_tf.cli import main; sys.exit(main())'
        environment = {key: value for key, value in os.environ.items() if not key.startswith(('TF_', 'CUDA'))}
        root = os.path.dirname(os.path.dirname(os.path.abspath(cli.__file__)))
        return subprocess.run([sys.executable, '-c', code] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, env=dict(environment, PYTHONPATH=root))

    options = ['--{}={}'.format(*option) for option in QUANTIZE.items()]
    done = shell('quantize', *options)
    assert done.returncode == 0 and 'quantize_eval_model.pb' in done.stdout
    lines = done.stderr.splitlines()
    assert [line.partition(' in 0')[0] for line in lines[:6]] == [
        'Calibration: 3 batches', 'Calibration: done, 3 batches',
        'The effort is fast instead of standard: other efforts need 24 images of calibration data or more; there are 6.',
        'Analysis: done, 1 batch', 'Writing the model: done, 1 step',
        'Summary: 1 of 1 convolutions and matmuls are quantized, 0 of 4 ops stay float.'], done.stderr
    with tf.Graph().as_default() as graph:  # nothing on a CPU runs it, of which TensorFlow's runtime logs an error
        tf.raw_ops.MaxPool(input=tf.placeholder(tf.float32, [2, 8, 8, 3], name='input'), ksize=[1, 1, 2, 2],
                           strides=[1, 1, 2, 2], padding='VALID', data_format='NCHW', name='relu')
    (workplace / 'nchw.pb').write_bytes(graph.as_graph_def().SerializeToString())
    failed = shell('quantize', *options, '--input_frozen_graph=nchw.pb', '--gpu=-1')
    assert failed.returncode == 1 and failed.stdout == '' and failed.stderr.count('\n') == 1, failed.stderr
    assert '[Quantize_TF1_Unsupported_Graph]' in failed.stderr
    # TensorFlow's messages are for debugging; the level is set when it is imported already, and read when it logs first.
    traced = shell('quantize', *options, '--input_frozen_graph=nchw.pb', '--gpu=-1', '--debug_mode=1')
    assert traced.returncode == 1 and 'Traceback' in traced.stderr and 'tensorflow/core/' in traced.stderr
    assert 'tensorflow/core/' not in done.stderr + failed.stderr


def test_analyze(command, workplace):
    assert command('quantize', **QUANTIZE)[0] == 0
    model = os.path.join('quantize_results', 'quantize_eval_model.pb')
    status, out, err = command('analyze', input_frozen_graph=model, float_graph='float.pb', input_fn=QUANTIZE['input_fn'],
                               analyze_iter=2)
    assert status == 0 and 'WARNING' not in err, err
    lines = out.splitlines()
    assert lines[0] == '{}: 4 quantized tensors against float.pb, on 2 batches.'.format(model)
    assert lines[-1] == 'The report is {}'.format(os.path.join('.', 'quantize_results', 'analyze.json'))
    assert not any(line.startswith('Likely: ') for line in lines)
    (workplace / 'dark_images.py').write_text(
        'from calib_module import calib as right\n\n\ndef calib(step):\n    return {"input": right(step)["input"] / 255}\n')
    darker = command('analyze', input_frozen_graph=model, float_graph='float.pb', input_fn='dark_images.calib')[1].splitlines()
    assert darker[-2].startswith('Likely: input: these data have another range') and not darker[-3].startswith('Likely')
    assert len(json.loads((workplace / 'quantize_results' / 'analyze.json').read_text())['tensors']) == 4
    assert command('analyze', input_frozen_graph=model)[1].startswith('{}: 2 quantized tensors against the model'.format(model))


def test_what_analyze_refuses(refused, workplace):
    refused('analyze', words=[errors.INVALID_INPUT, '--input_frozen_graph'])
    refused('analyze', input_frozen_graph='float.pb', words=[errors.NOT_QUANTIZED])
    assert not (workplace / 'quantize_results').exists()
