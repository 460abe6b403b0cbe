"""An Inspection as text and as JSON."""
import json

import numpy as np
import tensorflow.compat.v1 as tf

from tests.report.test_inspect import graph_def, network
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.coverage.node_status import FLOAT, FUSED, PASSED, QUANTIZED
from vai_q_tf.report.inspect import inspect
from vai_q_tf.report.inspect_text import quantize_command, to_json, to_text


def test_the_lines_of_vai_q_tensorflow():
    lines = to_text(inspect(graph_def(network)), 'float.pb').splitlines()
    assert lines[:3] == [
        'Op types used: 3 Const, 2 Conv2D, 1 BiasAdd, 1 Erf, 1 Identity, 1 MaxPool, 1 Placeholder, 1 Relu, 1 Softmax',
        'Found 1 possible inputs: (name=input, type=float(1), shape=[?,8,8,3])',
        'Found 1 possible outputs: (name=probabilities, op=Softmax)']


def test_an_input_of_unknown_rank():
    def build():
        tf.matmul(tf.placeholder(tf.float32, name='x'), tf.constant(np.ones((4, 2), np.float32)), name='y')
    result = inspect(graph_def(build))
    assert "Shape of 'x': its rank is not known; give --input_shapes." in to_text(result, 'x.pb').splitlines()
    assert '--input_shapes' not in quantize_command(result, 'x.pb')


def test_the_table_lines_up():
    result = inspect(graph_def(network))
    lines = to_text(result, 'x.pb').splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith('Name '))
    column = lines[start].index('Type')
    assert len(lines) == start + 2 + len(result.nodes)
    for line, node in zip(lines[start + 2:], result.nodes):
        assert line.startswith(node.name) and line[column:].startswith(node.op)
    floating = sum(node.status == FLOAT for node in result.nodes)
    assert '{} of {} ops stay float'.format(floating, len(result.nodes)) in lines[start - 1]
    assert all(node.status in (QUANTIZED, FUSED, PASSED, FLOAT) for node in result.nodes)


def test_devices_have_a_column():
    lines = to_text(inspect(graph_def(network), QuantizeConfig(target_type='DPUCZDX8G')), 'x.pb').splitlines()
    head = next(line for line in lines if line.startswith('Name '))
    erf = next(line for line in lines if line.startswith('erf '))
    assert head.split() == ['Name', 'Type', 'Device', 'Note'] and erf.split()[:4] == ['erf', 'Erf', 'CPU', 'float:']
    assert lines[lines.index(head) - 1].endswith(' ops run on the DPU.')


def test_a_loop_is_one_line():
    def build():
        x = tf.matmul(tf.placeholder(tf.float32, [None, 4], name='x'), tf.constant(np.ones((4, 4), np.float32)), name='y')
        _, x = tf.while_loop(lambda step, _: step < 3, lambda step, x: (step + 1, tf.nn.relu(2 * x)), [0, x], name='loop')
        tf.identity(x, name='out')
    lines = to_text(inspect(graph_def(build)), 'x.pb').splitlines()
    loop, = [line.split(None, 2) for line in lines if ' loop ' in line and 'in a loop: ' in line]
    assert loop[1] == 'loop' and '1 Mul' in loop[2] and '1 Relu' in loop[2]
    assert not any(line.startswith('loop/mul ') for line in lines)


def test_json_has_the_fields_of_the_inspection():
    inspection = inspect(graph_def(network))
    found = json.loads(to_json(inspection))
    assert set(found) == set(inspection._fields) and found['op_types']['Conv2D'] == 2
    assert found['inputs'] == [{'name': 'input', 'dtype': 'float(1)', 'shape': [-1, 8, 8, 3]}]
    assert found['outputs'] == [{'name': 'probabilities', 'op': 'Softmax'}]
    assert [node['name'] for node in found['nodes']] == [node.name for node in inspection.nodes]
