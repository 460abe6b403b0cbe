"""Runs the command in this process, on a small frozen network."""
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import cli
from vai_q_tf.commands import analyze, compare, deploy, dump, inspect, quantize, sensitivity, update

CALIB = '''
import numpy as np
def calib(iter):
    return {'input': np.random.RandomState(iter).uniform(-1, 1, (2, 8, 8, 3))}
def broken(iter):
    return {'inputs': 1}
def bug(iter):
    return {'input': undefined}
'''
# Options for the network.
RANGE = {'input_frozen_graph': 'float.pb', 'input_nodes': 'input', 'output_nodes': 'relu', 'input_shapes': '?,8,8,3'}
QUANTIZE = dict(RANGE, input_fn='calib_module.calib', calib_iter=3, gpu='-1')


def small_network():
    """GraphDef of a convolution with bias and relu after the placeholder 'input', with the output 'relu'."""
    random = np.random.RandomState(0)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], name='input')
        weights = tf.constant(random.uniform(-1, 1, (3, 3, 3, 4)), tf.float32, name='weights')
        y = tf.nn.conv2d(x, weights, 1, 'SAME', name='conv')
        y = tf.nn.bias_add(y, tf.constant([.1, .2, .3, .4], name='bias'), name='add')
        tf.nn.relu(y, name='relu')
        return graph.as_graph_def()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A working directory with `float.pb` and the module `calib_module`; variables and import paths are restored."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '7')
    monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', '2')
    monkeypatch.setattr(sys, 'path', list(sys.path))
    (tmp_path / 'float.pb').write_bytes(small_network().SerializeToString())
    (tmp_path / 'calib_module.py').write_text(CALIB)
    yield tmp_path
    sys.modules.pop('calib_module', None)


@pytest.fixture
def command(workplace, capsys):
    """Runs a command line, options as keywords; returns (status, stdout, stderr)."""
    def run(*arguments, **options):
        words = list(arguments)
        for name, value in options.items():
            words += ['--' + name, str(value)]
        status = cli.main(words)
        captured = capsys.readouterr()
        return status, captured.out, captured.err
    return run


@pytest.fixture
def refused(command):
    """Runs a command line that fails with one line on stderr, which has the words; returns the line."""
    def run(*arguments, words=(), **options):
        status, out, err = command(*arguments, **options)
        assert status == 1 and out == '', (status, out, err)
        assert err.count('\n') == 1 and err.startswith('vai_q_tensorflow') and ': error: ' in err, err
        assert all(word in err for word in words), err
        return err
    return run


@pytest.fixture
def calls(monkeypatch):
    """Replaces a function that a command calls by one that records its calls; returns the list of (name, args, kwargs)."""
    noted = []

    def stub(name, result='result'):
        def function(*args, **kwargs):
            noted.append((name, args, kwargs))
            if isinstance(result, BaseException):
                raise result
            return result
        commands = (analyze, compare, deploy, dump, inspect, quantize, sensitivity, update)
        modules = [module for module in commands if hasattr(module, name)]
        assert modules, name
        for module in modules:
            monkeypatch.setattr(module, name, function)
        return noted
    return stub
