"""Orders the operations of a hard swish as the DPU has them: x times a hard sigmoid."""
import numpy as np

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.pattern import anything, find, named, op
from vai_q_tf.passes.rewriter import Rewriter


def reorder_hard_swish(graph_def, kept, config):
    """The graph where (x * relu6(y + 3)) / 6 is x * (relu6(y + 3) / 6), also with a factor of 1/6; operands in any order.

    The result keeps its name; the hard sigmoid gets the name of the former product. A product that others read stays.
    """
    edit = Rewriter(graph_def, kept)
    patterns = {name: _pattern(edit, name) for name in ('Mul', 'RealDiv')}
    for name in edit.view.names:
        pattern = patterns.get(edit.view.op(name))
        match = find(edit.view, name, pattern) if pattern else None
        if match and edit.is_read_only_by(match['product'], (name,)):
            product = match['product']
            sigmoid = editor.copy(edit.node(name), name=product, inputs=[match['relu6'], match['sixth']])
            swish = editor.copy(edit.node(product), name=name, inputs=[match['x'], product])
            for new in (sigmoid, swish):
                if '_output_shapes' in edit.node(name).attr:
                    new.attr['_output_shapes'].CopyFrom(edit.node(name).attr['_output_shapes'])
            edit.add(sigmoid)
            edit.add(swish)
    return edit.result()


def _pattern(edit, outer):
    def constant(name, expected):
        def is_it(view, tensor):
            value = edit.value(tensor)
            return value is not None and value.size == 1 and value.ndim <= 1 and np.isclose(value, expected, 1e-6).all()
        return anything(name, where=is_it)

    relu6 = named('relu6', op('Relu6', op('Add|AddV2', anything(), constant('three', 3.0), any_order=True)))
    product = op('Mul', anything('x'), relu6, any_order=True, name='product')
    return op(outer, product, constant('sixth', 6.0 if outer == 'RealDiv' else 1 / 6), any_order=outer == 'Mul')
