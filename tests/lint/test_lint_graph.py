"""LintGraph: producers, shapes and values of nodes, whatever is missing."""
import numpy as np
import pytest
import tensorflow as tf

from tests.lint.graphs import const, fix, graph, int_const, node, placeholder, quantized
from vai_q_tf.lint.lint_graph import LintGraph, describe, integer, op_of, output_shapes, text, value_of


def _graph():
    return LintGraph(graph(
        int_const('axis', 1), placeholder('in', 4),
        node('split', 'Split', '^in', 'axis', 'in', _output_shapes=[[None, 2], None]),
        quantized('w', 2, 3), node('dense', 'MatMul', 'split:1', 'w/wquant', '^in'), node('lost', 'Relu', 'gone'),
        node('far', 'Relu', 'split:7'), node('random', 'RandomUniform', 'axis')))


def _node(index, name):
    return next(found for found in index.nodes if found.name == name)


def test_producers_and_readers():
    index = _graph()
    dense = _node(index, 'dense')
    assert [op_of(index.producer(dense, number)) for number in (0, 1, -1, -2, 2, -3)] == [
        'Split', 'FixNeuron', 'FixNeuron', 'Split', '', '']
    assert op_of(index.producer(_node(index, 'lost'), 0)) == ''
    assert index.computed(dense, 1).name == 'w' and index.computed(dense, 0).name == 'split'
    assert [reader.name for reader in index.consumers['split']] == ['dense', 'far'] and not index.consumers['dense']
    assert [found.name for found in index.of_type('Relu', 'MatMul')] == ['dense', 'lost', 'far']


def test_constants():
    index = _graph()
    quantizer, weights, axis = (_node(index, name) for name in ('w/wquant', 'w', 'axis'))
    assert index.is_quantized_constant(quantizer) and not index.is_quantized_constant(weights)
    assert index.constant(quantizer) is weights and index.constant(weights) is weights
    assert index.constant(_node(index, 'dense')) is index.constant(None) is None
    assert [index.is_float_constant(found) for found in (quantizer, weights, axis, None)] == [True, True, False, False]


def test_nodes_that_depend_on_more_than_constants():
    index = _graph()
    assert {found.name for found in index.nodes if index.is_computed(found)} == {'in', 'split', 'dense', 'far'}
    assert not index.is_computed(None)


def test_shapes_of_inputs():
    index = _graph()
    dense = _node(index, 'dense')
    assert index.input_shape(_node(index, 'split'), 1) == [-1, 4]  # of a placeholder
    assert index.input_shape(dense, 0) is None  # an unknown rank
    assert index.input_shape(dense, 1) is None and index.input_shape(dense, 2) is None  # not in the file; no input
    assert index.input_shape(_node(index, 'far'), 0) is None  # no such output
    assert index.input_shape(_node(index, 'w/wquant'), 0) == [2, 3]  # of a Const
    assert output_shapes(_node(index, 'split')) == [[-1, 2], None]


def test_attrs():
    attrs = node('n', 'Op', bits=8, label='text', scale=0.5)
    assert (integer(attrs, 'bits'), integer(attrs, 'label'), integer(attrs, 'none')) == (8, None, None)
    assert (text(attrs, 'label'), text(attrs, 'none')) == ('text', '')
    attrs.attr['label'].s = b'\xff'
    assert text(attrs, 'label') == '\N{REPLACEMENT CHARACTER}'
    assert describe(fix('f', 'in')) == "the FixNeuron 'f'" and describe(None) == 'nothing'


@pytest.mark.parametrize('value, expected', [
    (np.int32([[1, 2], [3, 4]]), [1, 2, 3, 4]), (np.float32(0.5), [0.5]), (np.zeros(64, np.int32), [0] * 64),
    (np.zeros(65, np.int32), None), (np.zeros((2, 40), np.int32), None), (np.zeros((0, 2)), [])])
def test_values_of_small_constants(value, expected):
    assert value_of(node('c', 'Const', value=tf.make_tensor_proto(value))) == expected


def test_values_that_do_not_fit_their_shape():
    damaged = tf.make_tensor_proto(np.int32([1, 2, 3]))
    damaged.tensor_shape.dim[0].size = 2
    assert value_of(node('c', 'Const', value=damaged)) is None
    assert value_of(None) is None and value_of(node('c', 'Const')) is None
    assert value_of(const('c')) == [0.5]
