"""Constants that act per channel, and the weights whose results they act on."""
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import node_name

# Which data_format has the channels last.
_LAST = ('NHWC', 'NDHWC')


class Layout(NamedTuple):
    """Of a tensor: how many dimensions it has, which one the channels are, and how many there are."""
    rank: int
    axis: int
    channels: int


def layout_of(view, name, weights):
    """The Layout of the result of the weighted op `name` with the weights of that shape; None for another op."""
    op = view.op(name)
    if op == 'MatMul':
        return Layout(2, 1, weights[0 if view.attr(name, 'transpose_b').b else 1])
    if op not in ('Conv2D', 'DepthwiseConv2dNative', 'Conv2DBackpropInput', 'Conv3D'):
        return None
    rank = len(weights)
    channels = {'DepthwiseConv2dNative': weights[-1] * weights[-2], 'Conv2DBackpropInput': weights[-2]}.get(op, weights[-1])
    return Layout(rank, rank - 1 if view.attr(name, 'data_format').s.decode() in _LAST else 1, channels)


def shape_for_weights(view, name, weights, channels):
    """The shape in which a vector over the channels multiplies weights of the shape `weights` of the op `name`."""
    op = view.op(name)
    if op == 'DepthwiseConv2dNative':
        return weights[-2:]
    if op == 'Conv2DBackpropInput' or (op == 'MatMul' and view.attr(name, 'transpose_b').b):
        return [channels, 1]
    return [channels]


def acts_per_channel(view, tensor, layout):
    """Whether `tensor`, an operand beside a tensor of that Layout, has one float32 for each channel, or one for all."""
    dims = view.shape(tensor)
    if dims is None or view.dtype(tensor) != tf.float32 or len(dims) > layout.rank:
        return False
    shape = [1] * (layout.rank - len(dims)) + dims
    return (all(dim == 1 for axis, dim in enumerate(shape) if axis != layout.axis)
            and shape[layout.axis] in (1, layout.channels))


def layout_after(rewriter, name, layout):
    """The Layout of the result of Squeeze, Reshape or BatchToSpaceND with input 0 of `layout`; None if channels get lost."""
    view = rewriter.view
    if view.op(name) == 'BatchToSpaceND':
        blocks = rewriter.value(view.inputs(name)[1])
        return layout if blocks is not None and layout.axis > blocks.size else None
    if view.op(name) == 'Squeeze':
        axes = {axis % layout.rank for axis in view.attr(name, 'squeeze_dims').list.i}
        if not axes or layout.axis in axes:
            return None
        return Layout(layout.rank - len(axes), layout.axis - sum(axis < layout.axis for axis in axes), layout.channels)
    if view.op(name) == 'Reshape' and layout.axis == layout.rank - 1:
        dims = _shape_end(rewriter, view.inputs(name)[1])
        if dims and dims[1] == layout.channels:
            return Layout(dims[0], dims[0] - 1, layout.channels)
    return None


def _shape_end(rewriter, tensor):
    """(how many entries a shape tensor has, the last entry), as far as constants, Pack and ConcatV2 tell; None otherwise."""
    value = rewriter.value(tensor)
    if value is not None:
        return (value.size, int(value[-1])) if value.ndim == 1 and value.size else None
    view, inputs = rewriter.view, rewriter.view.inputs(tensor)
    if view.op(tensor) == 'Pack':
        value = rewriter.value(inputs[-1])
        return (len(inputs), int(value)) if value is not None and value.size == 1 else None
    if view.op(tensor) == 'ConcatV2':
        value, lengths = rewriter.value(inputs[-2]), [_length(rewriter, part) for part in inputs[:-1]]
        return (sum(lengths), int(value[-1])) if value is not None and value.size and None not in lengths else None
    return None


def _length(rewriter, tensor):
    """The number of entries of a vector, or None."""
    value = rewriter.value(tensor)
    if value is not None:
        return value.size
    view = rewriter.view
    if view.op(tensor) == 'Pack':
        return len(view.inputs(tensor))
    if view.op(tensor) in ('GatherV2', 'Gather'):
        return _length(rewriter, view.inputs(tensor)[1])
    shape = view.shape(node_name(tensor))
    return shape[0] if shape and shape[0] >= 0 else None
