"""Gives every reader of a parameter that is to be quantized a parameter of its own."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.passes.common.parameters import known_nodes, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter


def separate_shared_constants(graph_def, protected, config):
    """The graph where a float Const that is weights, bias or operand of an op is read by nothing else.

    The first such reader keeps the Const, unless that is protected for others; each other one gets a copy with a number after
    the name. Readers that are not quantized share one copy. So it is with what is computed of variables, a Const in a file.
    """
    rewriter = Rewriter(graph_def, protected)
    view = rewriter.view
    static = static_nodes(view)
    computed = static.difference(known_nodes(view, static))
    for name in view.names:
        if not (view.op(name) == 'Const' or name in computed) or view.dtype(name) != tf.float32:
            continue
        readers = view.consumers(name)
        quantizing = [reader for reader in readers if reader[0] not in computed and _is_quantized(view, *reader)]
        others = [reader for reader in readers if reader not in quantizing]
        keep = name in rewriter.protected
        if not quantizing or (len(readers) == 1 and not keep):
            continue
        groups = [[reader] for reader in quantizing] if keep else [[reader] for reader in quantizing[1:]]
        if others and not keep:
            groups.append(others)
        for group in groups:
            copy = editor.copy(view.node(name), name=rewriter.unique(name))
            rewriter.inherit_sources(copy, name)
            rewriter.add(copy)
            for reader, index in group:
                rewriter.set_input(reader, index, copy.name)
    return rewriter.result()


def _is_quantized(view, reader, index):
    """Whether the op reads quantized constants at that input."""
    spec = trait(view.op(reader))
    inputs = len(view.inputs(reader))
    if spec.kind == WEIGHTED:
        return index == spec.weight
    return spec.constants and index in range(inputs)[spec.data]
