"""Each rule about positions at the last position that is legal, and one step beyond."""
import pytest

from tests.lint.breaches import check_cases
from tests.lint.graphs import fix, graph, int_const, node, placeholder, quantized
from vai_q_tf.lint.lint import lint
from vai_q_tf.lint.position_rules import RULES


def source(position, name='in'):
    return [placeholder(name, 4, 4, 2), fix(name + '/aquant', name, position=position)]


def weighted(result, bias=None, op='Conv2D', data=3, weight=5, relu=True, between=(), add='BiasAdd', scale='w/wquant'):
    """A weighted op with products at position data + weight."""
    reads = ('in/aquant', scale) if op != 'Conv2DBackpropInput' else ('crops', scale, 'in/aquant')
    nodes, last = [node('c', op, *reads)], 'c'
    for kind in between:
        nodes.append(node(kind, kind, last, 'crops', 'crops'))
        last = kind
    if bias is not None:
        nodes += quantized('b', quantize_pos=bias) + [node('bias', add, last, 'b/wquant')]
        last = 'bias'
    if relu:
        nodes.append(node('relu', 'Relu', last))
        last = 'relu'
    return graph(source(data), int_const('crops', 0), quantized('w', quantize_pos=weight),
                 node('read', 'Identity', 'w/wquant', _output_shapes=[[2]]), nodes, fix('y', last, position=result))


def also(graph_def, *nodes):
    return graph(list(graph_def.node), *nodes)


def operation(op, positions, result, relu=False):
    nodes = [source(position, 'in{}'.format(index)) for index, position in enumerate(positions)]
    names = ['in{}/aquant'.format(index) for index in range(len(positions))]
    last = [node('op', op, *names)] + ([node('relu', 'Relu', 'op')] if relu else [])
    return graph(*nodes, last, fix('y', last[-1].name, position=result))


def pool(op, data, result, scaled=False, moved='', others=()):
    reads = {'Split': ('to', 'in/aquant'), 'SplitV': ('in/aquant', 'to', 'to')}.get(moved, ('in/aquant', 'to'))
    nodes = [node('moved', moved, *reads)] if moved else []
    nodes.append(node('op', op, 'moved' if moved else 'in/aquant'))
    if scaled:
        nodes += [quantized('s')[0], node('mul', 'Mul', 'op', 's')]
    return graph(source(data), int_const('to', 4, 8), nodes, *others, fix('y', 'mul' if scaled else 'op', position=result))


def followed(*ops):
    """A pool with ops between it and a FixNeuron of a position that is too far away."""
    names = ('op',) + ops
    return graph(source(3), node('op', 'MaxPool', 'in/aquant'), [node(op, op, name) for op, name in zip(ops, names)],
                 fix('y', names[-1], position=11))


def neuron(**attrs):
    return graph(source(3), fix('f', 'in', **attrs))


