"""Lint rules about positions: those of FixNeurons, and the shifts that follow from them.

A rule takes a LintGraph and yields (node name, message), as in `node_rules.py`. The shifts of an op are not checked if one of
the tensors around it is not quantized, or not clearly part of the op.
"""
from typing import Dict, Iterator, List, Optional, Set, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import MAX_ADD_SHIFT_READ, MAX_ADD_SHIFT_WRITE, MAX_MUL_SHIFT_WRITE, MAX_POOL_SHIFT, MAX_SHIFT
from vai_q_tf.fixed_point import MAX_BITS, POSITION_MAX, POSITION_MIN, POSITION_ZERO
from vai_q_tf.graph.traits import IDENTITY_OPS, MOVING_OPS, SPLIT_INPUTS
from vai_q_tf.lint.lint_graph import Breaches, LintGraph, Rule, data_inputs, integer, op_of

_DATA_INPUT = {'Conv2D': 0, 'DepthwiseConv2dNative': 0, 'Conv3D': 0, 'MatMul': 0, 'Conv2DBackpropInput': 2}
ADDITIONS = ('Add', 'AddV2')
_BIAS_OPS = ADDITIONS + ('BiasAdd',)
_ACTIVATIONS = ('Relu', 'Relu6', 'LeakyRelu')
_POOLS = ('MaxPool', 'AvgPool', 'Max')
# Ops that forward integers without a FixNeuron: {op: index of the input}.
_MOVES = {**dict.fromkeys(MOVING_OPS | IDENTITY_OPS, 0), **SPLIT_INPUTS}
_INSIDE = ('BatchToSpaceND', 'Squeeze', 'Reshape')  # between a weighted op and its bias


def _position_in_range(graph: LintGraph) -> Breaches:
    """A FixNeuron has a valid position and bit width."""
    for node in graph.of_type('FixNeuron'):
        position, bits = integer(node, 'quantize_pos'), integer(node, 'bit_width')
        if position == POSITION_ZERO:
            yield node.name, ('Position 127 means that all values were zero, and the hardware has no such position. Quantize '
                              'with data that reaches this node, or write the position of a neighbor.')
        elif position is not None and not POSITION_MIN <= position <= POSITION_MAX:
            yield node.name, 'The position {} is out of range; it must be from {} to {}. Quantize the network again.'.format(
                position, POSITION_MIN, POSITION_MAX)
        if bits is not None and not 1 <= bits <= MAX_BITS:
            yield node.name, 'The bit_width {} is out of range; it must be from 1 to {}. Quantize the network again.'.format(
                bits, MAX_BITS)


def _shift_cut(graph: LintGraph) -> Breaches:
    """The shift of the result of a weighted op is in the range of the hardware."""
    for node in graph.of_type(*_DATA_INPUT):
        for product, result, _ in _results(graph, node):
            if not 0 <= product - result <= MAX_SHIFT:
                yield node.name, ('The hardware shifts the result by weight + input - output = {} bits; it supports 0 to {}. '
                                  'Quantize with adjust_shift_cut=1.'.format(product - result, MAX_SHIFT))
                break


def _shift_bias(graph: LintGraph) -> Breaches:
    """The shift of a bias is in the range of the hardware."""
    for node in graph.of_type(*_DATA_INPUT):
        for product, result, bias in _results(graph, node):
            least = min(0, product - result - MAX_SHIFT)
            if bias is not None and not least <= product - bias <= MAX_SHIFT:
                yield node.name, ('The hardware shifts the bias by weight + input - bias = {} bits; it supports {} to {}. '
                                  'Quantize with adjust_shift_bias=1.'.format(product - bias, least, MAX_SHIFT))
                break


def _results(graph: LintGraph, node: tf.NodeDef) -> Iterator[Tuple[int, int, Optional[int]]]:
    """(position of the products, of a result, and of its bias or None) for each FixNeuron after a weighted op."""
    product = _product_position(graph, node)
    if product is None:
        return
    for last, bias in _computed_together(graph, node):
        for reader in graph.consumers[last.name]:
            result = position_of(reader)
            if result is not None:
                yield product, result, bias


def _product_position(graph: LintGraph, node: tf.NodeDef) -> Optional[int]:
    """The position of the products of a weighted op; None if its data or weights are not quantized."""
    weight = graph.producer(node, 1)
    weight = graph.producer(weight, 0) if op_of(weight) == 'Identity' else weight
    if not graph.is_quantized_constant(weight):
        return None
    data, scale = position_before(graph, node, _DATA_INPUT[node.op]), position_of(weight)
    return None if data is None or scale is None else data + scale


def _computed_together(graph: LintGraph, node: Optional[tf.NodeDef]) -> Iterator[Tuple[tf.NodeDef, Optional[int]]]:
    """(node, position of the bias added so far or None) for a weighted op and the ops computed together with it."""
    seen: Set[str] = set()
    bias: Optional[int] = None
    while node is not None and node.name not in seen:
        seen.add(node.name)
        if node.op in _BIAS_OPS:
            bias = _bias_position(graph, node)
        yield node, bias
        node = _next_inside(graph, node, bias)


