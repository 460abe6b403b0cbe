"""Networks with calls of TensorFlow functions in any place: the calls stay float, all else is quantized as usual."""
import numpy as np
import onnxruntime
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.eager.function import defun
from tensorflow.python.framework.function import Defun

from tests.ptq.networks import value
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.frozen.load import load_graph
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.report.inspect import inspect


@Defun(tf.float32, func_name='gate')
def gate(x):
    return x * tf.sigmoid(x)


@Defun(tf.float32, func_name='gates')
def gates(x):
    return gate(x) - gate(-x)


@Defun(tf.float32, func_name='parts')
def parts(x):
    return tf.cast(x > 0, tf.int32), tf.nn.relu(x)


@Defun(tf.float32, func_name='unused')
def unused(x):
    return x


def conv(x, name):
    kernel = np.random.RandomState(len(name)).normal(0, .3, (3, 3, 4, 4)).astype(np.float32)
    return tf.nn.conv2d(x, tf.constant(kernel), 1, 'SAME', name=name)


def one(x):
    return gate(x)


def nested(x):
    return gates(x)


def partitioned(x):
    return defun(lambda x: tf.nn.relu(x) + .5)(x)


def two_outputs(x):
    signs, values = parts(x)
    return values * tf.cast(signs, tf.float32)


def gradient(x):
    return tf.gradients(gate(x), x)[0]


def in_a_branch(x):
    return tf.cond(tf.reduce_sum(x) > -1e9, lambda: gate(x), lambda: x)


def in_a_loop(x):
    return tf.while_loop(lambda turn, _: turn < 2, lambda turn, y: (turn + 1, gate(y)), [0, x], [
        tf.TensorShape([]), tf.TensorShape(None)])[1]


CALLS = [one, nested, partitioned, two_outputs, gradient, in_a_branch, in_a_loop]


def graph_of(call, place):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 4], 'x')
        x = tf.identity(call(x) if place == 'before' else x, name='start')
        x = conv(x, 'conv')
        x = call(x) if place == 'inside' else x
        x = tf.reduce_mean(conv(tf.ensure_shape(x, [None, 8, 8, 4]), 'second'), [1, 2], keepdims=True, name='mean')
        x = conv(x, 'out')
        tf.identity(call(x) if place == 'after' else x, name='result')
        unused.add_to_graph(graph)
        return graph.as_graph_def()


def quantize(graph_def, tmp_path, **options):
    config = QuantizeConfig(['start'], ['out'], calib_iter=2, output_dir=str(tmp_path))
    return quantize_frozen(graph_def, lambda step: batch(step), config, **options)


def batch(step):
    return {'x': np.random.RandomState(step).uniform(-1, 1, (8, 8, 8, 4)).astype(np.float32)}


def names(graph_def):
    return {function.signature.name for function in graph_def.library.function}


@pytest.mark.parametrize('call, place', [(call, 'inside') for call in CALLS] + [(one, 'before'), (one, 'after')])
def test_the_network_around_a_call_is_quantized(call, place, tmp_path):
    graph_def = graph_of(call, place)
    model = load_graph(quantize(graph_def, tmp_path, include_fast_ft=int(place == 'inside'), fast_ft_epochs=1))
    quantized = {node.name for node in model.node if node.op == 'FixNeuron'}
    assert {'start/aquant', 'conv/aquant', 'second/aquant', 'mean/mul/aquant', 'out/aquant'} <= quantized
    assert names(model) == names(graph_def) - {'unused'} and (call is in_a_loop or names(model))
    expected, found = value(graph_def, 'result', batch(9)), value(model, 'result', batch(9))
    assert 0 < np.square(found - expected).sum() < 0.05 * np.square(expected).sum()


def test_a_call_in_the_range_has_its_reason():
    config = QuantizeConfig(['start'], ['out'])
    for call, name in ((one, 'gate'), (two_outputs, 'parts'), (partitioned, 'PartitionedCall'), (gradient, 'SymbolicGradient')):
        calls = [node for node in inspect(graph_of(call, 'inside'), config).nodes if node.op == name]
        assert [node.status for node in calls] == ['float'], name
        assert 'it is a call of a TensorFlow function' in calls[0].detail


def test_a_call_on_constants_becomes_a_constant(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 4], 'start')
        kernel = gate(tf.constant(np.random.RandomState(0).normal(0, .3, (3, 3, 4, 4)).astype(np.float32)), name='kernel')
        kernel.set_shape([3, 3, 4, 4])
        tf.nn.conv2d(x, kernel, 1, 'SAME', name='out')
        graph_def = graph.as_graph_def()
    config = QuantizeConfig(['start'], ['out'], calib_iter=1, output_dir=str(tmp_path))
    model = load_graph(quantize_frozen(graph_def, lambda step: {'start': batch(step)['x']}, config))
    assert not names(model) and 'kernel/wquant' in [node.name for node in model.node]


@pytest.mark.parametrize('call', [nested, gradient])
def test_functions_in_onnx(call, tmp_path):
    graph_def = graph_of(call, 'inside')
    model = load_graph(quantize(graph_def, tmp_path))
    path = quantize(graph_def, tmp_path, output_format='onnx')
    found = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider']).run(None, {'start:0': batch(9)['x']})[0]
    np.testing.assert_array_equal(found, value(model, 'out/aquant', batch(9)))
