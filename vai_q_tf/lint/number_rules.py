"""Lint rules about numbers: ops that the compiler accepts, but the DPU computes differently from TensorFlow.

A rule takes a LintGraph and yields (node name, message), as in `node_rules.py`.
"""
from typing import TYPE_CHECKING, Dict, List, Optional

from vai_q_tf.dpu import ADD_EXTRA_BITS, is_leaky_slope
from vai_q_tf.lint.lint_graph import Breaches, LintGraph, Rule, op_of, text, value_of
from vai_q_tf.lint.position_rules import ADDITIONS, operands, position_after, position_of

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

_RELU6_POSITION = 4  # the limit 6 is 96 steps there; at lower positions the hardware's limit is not 6


def _average_at_borders(graph: LintGraph) -> Breaches:
    """An average pool does not pad."""
    for node in graph.of_type('AvgPool'):
        sizes, strides = (_ints(node, name) for name in ('ksize', 'strides'))
        if text(node, 'padding') != 'SAME' or len(sizes) != 4 or len(strides) != 4:
            continue
        shape = graph.input_shape(node, 0) or [-1] * 4
        if len(shape) == 4 and any(map(_pads, shape[1:3], sizes[1:3], strides[1:3])):
            yield node.name, ('At the borders the DPU divides by the full window, but TensorFlow by the cells inside the '
                              'tensor. If the difference matters, write a Pad and a pool with VALID.')


def _pads(size: int, window: int, stride: int) -> bool:
    """Whether SAME adds cells along a dimension; False if that depends on an unknown size."""
    if window > stride > 0:
        return True
    return size > 0 and stride > 0 and (-(-size // stride) - 1) * stride + window > size


def _ints(node: 'tf.NodeDef', name: str) -> List[int]:
    return list(node.attr[name].list.i) if name in node.attr else []


def _leaky_relu_slope(graph: LintGraph) -> Breaches:
    """The slope of a leaky relu is 0.1."""
    for node in graph.nodes:
        slope = _slope(graph, node)
        if slope is not None and not is_leaky_slope(slope):
            yield node.name, ('The leaky relu of the DPU has the slope 26 / 256, but this one has {:g}. Train the network with '
                              'the slope 0.1, or compute this op outside the DPU.'.format(slope))


def _slope(graph: LintGraph, node: 'tf.NodeDef') -> Optional[float]:
    """The slope of a leaky relu, which may be written as max(a * x, x); None for another node."""
    if node.op == 'LeakyRelu':
        return node.attr['alpha'].f if 'alpha' in node.attr else 0.2
    for scaled, other in ((0, 1), (1, 0)) if node.op == 'Maximum' else ():
        product, data = graph.producer(node, scaled), graph.producer(node, other)
        if op_of(product) != 'Mul' or data is None:
            continue
        for index in (0, 1):
            values = value_of(graph.constant(graph.producer(product, index)))
            if graph.producer(product, 1 - index) is data and values is not None and len(values) == 1:
                return values[0] if isinstance(values[0], float) else None
    return None


def _relu6_limit(graph: LintGraph) -> Breaches:
    """The position of a Relu6 is 4 or more, so that the limit of the DPU is 6."""
    for node in graph.of_type('Relu6'):
        position = position_after(graph, node)
        if position is not None and position < _RELU6_POSITION:
            yield node.name, ('Below position {} the limit of the relu6 of the DPU is not 6, and the position here is {}. Use '
                              'a Relu, or reduce the range of the tensors that share this position.'.format(
                                  _RELU6_POSITION, position))


def _moved_integers(graph: LintGraph) -> Breaches:
    """A Reshape, Squeeze or ExpandDims has one position before and after."""
    for node in graph.of_type('Reshape', 'Squeeze', 'ExpandDims'):
        data, result = position_of(graph.producer(node, 0)), position_after(graph, node)
        if data is not None and result is not None and data != result:
            yield node.name, ('The hardware copies the integers here, but the positions before and after are {} and {}, so '
                              'the values change. Quantize with align_rule=least_error.'.format(data, result))


def _addition_bits(graph: LintGraph) -> Breaches:
    """The result of an addition needs no bits that the DPU cuts off its operands."""
    for node in graph.of_type(*ADDITIONS):
        inputs, result = operands(graph, node), position_after(graph, node)
        if inputs is None or result is None or max(inputs) - min(inputs) <= ADD_EXTRA_BITS:
            continue
        if result - min(inputs) >= ADD_EXTRA_BITS:
            yield node.name, ('The DPU adds operands of positions {} and {} at position {}, and cuts off bits that the result '
                              'at position {} needs. Quantize again: positions are then chosen so that nothing is lost.'.format(
                                  *inputs, min(inputs) + ADD_EXTRA_BITS, result))


RULES: Dict[str, Rule] = {
    'average-at-borders': _average_at_borders,
    'leaky-relu-slope': _leaky_relu_slope,
    'relu6-limit': _relu6_limit,
    'moved-integers': _moved_integers,
    'addition-bits': _addition_bits,
}
