"""Splits pools with windows that are too large for the DPU into chains of smaller ones."""
from typing import Collection, List, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import TOO_LARGE_POOL
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter, make_node

_SPATIAL_AXES = {b'NHWC': (1, 2), b'NCHW': (2, 3)}


def split_large_pools(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with a chain of smaller pools in place of every MaxPool and AvgPool whose window has 512 elements or more.

    The last pool of the chain has the name of the large one, the others are `<pool>_viti_split`. A pool is split if the chain
    computes the same: its windows lie side by side or cover the whole input, without padding. Other pools stay, and so do
    windows of prime height and width, which cannot be divided; the log names them.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(split_large_pools, lambda x: tf.nn.max_pool2d(x, 32, 32, 'VALID'), [-1, 32, 32, 3], ['ksize'])
    MaxPool(x, ksize=[1, 32, 32, 1])
    MaxPool(MaxPool(x, ksize=[1, 4, 4, 1]), ksize=[1, 8, 8, 1])
    """
    rewriter = Rewriter(graph_def, protected)
    view = rewriter.view
    for name in view.names:
        if view.op(name) in ('MaxPool', 'AvgPool') and np.prod(view.attr(name, 'ksize').list.i) >= TOO_LARGE_POOL:
            axes = _SPATIAL_AXES.get(view.attr(name, 'data_format').s)
            if axes:
                _split(rewriter, name, axes)
    return rewriter.result()


def _split(rewriter: Rewriter, name: str, axes: Tuple[int, int]) -> None:
    """Splits the pool `name`, if that is possible; axes: those of height and width."""
    view = rewriter.view
    kernel, strides = [view.attr(name, key).list.i for key in ('ksize', 'strides')]
    shape = view.shape(view.inputs(name)[0]) or [-1] * 4
    same = view.attr(name, 'padding').s == b'SAME'
    if not all(_tiles(kernel[axis], strides[axis], shape[axis], same) for axis in axes):
        tf.logging.info('%s %s stays, large as it is: its windows overlap or are padded.', view.op(name), name)
        return
    windows = _windows([kernel[axis] for axis in axes])
    if np.prod(windows[-1]) >= TOO_LARGE_POOL:
        tf.logging.info('%s %s keeps a window of %dx%d, which has no divisors.', view.op(name), name, *windows[-1])
    if len(windows) > 1:
        _write_chain(rewriter, name, axes, shape, windows)


def _tiles(kernel: int, stride: int, size: int, same: bool) -> bool:
    """Whether the windows along an axis lie side by side, or one covers the axis, without padding."""
    if same:
        return size > 0 and size % kernel == 0 and (stride == kernel or size == kernel < stride)
    return kernel in (stride, size)


def _windows(window: List[int]) -> List[List[int]]:
    """The windows of the chain from first to last; along each axis their product is `window`."""
    if np.prod(window) < TOO_LARGE_POOL:
        return [window]
    first = [max(divisor for divisor in range(1, int(extent ** 0.5) + 1) if extent % divisor == 0) for extent in window]
    if max(first) == 1:
        return [window]
    return _windows(first) + _windows([extent // divisor for extent, divisor in zip(window, first)])


def _write_chain(rewriter: Rewriter, name: str, axes: Tuple[int, int], shape: List[int], windows: List[List[int]]) -> None:
    """Writes a pool for each of the windows (height, width). shape: that of the input of the first."""
    view, data = rewriter.view, rewriter.view.inputs(name)[0]
    for window in windows:
        size = [1, 1, 1, 1]
        for axis, extent in zip(axes, window):
            size[axis] = extent
        shape = [dim if dim == -1 else dim // extent for dim, extent in zip(shape, size)]
        pool = make_node(view.op(name), name if window is windows[-1] else rewriter.unique(name + '_viti_split'), [data],
                         padding='VALID', T=view.dtype(name), data_format=view.attr(name, 'data_format').s.decode(),
                         ksize=size, strides=size)
        snippets.shaped(pool, shape)
        rewriter.inherit_sources(pool, name)
        rewriter.add(pool)
        data = pool.name
