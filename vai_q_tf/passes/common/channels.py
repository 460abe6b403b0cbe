"""Layouts of the results of weighted ops, and constants that act on their channels."""
from typing import List, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.common.rewriter import Rewriter

_CHANNELS_LAST = ('NHWC', 'NDHWC')


class Layout(NamedTuple):
    """Of a tensor: the number of dimensions, the axis of the channels, and the number of channels."""
    rank: int
    axis: int
    channels: int


def layout_of(view: GraphView, name: str, weights: Sequence[int]) -> Optional[Layout]:
    """The Layout of the result of the weighted op `name`, whose weights have the shape `weights`; None for another op."""
    op = view.op(name)
    if op == 'MatMul':
        return Layout(2, 1, weights[0 if view.attr(name, 'transpose_b').b else 1])
    if op not in ('Conv2D', 'DepthwiseConv2dNative', 'Conv2DBackpropInput', 'Conv3D'):
        return None
    rank = len(weights)
    channels = {'DepthwiseConv2dNative': weights[-1] * weights[-2], 'Conv2DBackpropInput': weights[-2]}.get(op, weights[-1])
    return Layout(rank, rank - 1 if view.attr(name, 'data_format').s.decode() in _CHANNELS_LAST else 1, channels)


def shape_for_weights(view: GraphView, name: str, weights: List[int], channels: int) -> List[int]:
    """The shape in which a vector over the channels multiplies weights of the shape `weights` of the op `name`."""
    op = view.op(name)
    if op == 'DepthwiseConv2dNative':
        return weights[-2:]
    if op == 'Conv2DBackpropInput' or (op == 'MatMul' and view.attr(name, 'transpose_b').b):
        return [channels, 1]
    return [channels]


def acts_per_channel(view: GraphView, tensor: str, layout: Layout) -> bool:
    """Whether `tensor`, the other operand of a tensor of this Layout, has one float32 per channel, or one for all."""
    dims = view.shape(tensor)
    if dims is None or view.dtype(tensor) != tf.float32 or len(dims) > layout.rank:
        return False
    shape = [1] * (layout.rank - len(dims)) + dims
    return (all(dim == 1 for axis, dim in enumerate(shape) if axis != layout.axis)
            and shape[layout.axis] in (1, layout.channels))


def layout_after(rewriter: Rewriter, name: str, layout: Layout) -> Optional[Layout]:
    """The Layout of the result of a Squeeze, Reshape or BatchToSpaceND of a tensor of the Layout `layout`.

    None for other ops, and if the op does not keep the channels on an axis of their own.
    """
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
        end = _shape_end(rewriter, view.inputs(name)[1])
        if end and end.last == layout.channels:
            return Layout(end.length, end.length - 1, layout.channels)
    return None


class _ShapeEnd(NamedTuple):
    """The length and the last entry of a vector."""
    length: int
    last: int


def _shape_end(rewriter: Rewriter, tensor: str) -> Optional[_ShapeEnd]:
    """The _ShapeEnd of a shape that is a constant, a Pack or a ConcatV2; None if it is unknown."""
    value = rewriter.value(tensor)
    if value is not None:
        return _ShapeEnd(value.size, int(value[-1])) if value.ndim == 1 and value.size else None
    view, inputs = rewriter.view, rewriter.view.inputs(tensor)
    if view.op(tensor) == 'Pack':
        value = rewriter.value(inputs[-1])
        return _ShapeEnd(len(inputs), int(value)) if value is not None and value.size == 1 else None
    if view.op(tensor) == 'ConcatV2':
        value, lengths = rewriter.value(inputs[-2]), [_length(rewriter, part) for part in inputs[:-1]]
        known = [length for length in lengths if length is not None]
        if value is not None and value.size and len(known) == len(lengths):
            return _ShapeEnd(sum(known), int(value[-1]))
    return None


def _length(rewriter: Rewriter, tensor: str) -> Optional[int]:
    """The length of a vector, or None."""
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
