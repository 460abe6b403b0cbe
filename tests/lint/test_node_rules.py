"""Rules about single nodes, each on the smallest graphs that break it."""
import pytest

from tests.lint.breaches import check_breach
from tests.lint.graphs import fix, graph, int_const, node, placeholder
from tests.lint.obeying import INPUT, SHAPES, concat, parameter
from vai_q_tf.lint.node_rules import RULES


def without(attr, changed):
    """`changed` without one attr."""
    del changed.attr[attr]
    return changed


def with_library(graph_def):
    function = graph_def.library.function.add()
    function.signature.name = 'helper'
    return graph_def


def packed_axis():
    axis = int_const('axis')
    axis.attr['value'].tensor.tensor_content = b'\3\0\0\0'
    return axis


# rule, graph that breaks it once, node it is broken at
BREAKING = [
    ('no-function-library', with_library(graph(INPUT)), ''),
    ('plain-inputs', graph(INPUT, node('r', 'Relu', 'in/aquant', '^in')), 'r'),
    ('plain-inputs', graph(INPUT, node('r', 'Relu', 'in/aquant:0')), 'r'),
    ('fix-neuron-attrs', graph(INPUT, fix('f', 'in', gradient='clipped')), 'f'),
    ('fix-neuron-attrs', graph(INPUT, fix('f', 'in', phase=2)), 'f'),
    ('fix-neuron-attrs', graph(INPUT, without('phase', fix('f', 'in'))), 'f'),
    ('fix-neuron-attrs', graph(INPUT, without('quantize_pos', fix('f', 'in'))), 'f'),
    ('fix-neuron-attrs', graph(INPUT, without('bit_width', fix('f', 'in'))), 'f'),
    ('placeholder-shape', graph(node('in', 'Placeholder')), 'in'),
    ('placeholder-shape', graph(node('in', 'Placeholder', shape=None)), 'in'),
    ('placeholder-shape', graph(placeholder('in', None, 4, 2)), 'in'),
    ('placeholder-shape', graph(placeholder('in', 4, 2)), 'in'),
    ('fix-neuron-attrs', graph(INPUT, fix('f', 'in', mode=3)), 'f'),
    ('fix-neuron-attrs', graph(INPUT, fix('f', 'in', method=-1)), 'f'),
    ('fix-neuron-attrs', graph(INPUT, fix('f', 'in', bit_width='8')), 'f'),
    ('no-batch-norm-op', graph(INPUT, node('bn', 'FusedBatchNorm', 'in')), 'bn'),
    ('no-batch-norm-op', graph(INPUT, node('bn', 'FusedBatchNormV3', 'in', _output_shapes=SHAPES)), 'bn'),
    ('shape-of-unknown-op', graph(INPUT, node('t', 'Tan', 'in/aquant')), 't'),
    ('shape-of-unknown-op', graph(INPUT, node('t', 'Tan', 'in/aquant', _output_shapes=[None])), 't'),
    ('shape-before-split', graph(INPUT, int_const('axis', 3), node('s', 'Split', 'axis', 'in/aquant', num_split=1)), 's'),
    ('shape-before-split', graph(INPUT, node('u', 'Unpack', 'in/aquant')), 'u'),
    ('constant-parameters', parameter('Mean')[1], 'op'),
    ('constant-parameters', parameter('Pad')[1], 'op'),
    ('constant-parameters', parameter('Transpose')[1], 'op'),
    ('constant-parameters', parameter('StridedSlice', 3)[1], 'op'),
    ('constant-parameters', concat(node('axis', 'Neg', 'in', _output_shapes=[[]])), 'cat'),
    ('concat-axis', concat(packed_axis()), 'cat'),
]


@pytest.mark.parametrize('rule, breaking, where', BREAKING)
def test_a_breach_is_found_once_and_explained(rule, breaking, where):
    check_breach(rule, breaking, where)


def test_every_rule_is_broken_by_some_graph():
    assert {rule for rule, _, _ in BREAKING} == set(RULES)
