"""The environment, the answer and the errors of a command: one line with a code, and exit status 1."""
import errno
import json
import os
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

from tests.command_line.conftest import QUANTIZE, RANGE
from tests.support import read_graph
from vai_q_tf import cli, errors
from vai_q_tf.errors import QuantizeError


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


def test_verbose(command):
    status, _, err = command('quantize', '-v', include_fast_ft=1, fast_ft_epochs=1, **QUANTIZE)
    assert status == 0 and 'Summary: ' in err
    levels = [line.split(': ')[1] for line in err.splitlines() if line.startswith('vai_q_tensorflow quantize: ')]
    assert levels and set(levels) == {'info'}, err
    assert tf.get_logger().level != tf.logging.INFO


def test_dump_as_xir_has_no_effect(command, calls):
    calls('update', result={'T': 3})
    status, _, err = command('update', '--dump_as_xir', input_frozen_graph='float.pb')
    assert (status, err) == (0, 'vai_q_tensorflow update: warning: --dump_as_xir has no effect\n')


def test_every_command_on_real_files(command, workplace):
    assert command('quantize', **QUANTIZE)[0] == 0
    model = os.path.join('quantize_results', 'quantize_eval_model.pb')
    status, out, err = command('dump', input_frozen_graph=model, input_fn='calib_module.calib', output_dir='dumped', gpu='-1')
    assert status == 0 and 'dumped' in out, err
    assert list((workplace / 'dumped').rglob('relu_aquant*'))
    graph_def = read_graph(workplace / model)
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


@pytest.mark.parametrize('arguments, visible', [
    ([], '7'), (['--gpu', ''], '7'), (['--gpu', '-1'], '-1'), (['--gpu', '1,2'], '1,2'), (['--gpu='], '7')])
def test_visible_gpus(command, calls, arguments, visible):
    calls('update', result={'T': 3})
    assert command('update', *arguments, input_frozen_graph='float.pb')[0] == 0
    assert os.environ['CUDA_VISIBLE_DEVICES'] == visible


def test_the_first_gpu_by_default(command, calls, monkeypatch):
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
def test_a_stdout_that_cannot_be_written(workplace, monkeypatch, capsys, command_name, number, status, code):
    """The files that were written count; `inspect` writes none."""
    words = ['--{}={}'.format(*option) for option in dict(RANGE, gpu='-1').items()]
    words = ['inspect'] + words if command_name == 'inspect' else ['quantize', '--convert_datatype=2'] + words
    monkeypatch.setattr(sys, 'stdout', Full(number))
    assert cli.main(words) == status
    err = capsys.readouterr().err
    assert code in err and err.count('\n') == bool(code)


def test_a_custom_op_library(command, refused):
    from vai_q_tf.ops import library
    assert command('inspect', input_frozen_graph='float.pb', custom_op_so='FixNeuron:' + library._PATH)[0] == 0
    refused('inspect', input_frozen_graph='float.pb', custom_op_so='NoSuchOp:' + library._PATH,
            words=[errors.INVALID_CONFIG, 'Cannot load', 'NoSuchOp'])


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
        'The effort is fast instead of standard: other efforts need 48 images of calibration data or more; there are 6.',
        'Analysis: done, 1 batch', 'Writing the model: done, 1 step',
        'Summary: 1 of 1 convolutions and matmuls are quantized, 0 of 4 ops stay float.'], done.stderr
    with tf.Graph().as_default() as graph:  # no CPU kernel supports it, and TensorFlow's runtime logs an error
        tf.raw_ops.MaxPool(input=tf.placeholder(tf.float32, [2, 8, 8, 3], name='input'), ksize=[1, 1, 2, 2],
                           strides=[1, 1, 2, 2], padding='VALID', data_format='NCHW', name='relu')
    (workplace / 'nchw.pb').write_bytes(graph.as_graph_def().SerializeToString())
    failed = shell('quantize', *options, '--input_frozen_graph=nchw.pb', '--gpu=-1')
    assert failed.returncode == 1 and failed.stdout == '' and failed.stderr.count('\n') == 1, failed.stderr
    assert '[Quantize_TF1_Unsupported_Graph]' in failed.stderr
    # TensorFlow's messages are for debugging; the level is set after its import, but read when it first logs.
    traced = shell('quantize', *options, '--input_frozen_graph=nchw.pb', '--gpu=-1', '--debug_mode=1')
    assert traced.returncode == 1 and 'Traceback' in traced.stderr and 'tensorflow/core/' in traced.stderr
    assert 'tensorflow/core/' not in done.stderr + failed.stderr
