"""Finds the Relu6 in networks that write it as a minimum."""
import numpy as np

from vai_q_tf.graph.pattern import anything, either, find, op
from vai_q_tf.passes.rewriter import Rewriter, node


def replace_relu_minimum(graph_def, kept, config):
    """The graph where min(relu(x), 6), min(max(x, 0), 6) and max(min(x, 6), 0) are Relu6 nodes of the last op's name.

    Operands may come in either order. What others read the first op of stays as it is.
    """
    edit = Rewriter(graph_def, kept)
    pattern = _pattern(edit)
    for name in edit.view.names:
        match = find(edit.view, name, pattern) if edit.view.op(name) in ('Minimum', 'Maximum') else None
        if match and all(edit.is_read_only_by(inner, (name,)) for inner in match.nodes[1:]
                         if edit.view.op(inner) != 'Const'):
            old = edit.node(name)
            new = node('Relu6', name, [match['x']], like=old, T=edit.view.dtype(name))
            edit.absorb(new, *[inner for inner in match.nodes[1:] if edit.view.op(inner) != 'Const'])
            edit.add(new)
    return edit.result()


def _pattern(edit):
    def constant(expected):
        def is_it(view, tensor):
            value = edit.value(tensor)
            return value is not None and value.size == 1 and value.ndim <= 1 and value.reshape(()) == np.float32(expected)
        return anything(where=is_it)

    positive = either(op('Relu', anything('x')), op('Maximum', anything('x'), constant(0), any_order=True))
    return either(op('Minimum', positive, constant(6), any_order=True),
                  op('Maximum', op('Minimum', anything('x'), constant(6), any_order=True), constant(0), any_order=True))
