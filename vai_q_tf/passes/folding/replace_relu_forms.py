"""Recognizes a Relu or Relu6 that is written as a minimum, a maximum, or a choice."""
from typing import Collection, List

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.parameters import computed_floats, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node
from vai_q_tf.patterns.combinators import Pattern, anything, either, find, is_number, op, same

_FORM_OPS = ('Minimum', 'Maximum', 'Select', 'SelectV2')


def replace_relu_forms(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph in which max(x, 0) and where(x > 0, x, 0) are Relu nodes, and min(relu(x), 6), min(max(x, 0), 6) and
    max(min(x, 6), 0) Relu6 nodes, named like the last op.

    The operands may come in any order. Nothing is replaced if others read the op inside, and no other clip to a range.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(replace_relu_forms, lambda x: tf.maximum(tf.minimum(x, 6.0), 0.0))
    Maximum(Minimum(x, 6), 0)
    Relu6(x)
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    relu, relu6 = _patterns(rewriter)
    for name in computed_floats(view, _FORM_OPS, static):
        for kind, pattern in (('Relu6', relu6), ('Relu', relu)):
            match = find(view, name, pattern)
            inner = [node for node in match.nodes[1:] if view.op(node) != 'Const'] if match else []
            if match and all(rewriter.is_read_only_by(node, match.nodes) for node in inner) and not (
                    kind == 'Relu' and _is_clip(view, name, match['x'])):
                new = make_node(kind, name, [match['x']], like=rewriter.node(name), T=view.dtype(name))
                rewriter.inherit_sources(new, *inner)
                rewriter.add(new)
                break
    return rewriter.result()


def _is_clip(view: GraphView, name: str, source: str) -> bool:
    """Whether the maximum `name` of `source` is a part of a clip, which is quantized as one."""
    return view.op(view.skip_identity(source)) == 'Minimum' or any(
        view.op(reader) == 'Minimum' for reader, _ in view.consumers(name))


def _patterns(rewriter: Rewriter) -> List[Pattern]:
    """Those of a Relu without the op itself, and of a Relu6."""
    def constant(expected: float) -> Pattern:
        def is_expected(view: GraphView, tensor: str) -> bool:
            value = rewriter.value(tensor)
            return value is not None and value.size == 1 and value.ndim <= 1 and is_number(value, expected)
        return anything(where=is_expected)

    x, zero, six = anything('x'), constant(0), constant(6)
    maximum = op('Maximum', x, either(zero, op('ZerosLike', anything())), any_order=True)
    choice = op('Select|SelectV2', op('Greater|GreaterEqual', x, zero), same('x'), either(zero, op('ZerosLike', same('x'))))
    relu6 = either(op('Minimum', either(op('Relu', x), maximum), six, any_order=True),
                   op('Maximum', op('Minimum', x, six, any_order=True), zero, any_order=True))
    return [either(maximum, choice), relu6]
