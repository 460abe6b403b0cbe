"""Bias additions of weighted ops, recognised by shapes."""
from typing import Optional, Tuple

import numpy as np

from vai_q_tf.graph.traits import ADD_OPS, trait
from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.graph_range import GraphRange


def split_bias_add(graph_range: GraphRange, name: str) -> Optional[Tuple[str, str, int]]:
    """(data tensor, bias tensor, index of the bias) of an add op with a bias as either operand; None for other nodes.

    >>> import tensorflow.compat.v1 as tf
    >>> with tf.Graph().as_default() as graph:
    ...     x = tf.placeholder(tf.float32, [None, 4], name='x')
    ...     y = tf.add(tf.constant([1., 2., 3., 4.], name='bias'), x, name='biased')
    ...     y = tf.add(x, y, name='sum')
    >>> graph_range = GraphRange(GraphView(graph.as_graph_def()), ['x'], ['sum'])
    >>> split_bias_add(graph_range, 'biased')
    ('x', 'bias', 0)
    >>> split_bias_add(graph_range, 'sum') is None
    True
    """
    view = graph_range.view
    if view.op(name) not in ADD_OPS:
        return None
    left, right = view.inputs(name)
    if _is_vector(graph_range, right) and not graph_range.is_static(left):
        return left, right, 1
    if view.op(name) != 'BiasAdd' and _is_vector(graph_range, left) and not graph_range.is_static(right):
        return right, left, 0
    return None


def _is_vector(graph_range: GraphRange, tensor: str) -> bool:
    """Whether the tensor is constant or variable, and a vector, [1, .., 1, C] or [1, C, 1, ..]."""
    shape = graph_range.view.shape(tensor)
    if not shape or not graph_range.is_static(tensor):
        return False
    return sum(dim != 1 for dim in shape) <= 1


def is_bias_of(view: GraphView, name: str, bias_add: str, bias: str) -> bool:
    """Whether `bias`, added by the node `bias_add`, has one value for each output channel of the weighted op `name`.

    Also true if the shapes are unknown.
    """
    spec, shape = trait(view.op(name)), view.shape(bias)
    weights = view.shape(view.inputs(name)[spec.weight])
    if not weights or shape is None or min(weights + shape) < 0:
        return True
    axes = (0,) if is_transposed(view, name) else spec.channel_axes
    channels = int(np.prod([weights[axis] for axis in axes]))
    if int(np.prod(shape)) != channels:
        return False
    return view.op(bias_add) == 'BiasAdd' or channels == 1 or (shape[-1] == channels) == channels_last(view, name)


def is_transposed(view: GraphView, name: str) -> bool:
    """Whether the weights of a weighted op have the output channels first."""
    return view.op(name) == 'MatMul' and view.attr(name, 'transpose_b').b


def channels_last(view: GraphView, name: str) -> bool:
    """Whether the channels are the last axis of the result of a weighted op."""
    data_format = view.find_attr(name, 'data_format')
    return data_format is None or not data_format.s.startswith(b'NC')
