"""Gives each reader of a shared parameter its own copy if it quantizes the parameter."""
from typing import Collection, Container, List

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.parameters import known_nodes, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.types import NodeInput


def separate_shared_constants(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph in which nothing else reads a float32 parameter that is the weights, bias or operand of an op.

    The first such reader keeps the parameter, unless that is protected; each of the others gets a copy, with a number appended
    to the name. Readers that do not quantize the parameter share one copy. Parameters are Consts, and nodes computed from
    variables, which are Consts in a frozen file.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> def network(x):
    ...     w = tf.ones([4, 4], name='w')
    ...     return tf.matmul(tf.matmul(x, w), w)
    >>> print_before_and_after(separate_shared_constants, network)
    MatMul(MatMul(x, w), w)
    MatMul(MatMul(x, w), w_1)
    """
    rewriter = Rewriter(graph_def, protected)
    view = rewriter.view
    static = static_nodes(view)
    computed = static.difference(known_nodes(view, static))
    for name in view.names:
        if (view.op(name) == 'Const' or name in computed) and view.dtype(name) == tf.float32:
            for inputs in _inputs_with_copies(rewriter, name, computed):
                copy = editor.copy(view.node(name), name=rewriter.unique(name))
                rewriter.inherit_sources(copy, name)
                rewriter.add(copy)
                for reader, index in inputs:
                    rewriter.set_input(reader, index, copy.name)
    return rewriter.result()


def _inputs_with_copies(rewriter: Rewriter, name: str, computed: Container[str]) -> List[List[NodeInput]]:
    """A list for each copy of the parameter `name`: the inputs (node, index) that are to read it."""
    readers = rewriter.view.consumers(name)
    quantizing = [[reader] for reader in readers if reader[0] not in computed and _quantizes(rewriter.view, *reader)]
    if name in rewriter.protected:
        return quantizing
    others = [reader for reader in readers if [reader] not in quantizing]
    return quantizing[1:] + [others] if quantizing and others else quantizing[1:]


def _quantizes(view: GraphView, reader: str, index: int) -> bool:
    """Whether the node `reader` quantizes a parameter that its input `index` reads."""
    spec = trait(view.op(reader))
    if spec.kind == WEIGHTED:
        return index == spec.weight
    return spec.constants and index in range(len(view.inputs(reader)))[spec.data]