def _next_inside(graph: LintGraph, node: tf.NodeDef, bias: Optional[int]) -> Optional[tf.NodeDef]:
    """The next op that is computed together with `node`; None without, or if that is not clear."""
    inside = [reader for reader in graph.consumers[node.name] if reader.op in _INSIDE + _ACTIVATIONS or (
        bias is None and reader.op in _BIAS_OPS and _bias_position(graph, reader) is not None)]
    return inside[0] if len(inside) == 1 else None


def _bias_position(graph: LintGraph, node: tf.NodeDef) -> Optional[int]:
    constants = [source for source in (graph.producer(node, 0), graph.producer(node, 1)) if graph.is_quantized_constant(source)]
    return position_of(constants[0]) if constants else None


def _addition_shifts(graph: LintGraph) -> Breaches:
    """The operands and the result of an addition have close positions."""
    for node in graph.of_type('AddN', *ADDITIONS):
        inputs, result = operands(graph, node), position_after(graph, node)
        if inputs is None:
            continue
        spread = max(inputs) - min(inputs)
        if spread > MAX_ADD_SHIFT_READ:
            yield node.name, ('The hardware shifts the operands to one position, by {} bits at most, but theirs are {} apart. '
                              'Quantize with align_rule=least_error.'.format(MAX_ADD_SHIFT_READ, spread))
        elif result is not None and abs(min(inputs) - result) > MAX_ADD_SHIFT_WRITE:
            yield node.name, _written(min(inputs) - result, -MAX_ADD_SHIFT_WRITE, MAX_ADD_SHIFT_WRITE)


def _multiplication_shifts(graph: LintGraph) -> Breaches:
    """The operands and the result of a multiplication have close positions."""
    for node in graph.of_type('Mul'):
        inputs, result = operands(graph, node), position_after(graph, node)
        if inputs is not None and result is not None and not 0 <= sum(inputs) - result <= MAX_MUL_SHIFT_WRITE:
            yield node.name, _written(sum(inputs) - result, 0, MAX_MUL_SHIFT_WRITE)


def _activation_shifts(graph: LintGraph) -> Breaches:
    """An activation function that is not fused has close positions before and after."""
    for node in graph.of_type(*_ACTIVATIONS):
        data, result = position_of(graph.producer(node, 0)), position_after(graph, node)
        if data is not None and result is not None and abs(data - result) > MAX_ADD_SHIFT_WRITE:
            yield node.name, _written(data - result, -MAX_ADD_SHIFT_WRITE, MAX_ADD_SHIFT_WRITE)


def _written(shift: int, least: int, most: int) -> str:
    return ('The hardware shifts the result by {} bits; it supports {} to {}. Give the tensors around it closer '
            'positions.'.format(shift, least, most))


def operands(graph: LintGraph, node: tf.NodeDef) -> Optional[List[int]]:
    """The positions of all inputs of an operation; None if one is unknown, or if there are fewer than two."""
    positions = [position_of(graph.producer(node, index)) for index in range(len(data_inputs(node)))]
    known = [position for position in positions if position is not None]
    return known if len(known) == len(positions) > 1 else None


def _pool_shifts(graph: LintGraph) -> Breaches:
    """A pool or maximum has close positions before and after."""
    for node in graph.of_type(*_POOLS):
        data, result = position_before(graph, node, 0), position_after(graph, node)
        if result is None and node.op == 'AvgPool':
            scales = [reader for reader in graph.consumers[node.name] if reader.op == 'Mul']
            result = position_after(graph, scales[0]) if len(scales) == 1 else None
        if data is not None and result is not None and abs(data - result) > MAX_POOL_SHIFT:
            yield node.name, ('The positions before and after a {} differ by {}; the hardware supports up to {}. {}'.format(
                'maximum over dimensions' if node.op == 'Max' else 'pool', abs(data - result), MAX_POOL_SHIFT,
                'Set closer positions.' if node.op == 'Max' else 'Quantize with align_pool=0.'))


def position_of(node: Optional[tf.NodeDef]) -> Optional[int]:
    """The position of a FixNeuron; None for another node, and for a position out of range."""
    position = integer(node, 'quantize_pos') if op_of(node) == 'FixNeuron' else None
    return position if position is not None and POSITION_MIN <= position <= POSITION_MAX else None


def position_before(graph: LintGraph, node: tf.NodeDef, index: int) -> Optional[int]:
    """The position of data input `index`, looked up through ops that forward integers; None if it is not quantized."""
    source, seen = graph.producer(node, index), set()
    while source is not None and source.op in _MOVES and source.name not in seen:
        seen.add(source.name)
        source = graph.producer(source, _MOVES[source.op])
    return position_of(source)


def position_after(graph: LintGraph, node: tf.NodeDef) -> Optional[int]:
    """The position of the FixNeuron that reads a node, or the relu after it; None without."""
    for _ in range(2):
        readers = graph.consumers[node.name]
        positions = [position_of(reader) for reader in readers if position_of(reader) is not None]
        if positions:
            return positions[0]
        if len(readers) != 1 or readers[0].op not in ('Relu', 'Relu6'):
            return None
        node = readers[0]
    return None


RULES: Dict[str, Rule] = {
    'position-in-range': _position_in_range,
    'shift-cut': _shift_cut,
    'shift-bias': _shift_bias,
    'addition-shifts': _addition_shifts,
    'multiplication-shifts': _multiplication_shifts,
    'activation-shifts': _activation_shifts,
    'pool-shifts': _pool_shifts,
}
