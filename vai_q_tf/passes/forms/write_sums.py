"""Writes AddNs as additions of two tensors, which the compiler supports."""
from typing import Collection

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.passes.common.parameters import computed_floats, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def write_sums(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with Adds in place of every float32 AddN of several tensors: `<sum>/sum_1`, ..., and the last one of its name.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(write_sums, lambda x: tf.add_n([x, tf.exp(x), tf.nn.relu(x)]))
    AddN(x, Exp(x), Relu(x))
    Add(Add(x, Exp(x)), Relu(x))
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    for name in computed_floats(view, ('AddN',), static):
        total, *others = view.inputs(name)
        for number, tensor in enumerate(others, 1):
            end = name if number == len(others) else rewriter.unique('{}/sum_{}'.format(name, number))
            rewriter.add(make_node('Add', end, [total, tensor], like=rewriter.node(name), T=tf.float32))
            total = end
    return rewriter.result()
