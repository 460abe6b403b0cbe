"""Examples of passes for their docstrings: a small network before and after a pass, each printed as one expression."""
from typing import Any, Callable, List, Sequence, Union

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView, node_name, output_index

_MOST_ELEMENTS = 6


def print_before_and_after(a_pass: Callable, network: Callable, shape: Sequence[int] = (-1, 4), attrs: Sequence[str] = (),
                           **fields: Any) -> None:
    """Prints a network before and after a pass. The result is a protected node.

    >>> print_before_and_after(lambda graph_def, protected, config: graph_def, lambda x: 2.5 * tf.nn.relu(x))
    Mul(2.5, Relu(x))
    Mul(2.5, Relu(x))

    Args:
      a_pass: function (graph_def, protected, config) to a GraphDef.
      network: function from the Placeholder `x` to the result.
      shape: of `x`; -1 is an unknown size.
      attrs: the attributes to print of the ops that have them.
      fields: of the QuantizeConfig.
    """
    with tf.Graph().as_default() as graph:
        result = network(tf.placeholder(tf.float32, [None if size == -1 else size for size in shape], name='x')).op.name
    before = graph.as_graph_def(add_shapes=True)
    after = a_pass(before, frozenset(['x', result]), QuantizeConfig(['x'], [result], **fields))
    for graph_def in (before, after):
        print(expression(GraphView(graph_def), result, attrs))


def expression(view: GraphView, tensor: str, attrs: Sequence[str] = ()) -> str:
    """The computation of a tensor as nested calls, as in 'Add(x, [1, 2])'.

    A Const is its value if that has at most six elements, and its name otherwise.
    """
    name = node_name(tensor)
    value = view.value(name)
    if value is not None and value.size <= _MOST_ELEMENTS:
        return _text(value.tolist())
    if not view.inputs(name):
        return name
    operands = [expression(view, operand, attrs) for operand in view.inputs(name)]
    operands += ['{}={}'.format(key, _attr_text(view.node(name).attr[key])) for key in attrs if key in view.node(name).attr]
    output = ':{}'.format(output_index(tensor)) if output_index(tensor) else ''
    return '{}({}){}'.format(view.op(name), ', '.join(operands), output)


def _attr_text(attr: tf.AttrValue) -> str:
    kind = attr.WhichOneof('value')
    return _text(list(attr.list.i) if kind == 'list' else getattr(attr, kind))


def _text(value: Union[List[Any], bytes, float]) -> str:
    if isinstance(value, list):
        return '[{}]'.format(', '.join(map(_text, value)))
    return value.decode() if isinstance(value, bytes) else '{:.6g}'.format(value)
