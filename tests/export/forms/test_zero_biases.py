"""Dilated convolutions without a bias get one of zeros."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.support import run
from vai_q_tf import ops
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.export.finalize import finalize
from vai_q_tf.export.forms.zero_biases import add_zero_biases
from vai_q_tf.graph.view import GraphView
from vai_q_tf.lint.lint import lint
from vai_q_tf.passes import optimise
from vai_q_tf.passes.common.infer_shapes import infer_shapes
from vai_q_tf.plan.annotate import annotate


def _values(*shape):
    return np.random.RandomState(1).uniform(-1, 1, shape).astype(np.float32)


def _dilated(x):
    return tf.nn.convolution(x, tf.constant(_values(3, 3, 2, 4), name='weights'), 'SAME', dilation_rate=[2, 2])


def _depthwise(x):
    return tf.nn.depthwise_conv2d(x, tf.constant(_values(3, 3, 2, 3), name='weights'), [1] * 4, 'SAME', [2, 2])


def _model(build, position=5, shapes=True, **fields):
    """The evaluation model of y = build(x), with all positions equal."""
    with tf.Graph().as_default() as graph:
        tf.identity(build(tf.placeholder(tf.float32, [None, 8, 8, 2], name='x')), 'y')
    config = QuantizeConfig(['x'], ['y'], **fields)
    optimised = optimise(graph.as_graph_def(), config)
    plan = annotate(GraphView(optimised), config)
    noted = {node.name: list(node.attr['_output_shapes'].list.shape) for node in infer_shapes(optimised, (), config).node}
    return finalize(optimised, plan, {tensor.name: position for tensor in plan.tensors}, noted if shapes else {})


def _run(model):
    ops.load_library()
    result = 'y/aquant' if any(node.name == 'y/aquant' for node in model.node) else 'y'
    return run(model, [result], {'x': _values(3, 8, 8, 2)})[0]  # which also checks the noted shapes


@pytest.mark.parametrize('shapes', [True, False])
@pytest.mark.parametrize('build', [
    _dilated, _depthwise, lambda x: tf.nn.relu(_dilated(x)), lambda x: tf.nn.leaky_relu(_depthwise(x), 0.1),
    lambda x: tf.nn.relu(_dilated(_depthwise(x)[..., :2])), lambda x: (lambda y: tf.reshape(y, tf.shape(y)))(_dilated(x)),
    lambda x: (lambda y: tf.nn.relu(y) + y)(_dilated(x))])
def test_the_same_values(build, shapes):
    model = _model(build, shapes=shapes)
    biased = add_zero_biases(model)
    assert 'bias-after-batch-to-space' in {finding.rule for finding in lint(model)}
    assert not {finding.rule for finding in lint(biased)} - {'shape-of-unknown-op', 'no-ellipsis'}
    np.testing.assert_array_equal(_run(biased), _run(model))
    assert add_zero_biases(biased) is biased


@pytest.mark.parametrize('position, expected', [(5, 10), (-4, -8), (100, 126), (-100, -126)])
def test_names_and_positions(position, expected):
    nodes = {node.name: node for node in add_zero_biases(_model(lambda x: tf.nn.relu(_dilated(x)), position)).node}
    assert nodes['Relu'].input == ['convolution/BatchToSpaceND/BiasAdd']
    bias = nodes['convolution/BatchToSpaceND/biases/wquant']
    assert list(nodes['convolution/BatchToSpaceND/BiasAdd'].input) == ['convolution/BatchToSpaceND', bias.name]
    assert (bias.attr['quantize_pos'].i, bias.attr['bit_width'].i, bias.attr['mode'].i) == (expected, 8, 0)
    assert not tf.make_ndarray(nodes[bias.input[0]].attr['value'].tensor).any()


def test_bits_of_biases():
    model = _model(_dilated, bias_bit=16)
    bias, = (node for node in add_zero_biases(model, 16).node if node.name.endswith('/biases/wquant'))
    assert bias.attr['bit_width'].i == 16


@pytest.mark.parametrize('build, fields', [
    (lambda x: tf.nn.bias_add(_dilated(x), tf.constant(_values(4))), {}), (lambda x: _dilated(x) + tf.constant(_values(4)), {}),
    (lambda x: tf.nn.relu(_dilated(x)) * 2., {'ignore_nodes': ['convolution']}), (tf.nn.relu, {}),
    (lambda x: tf.batch_to_space_nd(tf.nn.relu(tf.space_to_batch_nd(x, [2], [[0, 0]])), [2], [[0, 0]]), {})])
def test_others_stay(build, fields):
    model = _model(build, **fields)
    assert add_zero_biases(model) is model
