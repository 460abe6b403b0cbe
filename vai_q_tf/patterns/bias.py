"""Which addition adds a bias to the result of a weighted op, told by shapes."""
import numpy as np

from vai_q_tf.graph.traits import ADD_OPS, trait


def split_bias_add(graph_range, name):
    """(data tensor, bias tensor, index of the bias) of an add op with a bias in either order; None for other nodes."""
    view = graph_range.view
    if view.op(name) not in ADD_OPS:
        return None
    left, right = view.inputs(name)
    if _is_vector(graph_range, right) and not graph_range.is_static(left):
        return left, right, 1
    if view.op(name) != 'BiasAdd' and _is_vector(graph_range, left) and not graph_range.is_static(right):
        return right, left, 0
    return None


def _is_vector(graph_range, tensor):
    """Whether the tensor is constant or variable, and a vector, [1, .., 1, C] or [1, C, 1, ..]."""
    shape = graph_range.view.shape(tensor)
    return graph_range.is_static(tensor) and bool(shape) and sum(dim != 1 for dim in shape) <= 1


def is_bias_of(view, name, bias_add, bias):
    """Whether the bias that the node `bias_add` adds has one value for each output channel of the weighted op `name`.

    True as well where the shapes are not known.
    """
    spec, shape = trait(view.op(name)), view.shape(bias)
    weights = view.shape(view.inputs(name)[spec.weight])
    if not weights or min(weights + shape) < 0:
        return True
    axes = (0,) if is_transposed(view, name) else spec.channel_axes
    channels = int(np.prod([weights[axis] for axis in axes]))
    if int(np.prod(shape)) != channels:
        return False
    return view.op(bias_add) == 'BiasAdd' or channels == 1 or (shape[-1] == channels) == channels_last(view, name)


def is_transposed(view, name):
    """Whether a weighted op reads its weights with the output channels first."""
    return view.op(name) == 'MatMul' and view.attr(name, 'transpose_b').b


def channels_last(view, name):
    """Whether the channels are the last axis of the result of a weighted op."""
    data_format = view.attr(name, 'data_format')
    return data_format is None or not data_format.s.startswith(b'NC')
