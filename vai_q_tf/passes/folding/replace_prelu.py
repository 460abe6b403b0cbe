"""Recognizes leaky relus in all forms, and writes PReLUs, with a slope for each channel, in a form that the DPU computes."""
from typing import AbstractSet, Collection, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import is_leaky_slope
from vai_q_tf.graph.traits import ADD_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.changed_parameter import change_parameter
from vai_q_tf.passes.common.parameters import computed_floats, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node
from vai_q_tf.patterns.combinators import anything, either, find, number, op, same
from vai_q_tf.types import NodeInput


class _Prelu(NamedTuple):
    """relu(x) + factor * (the product of the slopes) * min(x, 0).

    source: x. positive: relu(x), '' in a maximum. clipped: relu(-x), '' if the network has none.
    slopes: the inputs (node, index) that read the slopes, parameters. nodes: the computed nodes, without `positive`.
    """
    source: str
    positive: str
    clipped: str
    factor: float
    slopes: Tuple[NodeInput, ...]
    nodes: Tuple[str, ...]


def replace_prelu(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with a form that the DPU's compiler supports in place of leaky relus and PReLUs made of several float32 ops.

    Recognised are relu(x) + a * n and relu(x) - a * n in any order, where n is relu(-x), x - |x|, x - relu(x) or min(x, 0),
    possibly with signs and factors (1, 2, 1/2 and quotients) in between, max(a * x, x), and where(x > 0, x, a * x).

    A maximum or a choice with a single slope from 0 to 1 becomes a LeakyRelu, and so does a sum with the slope of the DPU's.
    Other maxima and choices stay. Other sums become relu(x) + relu(-x) * c: their slopes may be trained, so the form must not
    depend on the values. New operands are `<sum>/positive`, `<sum>/negative`, `<sum>/negative/relu` and
    `<sum>/negative/mul`; for the name of c see `change_parameter`.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(replace_prelu, lambda x: tf.maximum(0.1 * x, x), attrs=['alpha'])
    Maximum(Mul(0.1, x), x)
    LeakyRelu(x, alpha=0.1)
    >>> print_before_and_after(replace_prelu, lambda x: tf.nn.relu(x) - [0.1, 0.2] * tf.nn.relu(-x), [-1, 2])
    Sub(Relu(x), Mul([0.1, 0.2], Relu(Neg(x))))
    Add(Relu(x), Mul(Relu(Neg(x)), Mul([0.1, 0.2], -1)))
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    for name in computed_floats(view, ('Add', 'AddV2', 'Sub', *_CHOOSING_OPS), static):
        prelu = (_maximum if view.op(name) in _CHOOSING_OPS else _sum)(rewriter, name, static)
        if not prelu or _widens(view, name, prelu.source):
            continue
        slope = _slope(rewriter, prelu)
        if slope is not None and (is_leaky_slope(slope) or (not prelu.positive and 0 < slope < 1)):
            new = make_node('LeakyRelu', name, [prelu.source], like=rewriter.node(name), T=tf.float32, alpha=slope)
            rewriter.inherit_sources(new, name, *_dropped(rewriter, name, prelu))
            rewriter.add(new)
        elif prelu.positive and len(prelu.slopes) < 2 and not _is_written(view, name, prelu):
            _write_sum(rewriter, name, prelu)
    return rewriter.result()


def _widens(view: GraphView, name: str, source: str) -> bool:
    """Whether the slopes are known to broadcast the result to another shape."""
    shapes = view.shape(name), view.shape(source)
    return None not in shapes and shapes[0] != shapes[1]


def _maximum(rewriter: Rewriter, name: str, static: AbstractSet[str]) -> Optional[_Prelu]:
    """The _Prelu of max(a * x, x) or where(x > 0, x, a * x), or None."""
    view, choice = rewriter.view, find(rewriter.view, name, _CHOICE)
    left, right = view.inputs(name)[-2:]
    orders = ((left, right), (right, left)) if view.op(name) == 'Maximum' else ()
    for scaled, source in ((choice['scaled'], choice['x']),) if choice else orders:
        product = view.skip_identity(scaled)
        index = _parameter(view, product, static) if view.op(product) == 'Mul' else None
        if index is not None and view.skip_identity(view.inputs(product)[1 - index]) == view.skip_identity(source):
            return _Prelu(source, '', '', 1.0, ((product, index),), (product,) + choice.nodes[1:] if choice else (product,))
    return None


def _sum(rewriter: Rewriter, name: str, static: AbstractSet[str]) -> Optional[_Prelu]:
    """The _Prelu of a sum or difference, or None."""
    view, operands = rewriter.view, rewriter.view.inputs(name)
    for positive, negative in (operands, operands[::-1])[:1 if view.op(name) == 'Sub' else 2]:
        relu = find(view, positive, _POSITIVE)
        if relu is None:
            continue
        part = _negative_part(rewriter, negative, static)
        if part and view.skip_identity(part.source) == view.skip_identity(relu['x']):
            factor = -part.factor if view.op(name) == 'Sub' else part.factor
            return part._replace(source=relu['x'], positive=positive, factor=factor)
    return None


_CHOOSING_OPS = ('Maximum', 'Select', 'SelectV2')
_ZERO = number(0)
_CHOICE = op('Select|SelectV2', op('Greater|GreaterEqual', anything('x'), _ZERO), same('x'), anything('scaled'))
# Numbers that belong to the form. Others are taken for slopes, since they may have been variables.
_FACTORS = (0.5, 1.0, 2.0)
_NEGATED = either(op('Neg', anything('x')), op('Mul', anything('x'), number(-1), any_order=True))
_POSITIVE = either(op('Relu', anything('x')), op('Maximum', anything('x'), _ZERO, any_order=True))
# Multiples of min(x, 0), each with its factor.
_MINIMA = ((op('Relu', _NEGATED, name='clipped'), -1.0),
           (op('Sub', anything('x'), op('Abs', same('x'))), 2.0),
           (op('Sub', anything('x'), op('Relu', same('x'))), 1.0),
           (op('Minimum', anything('x'), _ZERO, any_order=True), 1.0))


def _negative_part(rewriter: Rewriter, tensor: str, static: AbstractSet[str]) -> Optional[_Prelu]:
    """The _Prelu, without `positive`, of a tensor that is a multiple of min(x, 0), or None."""
    view, factor = rewriter.view, 1.0
    slopes: List[NodeInput] = []
    nodes: List[str] = []
    while True:
        tensor = view.skip_identity(tensor)
        minimum = _minimum(view, tensor, static)
        if minimum:
            return minimum._replace(factor=factor * minimum.factor, slopes=tuple(slopes), nodes=tuple(nodes) + minimum.nodes)
        product = _product(rewriter, tensor, static)
        if not product:
            return None
        nodes.append(node_name(tensor))
        slopes.extend(product.slopes)
        factor, tensor = factor * product.factor / product.divisor, product.operand


def _minimum(view: GraphView, tensor: str, static: AbstractSet[str]) -> Optional[_Prelu]:
    """The _Prelu of a tensor that is one of _MINIMA, or None."""
    for pattern, factor in _MINIMA:
        match = find(view, tensor, pattern)
        if match:
            return _Prelu(match['x'], '', match.get('clipped'), factor, (), tuple(
                node for node in match.nodes if node not in static))
    return None


class _Product(NamedTuple):
    """operand * factor / divisor * (the slopes, inputs (node, index))."""
    operand: str
    factor: float = 1.0
    divisor: float = 1.0
    slopes: Tuple[NodeInput, ...] = ()


def _product(rewriter: Rewriter, tensor: str, static: AbstractSet[str]) -> Optional[_Product]:
    """The _Product of a tensor that is a multiple of another one, or None."""
    view, operands = rewriter.view, rewriter.view.inputs(tensor)
    if view.op(tensor) == 'Neg':
        return _Product(operands[0], factor=-1.0)
    index = _parameter(view, tensor, static)
    if index is None:
        return None
    number_read = _single(rewriter.value(operands[index]))
    if view.op(tensor) == 'Mul':
        if number_read is not None and abs(number_read) in _FACTORS:
            return _Product(operands[1 - index], factor=number_read)
        return _Product(operands[1 - index], slopes=((node_name(tensor), index),))
    if view.op(tensor) == 'RealDiv' and index == 1 and number_read:
        return _Product(operands[0], divisor=number_read)
    return None


def _parameter(view: GraphView, name: str, static: AbstractSet[str]) -> Optional[int]:
    """The index of the parameter among two inputs of which the other one is computed; None for other nodes."""
    fixed = [node_name(tensor) in static for tensor in view.inputs(name)]
    return fixed.index(True) if sorted(fixed) == [False, True] else None


def _single(value: Optional[np.ndarray]) -> Optional[float]:
    """The only number of a scalar or vector; None for other arrays and for an unknown value."""
    return float(value) if value is not None and value.size == 1 and value.ndim <= 1 else None


def _slope(rewriter: Rewriter, prelu: _Prelu) -> Optional[float]:
    """The slope if it is a single, known number; None otherwise."""
    values = [rewriter.value(rewriter.view.inputs(node)[index]) for node, index in prelu.slopes]
    if any(value is None or value.size != 1 for value in values):
        return None
    return prelu.factor * float(np.prod(values))


def _dropped(rewriter: Rewriter, name: str, prelu: _Prelu) -> List[str]:
    """The inner nodes that only the PReLU reads."""
    inner = prelu.nodes + ((node_name(rewriter.view.skip_identity(prelu.positive)),) if prelu.positive else ())
    dropped = {name}
    for node in inner:  # readers first
        if rewriter.is_read_only_by(node, dropped):
            dropped.add(node)
    return [node for node in inner if node in dropped]


def _is_written(view: GraphView, name: str, prelu: _Prelu) -> bool:
    """Whether the PReLU already is relu(x) + relu(-x) * c."""
    return (view.op(view.skip_identity(prelu.positive)) == 'Relu' and prelu.clipped != '' and view.op(name) in ADD_OPS
            and len(prelu.nodes) == 3 and view.op(prelu.nodes[0]) == 'Mul')


def _write_sum(rewriter: Rewriter, name: str, prelu: _Prelu) -> None:
    """Writes relu(x) + relu(-x) * c in place of the node."""
    like = rewriter.node(name)

    def add(op_type: str, end: str, *inputs: str) -> str:
        node = make_node(op_type, rewriter.unique(name + end), inputs, like=like, T=tf.float32)
        rewriter.add(node)
        return node.name

    dropped = _dropped(rewriter, name, prelu)
    if prelu.slopes:
        reader, index = prelu.slopes[0]
        factor = snippets.add_constant(rewriter, name + '/negative/factor', np.float32(-prelu.factor))
        slopes = change_parameter(rewriter, reader, index, 'Mul', [factor], 'slopes', keep=reader not in dropped)
    else:
        slopes = snippets.add_constant(rewriter, name + '/negative/slopes', np.float32(-prelu.factor))
    is_relu = rewriter.view.op(rewriter.view.skip_identity(prelu.positive)) == 'Relu'
    positive = prelu.positive if is_relu else add('Relu', '/positive', prelu.source)
    clipped = prelu.clipped
    if not clipped:
        minus = snippets.add_constant(rewriter, name + '/negative/minus', np.float32(-1))
        clipped = add('Relu', '/negative/relu', add('Mul', '/negative', prelu.source, minus))
    new = make_node('Add', name, [positive, add('Mul', '/negative/mul', clipped, slopes)], like=like, T=tf.float32)
    rewriter.inherit_sources(new, name, *dropped)
    rewriter.add(new)
