"""Activation functions that the hardware computes together with the preceding op."""
from typing import FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Set

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.combinators import Pattern, anything, either, find, number, op, same
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.types import NodeInput

RELU_OPS = frozenset(('Relu', 'Relu6'))


class Activation(NamedTuple):
    """An activation function.

    node: its result.
    source: the tensor that it is applied to.
    nodes: the nodes that it consists of.
    alpha: the Const with the slope of a leaky relu; '' if there is none or it is an attr.
    alpha_input: the input that reads alpha.
    """
    node: str
    source: str
    nodes: FrozenSet[str]
    alpha: str = ''
    alpha_input: Optional[NodeInput] = None


def _leaky() -> Pattern:
    alpha = number(name='alpha')
    maximum = op('Maximum', op('Mul', alpha, anything('source'), any_order=True, name='slope'), same('source'),
                 any_order=True)
    difference = op('Sub', op('Relu', anything('source')),
                    op('Mul', alpha, op('Relu', op('Neg', same('source'))), any_order=True, name='slope'))
    return either(maximum, difference)


_LEAKY = _leaky()


def hard_sigmoid(source: Pattern) -> Pattern:
    """The pattern of relu6(x + 3) / 6 and relu6(x + 3) * (1/6), where `source` is the pattern of x."""
    clipped = op('Relu6', op('Add|AddV2', source, number(3), any_order=True))
    return either(op('Mul', clipped, number(1 / 6), any_order=True), op('RealDiv', clipped, number(6)))


def find_activations(graph_range: GraphRange) -> List[Activation]:
    """The relu, relu6 and leaky relu functions of the range in graph order; no two of them share a node.

    Leaky relu is the op LeakyRelu, Maximum(alpha * x, x) or Relu(x) - alpha * Relu(-x), operands in any order; alpha is one
    number, of known or unknown value.

    >>> with tf.Graph().as_default() as graph:
    ...     x = tf.placeholder(tf.float32, [None, 4], name='x')
    ...     y = tf.maximum(tf.multiply(x, tf.constant(0.1, name='alpha'), name='scaled'), x, name='leaky')
    >>> activation, = find_activations(GraphRange(GraphView(graph.as_graph_def()), ['x'], ['leaky']))
    >>> activation.node, activation.source, sorted(activation.nodes)
    ('leaky', 'x', ['leaky', 'scaled'])
    >>> activation.alpha, activation.alpha_input
    ('alpha', ('scaled', 1))
    """
    found: List[Activation] = []
    taken: Set[str] = set()
    for name in graph_range.nodes:
        if graph_range.view.op(name) in ('Maximum', 'Sub') and _is_computed(graph_range, name):
            leaky = _leaky_relu(graph_range, name)
            if leaky:
                found.append(leaky)
                taken.update(leaky.nodes)
    for name in graph_range.nodes:
        op_type = graph_range.view.op(name)
        if op_type in RELU_OPS | {'LeakyRelu'} and name not in taken and _is_computed(graph_range, name):
            found.append(Activation(name, graph_range.source(graph_range.view.inputs(name)[0]), frozenset((name,))))
    return sorted(found, key=lambda activation: graph_range.view.order(activation.node))


def relu_after(view: GraphView, tensor: str, activations: Mapping[str, Sequence[Activation]]) -> Optional[Activation]:
    """The relu or relu6 that is applied to the tensor, or None.

    activations: {source tensor: Activations}.
    """
    return next((found for found in activations.get(tensor, ()) if view.op(found.node) in RELU_OPS), None)


def _is_computed(graph_range: GraphRange, name: str) -> bool:
    return (name not in graph_range.input_nodes and not graph_range.is_static(name)
            and graph_range.view.dtype(name) == tf.float32)


def _leaky_relu(graph_range: GraphRange, name: str) -> Optional[Activation]:
    view = graph_range.view
    match = find(view, name, _LEAKY)
    if not match:
        return None
    nodes = frozenset(node for node in match.nodes if view.op(node) != 'Const')
    for node in nodes - {name}:
        if graph_range.is_output(node) or any(reader not in nodes for reader, _ in graph_range.readers(node)):
            return None
    slope = match['slope']
    alpha = view.skip_identity(match['alpha'])
    index = [view.skip_identity(tensor) for tensor in view.inputs(slope)].index(alpha)
    return Activation(name, graph_range.source(match['source']), nodes, alpha, (slope, index))
