"""Rules about weighted ops and constants, each on the smallest graphs that break it."""
import pytest

from tests.lint.breaches import check_breach
from tests.lint.graphs import const, conv, fix, graph, int_const, node, quantized
from tests.lint.obeying import INPUT
from vai_q_tf.lint.weight_rules import RULES

# rule, graph that breaks it once, node it is broken at
BREAKING = [
    ('quantized-weights', graph(INPUT, const('w'), node('c', 'Conv2D', 'in/aquant', 'w')), 'c'),
    ('quantized-weights', graph(INPUT, const('w'), node('read', 'Identity', 'w', _output_shapes=[[1]]),
                                fix('w/wquant', 'read'),
                                node('c', 'DepthwiseConv2dNative', 'in/aquant', 'w/wquant')), 'c'),
    ('quantized-weights', graph(INPUT, quantized('w'), node('read', 'Identity', 'w/wquant', _output_shapes=[[1]]),
                                int_const('sizes', 1),
                                node('c', 'Conv2DBackpropInput', 'sizes', 'read', 'in/aquant')), 'c'),
    ('quantized-bias', graph(INPUT, conv('c', 'in/aquant', bias=False), const('b'), node('bias', 'BiasAdd', 'c', 'b')),
     'bias'),
    ('bias-behind-weighted-op', graph(INPUT, conv('c', 'in/aquant', bias=False), fix('c/aquant', 'c'), quantized('b'),
                                      node('bias', 'BiasAdd', 'c/aquant', 'b/wquant')), 'bias'),
    ('bias-behind-weighted-op', graph(INPUT, int_const('crops', 0),
                                      node('batch', 'BatchToSpaceND', 'in', 'crops', 'crops'), quantized('b'),
                                      node('bias', 'BiasAdd', 'batch', 'b/wquant')), 'bias'),
    ('batch-norm-as-mul-and-add', graph(INPUT, quantized('scale'), quantized('b'),
                                        node('mul', 'Mul', 'in/aquant', 'scale/wquant'),
                                        node('bias', 'BiasAdd', 'mul', 'b/wquant')), 'bias'),
    ('batch-norm-as-mul-and-add', graph(INPUT, const('scale'), quantized('b'), node('mul', 'Mul', 'in/aquant', 'scale'),
                                        node('add', 'Add', 'mul', 'b/wquant')), 'mul'),
    ('batch-norm-as-mul-and-add', graph(INPUT, quantized('scale'), const('b'),
                                        node('mul', 'Mul', 'in/aquant', 'scale/wquant'),
                                        node('add', 'AddV2', 'b', 'mul')), 'add'),
    ('one-fix-neuron-per-constant', graph(INPUT, quantized('k'), fix('k/again', 'k')), 'k'),
    ('one-fix-neuron-per-constant', graph(INPUT, quantized('k'), node('m', 'Maximum', 'in/aquant', 'k')), 'k'),
    ('one-bias-add-per-bias', graph(INPUT, conv('c', 'in/aquant'), conv('d', 'in/aquant', bias=False),
                                    node('d/biasadd', 'BiasAdd', 'd', 'c/b/wquant')), 'c/b/wquant'),
    ('one-weighted-op-per-weight', graph(INPUT, conv('c', 'in/aquant', bias=False),
                                         node('d', 'Conv2D', 'in/aquant', 'c/w/wquant')), 'c/w/wquant'),
    ('quantized-before-residual-add', graph(INPUT, conv('c', 'in/aquant', bias=False),
                                            node('add', 'Add', 'c', 'in/aquant')), 'add'),
    ('quantized-before-residual-add', graph(INPUT, conv('c', 'in/aquant', 'DepthwiseConv2dNative', bias=False),
                                            node('add', 'AddV2', 'in/aquant', 'c')), 'add'),
]


@pytest.mark.parametrize('rule, breaking, where', BREAKING)
def test_a_breach_is_found_once_and_explained(rule, breaking, where):
    check_breach(rule, breaking, where)


def test_every_rule_is_broken_by_some_graph():
    assert {rule for rule, _, _ in BREAKING} == set(RULES)
