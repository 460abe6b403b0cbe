"""Recognizes a Relu6 that is written as a minimum."""
from typing import Collection

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.rewriter import Rewriter, make_node
from vai_q_tf.patterns.combinators import Pattern, anything, either, find, is_number, op


def replace_relu_minimum(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph in which min(relu(x), 6), min(max(x, 0), 6) and max(min(x, 6), 0) are Relu6 nodes named like the last op.

    The operands may come in any order. Nothing is replaced if others read the first op.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(replace_relu_minimum, lambda x: tf.maximum(tf.minimum(x, 6.0), 0.0))
    Maximum(Minimum(x, 6), 0)
    Relu6(x)
    """
    rewriter = Rewriter(graph_def, protected)
    view, pattern = rewriter.view, _pattern(rewriter)
    for name in view.names:
        match = find(view, name, pattern) if view.op(name) in ('Minimum', 'Maximum') else None
        inner = [node for node in match.nodes[1:] if view.op(node) != 'Const'] if match else []
        if match and all(rewriter.is_read_only_by(node, (name,)) for node in inner):
            relu6 = make_node('Relu6', name, [match['x']], like=rewriter.node(name), T=view.dtype(name))
            rewriter.inherit_sources(relu6, *inner)
            rewriter.add(relu6)
    return rewriter.result()


def _pattern(rewriter: Rewriter) -> Pattern:
    def constant(expected: float) -> Pattern:
        def is_expected(view: GraphView, tensor: str) -> bool:
            value = rewriter.value(tensor)
            return value is not None and value.size == 1 and value.ndim <= 1 and is_number(value, expected)
        return anything(where=is_expected)

    positive = either(op('Relu', anything('x')), op('Maximum', anything('x'), constant(0), any_order=True))
    return either(op('Minimum', positive, constant(6), any_order=True),
                  op('Maximum', op('Minimum', anything('x'), constant(6), any_order=True), constant(0), any_order=True))
