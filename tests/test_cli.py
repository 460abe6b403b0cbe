"""The command without TensorFlow: help, version, options, errors, and its streams in a shell."""
import os
import re
import subprocess
import sys
import warnings

import pytest
import tensorflow as tf

import vai_q_tf
from vai_q_tf import cli, errors
from vai_q_tf.command_line import supervision
from vai_q_tf.command_line.parse import parse

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIGHT = '''
import contextlib, sys
from vai_q_tf import cli
for words in (['--version'], ['quantize', '--help'], [], ['paint'], ['--unknown'], ['quantize', '--calib_iter', 'x'],
              ['quantize', '--nodes_bit', 'a:99'], ['inspect', '--target_type', 'x'], ['quantize', '--calib_iter']):
    with contextlib.suppress(SystemExit):
        cli.main(words)
heavy = {name.partition('.')[0] for name in sys.modules}.intersection(('tensorflow', 'numpy', 'pkg_resources'))
assert not heavy, heavy
import vai_q_tf
assert 'quantize_frozen' in dir(vai_q_tf) and 'tensorflow' not in sys.modules
from vai_q_tf.hooks.keras_callback import QuantizeCallback
import vai_q_tf.qat.metagraph
assert vai_q_tf.QuantizeCallback is QuantizeCallback and vai_q_tf.qat.metagraph is vai_q_tf.integrations.metagraph
try:
    vai_q_tf.no_such_name
except AttributeError as error:
    assert 'no_such_name' in str(error)
'''


def shell(line, **variables):
    """Runs a line of a shell in which `command` is the command; the status of a pipe is that of its first part."""
    line = 'set -o pipefail; command() {{ {} -m vai_q_tf "$@"; }}; {}'.format(sys.executable, line)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(('LC_', 'LANG', 'PYTHON'))}
    return subprocess.run(['bash', '-c', line], env=dict(environment, PYTHONPATH=ROOT, **variables), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)


def test_tensorflow_is_not_imported_before_it_is_needed():
    done = subprocess.run([sys.executable, '-c', LIGHT], env=dict(os.environ, PYTHONPATH=ROOT), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stderr
    assert re.match(r'Vai_q_tensorflow \S+ build for Tensorflow 1\.15\.5\nusage: vai_q_tensorflow quantize ', done.stdout)
    lines = [line for line in done.stderr.splitlines() if line.startswith('vai_q_tensorflow: error: [Quantize_TF1_')]
    assert len(lines) == 7


@pytest.mark.parametrize('line, status, err', [
    ('command --version >/dev/full', 1, 'No space left on device'), ('command --version >&-', 1, 'closed'),
    ('command --help >/dev/full', 1, 'No space left on device'), ('command --help | head -0', 0, ''),
    ('command --nothing 2>&-', 1, ''), ('command --nothing 2>/dev/full', 1, ''), ('command --version <&- 2>&-', 0, '')])
def test_streams_that_cannot_be_written(line, status, err):
    done = shell(line)
    assert done.returncode == status
    message = done.stderr.decode()
    assert message.count('\n') == bool(err) and err in message and ('[' + errors.INVALID_CONFIG + ']' in message) == bool(err)


def test_version(capsys):
    assert cli.main(['--version']) == 0
    assert capsys.readouterr().out == 'Vai_q_tensorflow {} build for Tensorflow {}\n'.format(
        vai_q_tf.__version__, tf.__version__)


def test_an_interrupt(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt
    monkeypatch.setattr('vai_q_tf.command_line.parse.parse', interrupt)
    assert cli.main(['inspect']) == 130 and capsys.readouterr() == ('', 'vai_q_tensorflow: interrupted\n')


@pytest.mark.parametrize('arguments', [
    [], ['optimize'], ['quantize', '--unknown', '1'], ['quantize', '--input', 'x'], ['deploy'],
    ['quantize', '--input_frozen_graph', 'a.pb']])
def test_an_error_is_one_line(capsys, arguments):
    assert cli.main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and err.startswith('vai_q_tensorflow') and ': error: [Quantize_TF1_' in err


def test_tensorflow_that_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'vai_q_tf.command_line.run', None)
    monkeypatch.delattr('vai_q_tf.command_line.run', raising=False)
    assert cli.main(['inspect', '--input_frozen_graph', 'a.pb']) == 1
    assert 'vai_q_tensorflow inspect: error: [{}][Cannot import]'.format(errors.MISSING_LIBRARY) in capsys.readouterr().err


def test_only_a_process_of_the_command_is_supervised(monkeypatch):
    monkeypatch.setattr(supervision, 'is_possible', lambda: True)
    monkeypatch.setattr(supervision, 'supervise', lambda load, options: 10 + load()())
    monkeypatch.setattr(cli, '_prepare_process', lambda: None)
    monkeypatch.setattr(cli, '_load', lambda options: lambda: len(options.command))
    monkeypatch.setattr(sys, 'argv', ['vai_q_tensorflow', 'update'])
    assert cli.main(['inspect']) == 7 and cli.main() == 16
    monkeypatch.setattr(supervision, 'is_possible', lambda: False)
    assert cli.main() == 6


@pytest.mark.parametrize('arguments, filters', [([], 1), (['--verbose'], 0), (['--debug_mode', '1'], 0)])
def test_warnings_about_the_code_of_tensorflow(arguments, filters):
    with warnings.catch_warnings():
        warnings.resetwarnings()
        cli._load(parse(['inspect'] + arguments))
        assert len(warnings.filters) == filters
