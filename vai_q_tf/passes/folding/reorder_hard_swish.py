"""Orders the operations of a hard swish as the DPU has them: x times a hard sigmoid."""
import numpy as np

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common.rewriter import Rewriter, redefined
from vai_q_tf.patterns.combinators import anything, find, named, op


def reorder_hard_swish(graph_def, protected, config):
    """The graph where (x * relu6(y + 3)) / 6 is x * (relu6(y + 3) / 6), also with a factor of 1/6; operands in any order.

    The result keeps its name; the hard sigmoid gets the name of the former product. A product that others read stays.
    """
    rewriter = Rewriter(graph_def, protected)
    patterns = {name: _pattern(rewriter, name) for name in ('Mul', 'RealDiv')}
    for name in rewriter.view.names:
        pattern = patterns.get(rewriter.view.op(name))
        match = find(rewriter.view, name, pattern) if pattern else None
        if match and rewriter.is_read_only_by(match['product'], (name,)):
            product = match['product']
            sigmoid = editor.copy(rewriter.node(name), name=product, inputs=[match['relu6'], match['sixth']])
            swish = editor.copy(rewriter.node(product), name=name, inputs=[match['x'], product])
            for new in (redefined(sigmoid), swish):
                if '_output_shapes' in rewriter.node(name).attr:
                    new.attr['_output_shapes'].CopyFrom(rewriter.node(name).attr['_output_shapes'])
            rewriter.add(sigmoid)
            rewriter.add(swish)
    return rewriter.result()


def _pattern(rewriter, outer):
    def constant(name, expected):
        def is_it(view, tensor):
            value = rewriter.value(tensor)
            return value is not None and value.size == 1 and value.ndim <= 1 and np.isclose(value, expected, 1e-6).all()
        return anything(name, where=is_it)

    relu6 = named('relu6', op('Relu6', op('Add|AddV2', anything(), constant('three', 3.0), any_order=True)))
    product = op('Mul', anything('x'), relu6, any_order=True, name='product')
    return op(outer, product, constant('sixth', 6.0 if outer == 'RealDiv' else 1 / 6), any_order=outer == 'Mul')