# rule: (graphs that break it once, node) and graphs that do not; positions at both ends of what is legal
CASES = {
    'position-in-range': (
        [(neuron(quantize_pos=127), 'f'), (neuron(quantize_pos=-127), 'f'), (neuron(quantize_pos=128), 'f'),
         (neuron(quantize_pos=-2**31), 'f'), (neuron(bit_width=0), 'f'), (neuron(bit_width=25), 'f'),
         (neuron(bit_width=-8), 'f'), (weighted(127), 'y')],
        [neuron(quantize_pos=126), neuron(quantize_pos=-126), neuron(bit_width=1), neuron(bit_width=24)]),
    'shift-cut': (
        [(weighted(9), 'c'), (weighted(-9), 'c'), (weighted(9, bias=8), 'c'), (weighted(9, relu=False), 'c'),
         (weighted(9, op='DepthwiseConv2dNative'), 'c'), (weighted(-9, op='Conv2DBackpropInput'), 'c'),
         (weighted(9, op='MatMul', scale='read'), 'c'), (weighted(9, between=('BatchToSpaceND',)), 'c'),
         (weighted(9, between=('Reshape',)), 'c'), (weighted(9, bias=8, between=('Squeeze',), add='Add'), 'c'),
         (weighted(-9, bias=8), 'c'),
         (also(weighted(9, bias=8), fix('c/aquant', 'c', position=9), fix('bias/aquant', 'bias', position=-9)), 'c')],
        [weighted(8), weighted(-8), weighted(8, bias=8), weighted(-8, op='MatMul', scale='read'),
         weighted(8, bias=8, between=('BatchToSpaceND',)), weighted(8, op='Conv2DBackpropInput'),
         # Two activation functions; computed weights; a second addition; one of an activation: not one layer.
         also(weighted(9), node('other', 'Relu', 'c')), weighted(9, op='MatMul', scale='in/aquant'),
         also(weighted(8, bias=8, relu=False), quantized('k'), node('sum', 'Add', 'bias', 'k/wquant'),
              fix('z', 'sum', position=9)),
         also(weighted(8, relu=False), node('sum', 'Add', 'c', 'in/aquant'), fix('z', 'sum', position=9))]),
    'shift-bias': (
        [(weighted(8, bias=-9), 'c'), (weighted(-8, bias=9), 'c'), (weighted(8, bias=25), 'c'), (weighted(0, bias=17), 'c'),
         (weighted(8, bias=-9, add='Add'), 'c'), (weighted(8, bias=-9, relu=False), 'c'),
         (weighted(8, bias=-9, between=('BatchToSpaceND',)), 'c'),
         (also(weighted(8, bias=-9), fix('bias/aquant', 'bias', position=8)), 'c')],
        [weighted(8, bias=-8), weighted(-8, bias=8), weighted(8, bias=24), weighted(0, bias=16),
         weighted(8, bias=24, add='Add')]),
    'addition-shifts': (
        [(operation('Add', (3, 19), 3), 'op'), (operation('AddV2', (19, 3), 3), 'op'),
         (operation('AddN', (3, 4, 19), 3), 'op'), (operation('Add', (3, 4), 19), 'op'),
         (operation('Add', (3, 4), -13), 'op'), (operation('Add', (3, 4), -13, True), 'op')],
        [operation('Add', (3, 18), 3), operation('AddN', (3, 4, 18), 3), operation('Add', (3, 4), 18),
         operation('Add', (3, 4), -12, True),
         also(operation('Relu', (3,), 3), source(19, 'in1'), node('sum', 'AddN', 'in0/aquant', 'in1/aquant', 'in0')),
         graph(node('op', 'Add'), node('sum', 'AddN'))]),
    'multiplication-shifts': (
        [(operation('Mul', (3, 4), 8), 'op'), (operation('Mul', (3, 4), -26), 'op'), (operation('Mul', (3, 4), 8, True), 'op')],
        [operation('Mul', (3, 4), 7), operation('Mul', (3, 4), -25)]),
    'activation-shifts': (
        [(operation('Relu', (3,), 19), 'op'), (operation('Relu6', (3,), -13), 'op'), (operation('LeakyRelu', (3,), 19), 'op')],
        [operation('Relu', (3,), 18), operation('LeakyRelu', (3,), -12)]),
    'pool-shifts': (
        [(pool('Max', 3, 11), 'op'),
         (pool('MaxPool', 3, 11), 'op'), (pool('MaxPool', 3, -5), 'op'), (pool('AvgPool', 3, 11), 'op'),
         (pool('AvgPool', 3, 11, scaled=True), 'op'), *[(pool('MaxPool', 3, 11, moved=op), 'op') for op in (
             'Identity', 'SpaceToBatchND', 'BatchToSpaceND', 'Reshape', 'Squeeze', 'ExpandDims', 'Transpose', 'Pad', 'PadV2',
             'MirrorPad', 'StridedSlice', 'DepthToSpace', 'Split', 'SplitV', 'Unpack')],
         (followed('Relu'), 'op'), (followed('Relu6'), 'op')],
        [pool('MaxPool', 3, 10), pool('Max', 3, -4), pool('AvgPool', 3, -4), pool('AvgPool', 3, 10, scaled=True),
         pool('MaxPool', 3, 11, scaled=True), pool('AvgPool', 3, 11, scaled=True, others=[node('another', 'Mul', 'op', 's')]),
         pool('MaxPool', 3, 11, moved='Neg'), followed('Relu', 'Relu6'), also(followed('Relu'), node('another', 'Neg', 'op'))]),
}


@pytest.mark.parametrize('rule', sorted(RULES))
def test_a_breach_is_found_once_and_its_neighbours_are_not(rule):
    check_cases(CASES, RULES, rule)


def test_a_loop_of_moves_is_followed_once():
    turning = graph(node('a', 'Identity', 'b', _output_shapes=[[1]]), node('b', 'Identity', 'a', _output_shapes=[[1]]),
                    quantized('w'), node('c', 'Conv2D', 'a', 'w/wquant'), node('p', 'MaxPool', 'p'))
    assert not [finding for finding in lint(turning) if finding.rule in RULES]
    inside = graph(source(3), quantized('w'), node('c', 'Conv2D', 'in/aquant', 'w/wquant'),
                   node('a', 'BatchToSpaceND', 'c', 'b', 'w'), node('b', 'Reshape', 'a', 'w'))
    assert not [finding for finding in lint(inside) if finding.rule in RULES]


@pytest.mark.parametrize('breach, words', [
    (neuron(quantize_pos=127), 'means that all values were zero'), (neuron(quantize_pos=-127), 'must be from -126 to 126'),
    (operation('Add', (4, 3), 19), 'by -16 bits; it supports -15 to 15.'),
    (operation('Mul', (3, 4), 8), 'by -1 bits; it supports 0 to 32.'),
    (weighted(-9, bias=9), '= 17 bits; it supports 0 to 16.')])
def test_figures(breach, words):
    message, = (finding.message for finding in lint(breach) if finding.rule in RULES and finding.rule != 'shift-bias')
    assert words in message
