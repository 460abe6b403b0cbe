"""Each rule about positions at the last position that is legal, and one step beyond."""
import pytest

from tests.lint.breaches import check_cases
from tests.lint.graphs import fix, graph, int_const, node, placeholder, quantized
from vai_q_tf.lint.lint import lint
from vai_q_tf.lint.position_rules import RULES


def source(position, name='in'):
    return [placeholder(name, 4, 4, 2), fix(name + '/aquant', name, position=position)]


def weighted(result, bias=None, op='Conv2D', data=3, weight=5, relu=True, between=(), add='BiasAdd', scale='w/wquant'):
    """A weighted op whose products have position data + weight."""
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


def operation(op, positions, result, relu=False):
    nodes = [source(position, 'in{}'.format(index)) for index, position in enumerate(positions)]
    names = ['in{}/aquant'.format(index) for index in range(len(positions))]
    last = [node('op', op, *names)] + ([node('relu', 'Relu', 'op')] if relu else [])
    return graph(*nodes, last, fix('y', last[-1].name, position=result))


def pool(op, data, result, scaled=False, moved=False):
    nodes = [node('flat', 'Reshape', 'in/aquant', 'to')] if moved else []
    nodes.append(node('op', op, 'flat' if moved else 'in/aquant'))
    if scaled:
        nodes += [quantized('s')[0], node('mul', 'Mul', 'op', 's')]
    return graph(source(data), int_const('to', 4, 8), nodes, fix('y', 'mul' if scaled else 'op', position=result))


def neuron(**attrs):
    return graph(source(3), fix('f', 'in', **attrs))


# rule: (graphs that break it once, node) and graphs that do not; positions at both ends of what is legal
CASES = {
    'position-in-range': (
        [(neuron(quantize_pos=127), 'f'), (neuron(quantize_pos=-127), 'f'), (neuron(quantize_pos=128), 'f'),
         (neuron(quantize_pos=-2**31), 'f'), (neuron(bit_width=0), 'f'), (neuron(bit_width=25), 'f'),
         (neuron(bit_width=-8), 'f')],
        [neuron(quantize_pos=126), neuron(quantize_pos=-126), neuron(bit_width=1), neuron(bit_width=24)]),
    'shift-cut': (
        [(weighted(9), 'c'), (weighted(-9), 'c'), (weighted(9, bias=8), 'c'), (weighted(9, relu=False), 'c'),
         (weighted(9, op='DepthwiseConv2dNative'), 'c'), (weighted(-9, op='Conv2DBackpropInput'), 'c'),
         (weighted(9, op='MatMul', scale='read'), 'c'), (weighted(9, between=('BatchToSpaceND',)), 'c'),
         (weighted(9, bias=8, between=('Squeeze',), add='Add'), 'c')],
        [weighted(8), weighted(-8), weighted(8, bias=8), weighted(-8, op='MatMul', scale='read'),
         weighted(8, bias=8, between=('BatchToSpaceND',)), weighted(8, op='Conv2DBackpropInput')]),
    'shift-bias': (
        [(weighted(8, bias=-9), 'c'), (weighted(-8, bias=9), 'c'), (weighted(8, bias=25), 'c'), (weighted(0, bias=17), 'c'),
         (weighted(8, bias=-9, add='Add'), 'c'), (weighted(8, bias=-9, between=('BatchToSpaceND',)), 'c')],
        [weighted(8, bias=-8), weighted(-8, bias=8), weighted(8, bias=24), weighted(0, bias=16),
         weighted(8, bias=24, add='Add')]),
    'addition-shifts': (
        [(operation('Add', (3, 19), 3), 'op'), (operation('AddV2', (19, 3), 3), 'op'),
         (operation('AddN', (3, 4, 19), 3), 'op'), (operation('Add', (3, 4), 19), 'op'),
         (operation('Add', (3, 4), -13), 'op'), (operation('Add', (3, 4), -13, True), 'op')],
        [operation('Add', (3, 18), 3), operation('AddN', (3, 4, 18), 3), operation('Add', (3, 4), 18),
         operation('Add', (3, 4), -12, True)]),
    'multiplication-shifts': (
        [(operation('Mul', (3, 4), 8), 'op'), (operation('Mul', (3, 4), -26), 'op'), (operation('Mul', (3, 4), 8, True), 'op')],
        [operation('Mul', (3, 4), 7), operation('Mul', (3, 4), -25)]),
    'activation-shifts': (
        [(operation('Relu', (3,), 19), 'op'), (operation('Relu6', (3,), -13), 'op'), (operation('LeakyRelu', (3,), 19), 'op')],
        [operation('Relu', (3,), 18), operation('LeakyRelu', (3,), -12)]),
    'pool-shifts': (
        [(pool('MaxPool', 3, 11), 'op'), (pool('MaxPool', 3, -5), 'op'), (pool('AvgPool', 3, 11), 'op'),
         (pool('AvgPool', 3, 11, scaled=True), 'op'), (pool('MaxPool', 3, 11, moved=True), 'op')],
        [pool('MaxPool', 3, 10), pool('AvgPool', 3, -4), pool('AvgPool', 3, 10, scaled=True)]),
}


@pytest.mark.parametrize('rule', sorted(RULES))
def test_a_breach_is_found_once_and_its_neighbours_are_not(rule):
    check_cases(CASES, RULES, rule)


def test_a_loop_of_moves_is_followed_once():
    turning = graph(node('a', 'Identity', 'b', _output_shapes=[[1]]), node('b', 'Identity', 'a', _output_shapes=[[1]]),
                    quantized('w'), node('c', 'Conv2D', 'a', 'w/wquant'), node('p', 'MaxPool', 'p'))
    assert not [finding for finding in lint(turning) if finding.rule in RULES]
