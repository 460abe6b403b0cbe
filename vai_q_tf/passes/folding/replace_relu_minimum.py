"""Finds the Relu6 in networks that write it as a minimum."""
from vai_q_tf.passes.common.rewriter import Rewriter, make_node
from vai_q_tf.patterns.combinators import anything, either, find, is_number, op


def replace_relu_minimum(graph_def, protected, config):
    """The graph where min(relu(x), 6), min(max(x, 0), 6) and max(min(x, 6), 0) are Relu6 nodes of the last op's name.

    Operands may come in either order. What others read the first op of stays as it is.
    """
    rewriter = Rewriter(graph_def, protected)
    pattern = _pattern(rewriter)
    for name in rewriter.view.names:
        match = find(rewriter.view, name, pattern) if rewriter.view.op(name) in ('Minimum', 'Maximum') else None
        if match and all(rewriter.is_read_only_by(inner, (name,)) for inner in match.nodes[1:]
                         if rewriter.view.op(inner) != 'Const'):
            old = rewriter.node(name)
            new = make_node('Relu6', name, [match['x']], like=old, T=rewriter.view.dtype(name))
            rewriter.inherit_sources(new, *[inner for inner in match.nodes[1:] if rewriter.view.op(inner) != 'Const'])
            rewriter.add(new)
    return rewriter.result()


def _pattern(rewriter):
    def constant(expected):
        def is_it(view, tensor):
            value = rewriter.value(tensor)
            return value is not None and value.size == 1 and value.ndim <= 1 and is_number(value, expected)
        return anything(where=is_it)

    positive = either(op('Relu', anything('x')), op('Maximum', anything('x'), constant(0), any_order=True))
    return either(op('Minimum', positive, constant(6), any_order=True),
                  op('Maximum', op('Minimum', anything('x'), constant(6), any_order=True), constant(0), any_order=True))
