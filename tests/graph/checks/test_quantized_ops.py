"""Graphs that count as quantized already, and the error at each entry point."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import function

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.frozen.load import load_float_graph
from vai_q_tf.graph.checks.quantized_ops import quantizing_nodes, require_unquantized
from vai_q_tf.graph.view import GraphView
from vai_q_tf.integrations.functions import CreateQuantizeTrainingGraph
from vai_q_tf.ptq.convert import convert_datatype
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.report.bits.sensitivity import sensitivity
from vai_q_tf.report.inspect import inspect

OTHERS = ('QuantizeV2 Dequantize QuantizedConv2D QuantizedConv2DWithBiasAndReluAndRequantize QuantizedMatMul QuantizedRelu '
          'QuantizedConcat Requantize RequantizationRange QuantizeDownAndShrinkRange FakeQuantWithMinMaxArgs '
          'FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel QuantizeAndDequantize QuantizeAndDequantizeV2 '
          'QuantizeAndDequantizeV4 FixNeuron VaiFixNeuron VaiScaledFixNeuron _MklQuantizedMaxPool UniformQuantize').split()
FLOAT = 'Conv2D BoostedTreesMakeQuantileSummaries Round Cast Bucketize Relu6'.split()


def test_the_ops():
    graph_def = tf.GraphDef(node=[tf.NodeDef(name=op, op=op) for op in OTHERS + FLOAT])
    view = GraphView(graph_def)
    assert quantizing_nodes(view, view.names) == {op: [op] for op in OTHERS}


@pytest.mark.parametrize('inner', ['QuantizeV2', 'Relu'])
def test_functions_that_functions_call(inner):
    graph_def = tf.GraphDef(node=[tf.NodeDef(name='call', op='outer'), tf.NodeDef(name='relu', op='Relu')])
    for name, op in (('outer', 'inner'), ('inner', inner)):
        function = graph_def.library.function.add()
        function.signature.name = name
        function.node_def.add(name='node', op=op)
    view = GraphView(graph_def)
    assert quantizing_nodes(view, view.names) == ({'QuantizeV2': ['call']} if inner == 'QuantizeV2' else {})


def fake(x, name):
    return tf.quantization.fake_quant_with_min_max_vars(x, -1.0, 1.0, name=name)


def in_function(x, name):
    @function.Defun(tf.float32)
    def rounded(x):
        return fake(x, 'inside')
    result = rounded(x, name=name)
    result.set_shape(x.shape)
    return result


def build(before=None, weights=None, after=None, later=None):
    x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='x')
    x = tf.identity(before(x, 'odd') if before else x, 'in')
    w = tf.constant(np.random.RandomState(0).normal(0, .3, (1, 1, 3, 2)), tf.float32, name='w')
    y = tf.nn.relu(tf.nn.conv2d(x, weights(w, 'odd') if weights else w, 1, 'SAME'))
    y = tf.identity(after(y, 'odd') if after else y, 'out')
    if later:
        later(y, 'odd')


def graph_def(**parts):
    with tf.Graph().as_default() as graph:
        build(**parts)
        return graph.as_graph_def()


def config(tmp_path):
    return QuantizeConfig(['in'], ['out'], output_dir=str(tmp_path), calib_iter=1)


def images(step):
    return {'x': np.random.RandomState(step).rand(2, 4, 4, 3)}


@pytest.mark.parametrize('way', [
    lambda graph, config: quantize_frozen(graph, images, config, effort='fast'),
    lambda graph, config: convert_datatype(graph, config, 1), lambda graph, config: sensitivity(graph, images, config),
    lambda graph, config: load_float_graph(graph, config.output_nodes, config.input_nodes)],
    ids=['quantize', 'convert', 'sensitivity', 'load'])
@pytest.mark.parametrize('parts', [dict(weights=fake), dict(after=fake), dict(after=in_function)],
                         ids=['weights', 'value', 'function'])
def test_ops_in_the_range_must_not_quantize(tmp_path, way, parts):
    with pytest.raises(errors.QuantizeError) as raised:
        way(graph_def(**parts), config(tmp_path))
    assert raised.value.code == errors.ALREADY_QUANTIZED
    assert all(word in str(raised.value) for word in ("1 FakeQuantWithMinMaxVars ('odd')", 'float graph', 'contrib.quantize'))
    assert not list(tmp_path.iterdir())


def test_ops_outside_of_the_range_may_quantize(tmp_path):
    assert quantize_frozen(graph_def(before=fake, later=fake), images, config(tmp_path), effort='fast')


def test_a_live_graph(tmp_path):
    with tf.Graph().as_default():
        build(after=fake)
        with pytest.raises(errors.QuantizeError) as raised:
            CreateQuantizeTrainingGraph(config=config(tmp_path))
    assert raised.value.code == errors.ALREADY_QUANTIZED and "'odd'" in str(raised.value)


@pytest.mark.parametrize('given', [False, True])
def test_inspect_says_so(tmp_path, given):
    found = inspect(graph_def(weights=fake), config(tmp_path) if given else None)
    assert len(found.notes) == 1 and 'FakeQuantWithMinMaxVars' in found.notes[0] and found.plan is None


def test_a_long_list_is_counted():
    nodes = [tf.NodeDef(name='{}{}'.format(op, number), op=op) for op in OTHERS[:6] for number in range(3)]
    view = GraphView(tf.GraphDef(node=nodes))
    with pytest.raises(errors.QuantizeError) as raised:
        require_unquantized(view, view.names)
    assert "3 QuantizeV2 ('QuantizeV20', ...)" in str(raised.value) and 'and 6 of other types' in str(raised.value)
