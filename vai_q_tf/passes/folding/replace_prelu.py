"""Leaky relus in all spellings become the op LeakyRelu; those with a slope for each channel what the DPU computes of them."""
from typing import NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import is_leaky_slope
from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.traits import ADD_OPS
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.changed_parameter import change_parameter
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node
from vai_q_tf.patterns.combinators import anything, either, find, number, op, same


class _Prelu(NamedTuple):
    """relu(x) + factor * (the product of the slopes) * min(x, 0).

    source: x. positive: relu(x), '' in a maximum. clipped: relu(-x), '' where the network has none.
    slopes: the inputs (node, index) that read parameters. nodes: the computed nodes between, without `positive`.
    """
    source: str
    positive: str
    clipped: str
    factor: float
    slopes: Tuple[Tuple[str, int], ...]
    nodes: Tuple[str, ...]


def replace_prelu(graph_def, protected, config):
    """The graph with what the DPU's compiler takes in place of leaky relus and PReLUs that are made of several float32 ops.

    These are relu(x) + a * n and relu(x) - a * n in any order, where n is relu(-x), x - |x|, x - relu(x) or min(x, 0), also
    with signs and factors (1, 2, 1/2 and quotients) in between, and max(a * x, x). A maximum whose slope is one number from 0
    to 1 becomes a LeakyRelu, and so does a sum with the slope of the DPU's. Other maxima stay. Other sums may be trained, so
    that what becomes of them does not depend on values: relu(x) + relu(-x) * c. The operands, where they are not there already,
    are `<sum>/positive`, `<sum>/negative`, `<sum>/negative/relu` and `<sum>/negative/mul`; for the name of c see
    `change_parameter`.
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    others = static | branch_nodes(view)
    for name in view.names:
        if view.op(name) not in ('Add', 'AddV2', 'Sub', 'Maximum') or name in others or view.dtype(name) != tf.float32:
            continue
        prelu = (_maximum if view.op(name) == 'Maximum' else _sum)(rewriter, name, static)
        if not prelu or _widens(view, name, prelu.source):
            continue
        slope = _slope(rewriter, prelu)
        if slope is not None and (is_leaky_slope(slope) or (not prelu.positive and 0 < slope < 1)):
            new = make_node('LeakyRelu', name, [prelu.source], like=rewriter.node(name), T=tf.float32, alpha=slope)
            rewriter.inherit_sources(new, name, *_dropped(rewriter, name, prelu))
            rewriter.add(new)
        elif prelu.positive and len(prelu.slopes) < 2:
            _write_sum(rewriter, name, prelu)
    return rewriter.result()


def _widens(view, name, source):
    """Whether the slopes are known to give the result another shape."""
    shapes = view.shape(name), view.shape(source)
    return None not in shapes and shapes[0] != shapes[1]


def _maximum(rewriter, name, static):
    """The _Prelu of max(a * x, x), or None."""
    view = rewriter.view
    for scaled, source in (view.inputs(name), view.inputs(name)[::-1]):
        product = view.skip_identity(scaled)
        index = _parameter(view, product, static) if view.op(product) == 'Mul' else None
        if index is not None and view.skip_identity(view.inputs(product)[1 - index]) == view.skip_identity(source):
            return _Prelu(source, '', '', 1.0, ((product, index),), (product,))
    return None


def _sum(rewriter, name, static):
    """The _Prelu of a sum or difference, or None."""
    view, operands = rewriter.view, rewriter.view.inputs(name)
    for positive, negative in (operands, operands[::-1])[:1 if view.op(name) == 'Sub' else 2]:
        relu = find(view, positive, _POSITIVE)
        part = _negative_part(rewriter, negative, static) if relu else None
        if part and view.skip_identity(part.source) == view.skip_identity(relu['x']):
            factor = -part.factor if view.op(name) == 'Sub' else part.factor
            return part._replace(source=relu['x'], positive=positive, factor=factor)
    return None


_ZERO = number(0)
# Numbers that belong to the spelling. Others may have been variables, which are slopes.
_FACTORS = (0.5, 1.0, 2.0)
_NEGATED = either(op('Neg', anything('x')), op('Mul', anything('x'), number(-1), any_order=True))
_POSITIVE = either(op('Relu', anything('x')), op('Maximum', anything('x'), _ZERO, any_order=True))
# What is at the bottom of the negative part, and how many times min(x, 0) that is.
_BOTTOMS = ((op('Relu', _NEGATED, name='clipped'), -1.0),
            (op('Sub', anything('x'), op('Abs', same('x'))), 2.0),
            (op('Sub', anything('x'), op('Relu', same('x'))), 1.0),
            (op('Minimum', anything('x'), _ZERO, any_order=True), 1.0))


def _negative_part(rewriter, tensor, static):
    """The _Prelu, without `positive`, of a tensor that is a multiple of min(x, 0), or None."""
    view, factor, slopes, nodes = rewriter.view, 1.0, [], []
    while True:
        tensor = view.skip_identity(tensor)
        for pattern, times in _BOTTOMS:
            match = find(view, tensor, pattern)
            if match:
                return _Prelu(match['x'], '', match.get('clipped'), factor * times, tuple(slopes),
                              tuple(nodes) + tuple(node for node in match.nodes if node not in static))
        nodes.append(node_name(tensor))
        index = _parameter(view, tensor, static)
        if view.op(tensor) == 'Neg':
            factor, tensor = -factor, view.inputs(tensor)[0]
        elif view.op(tensor) == 'Mul' and index is not None:
            value = rewriter.value(view.inputs(tensor)[index])
            if value is not None and value.size == 1 and value.ndim <= 1 and abs(float(value)) in _FACTORS:
                factor *= float(value)
            else:
                slopes.append((node_name(tensor), index))
            tensor = view.inputs(tensor)[1 - index]
        elif view.op(tensor) == 'RealDiv' and index == 1 and _is_nonzero(rewriter.value(view.inputs(tensor)[1])):
            factor, tensor = factor / float(rewriter.value(view.inputs(tensor)[1])), view.inputs(tensor)[0]
        else:
            return None


def _parameter(view, name, static):
    """Which of two inputs is a parameter, where the other is computed; None for other nodes."""
    fixed = [node_name(tensor) in static for tensor in view.inputs(name)]
    return fixed.index(True) if sorted(fixed) == [False, True] else None


def _is_nonzero(value):
    return value is not None and value.size == 1 and value.ndim <= 1 and value.reshape(()) != 0


def _slope(rewriter, prelu):
    """The slope where it is one number that is known; None otherwise."""
    values = [rewriter.value(rewriter.view.inputs(node)[index]) for node, index in prelu.slopes]
    if any(value is None or value.size != 1 for value in values):
        return None
    return prelu.factor * float(np.prod(values))


def _dropped(rewriter, name, prelu):
    """The inner nodes that only the PReLU reads."""
    inner = prelu.nodes + ((node_name(rewriter.view.skip_identity(prelu.positive)),) if prelu.positive else ())
    dropped = {name}
    for node in inner:  # from the result on, so that readers come first
        if rewriter.is_read_only_by(node, dropped):
            dropped.add(node)
    return [node for node in inner if node in dropped]


def _write_sum(rewriter, name, prelu):
    """Writes relu(x) + relu(-x) * c in place of the node, where it is not that already."""
    view, like = rewriter.view, rewriter.node(name)
    relu = view.op(view.skip_identity(prelu.positive)) == 'Relu'
    if relu and prelu.clipped and view.op(name) in ADD_OPS and len(prelu.nodes) == 3 and view.op(prelu.nodes[0]) == 'Mul':
        return

    def add(op_type, end, *inputs):
        node = make_node(op_type, rewriter.unique(name + end), inputs, like=like, T=tf.float32)
        rewriter.add(node)
        return node.name

    def add_constant(end, value):
        constant = snippets.constant(rewriter.unique(name + end), value)
        rewriter.add(constant)
        return constant.name

    dropped = _dropped(rewriter, name, prelu)
    if prelu.slopes:
        reader, index = prelu.slopes[0]
        factor = add_constant('/negative/factor', np.float32(-prelu.factor))
        operand = change_parameter(rewriter, reader, index, 'Mul', [factor], 'slopes', keep=reader not in dropped)
    else:
        operand = add_constant('/negative/slopes', np.float32(-prelu.factor))
    positive = prelu.positive if relu else add('Relu', '/positive', prelu.source)
    clipped = prelu.clipped or add('Relu', '/negative/relu', add(
        'Mul', '/negative', prelu.source, add_constant('/negative/minus', np.float32(-1))))
    new = make_node('Add', name, [positive, add('Mul', '/negative/mul', clipped, operand)], like=like, T=tf.float32)
    rewriter.inherit_sources(new, name, *dropped)
    rewriter.add(new)
