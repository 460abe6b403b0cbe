"""Pools with a window beyond what the DPU takes become chains of smaller ones."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import TOO_LARGE_POOL
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def split_large_pools(graph_def, protected, config):
    """The graph with every MaxPool and AvgPool of a window of 512 elements or more as a chain of smaller pools.

    The last of the chain has the name of the pool, the others are `<pool>_viti_split`. The split is made where the chain
    computes the same: windows that lie side by side or cover the whole input, without padding. Other pools stay, and
    so do windows of prime height and width, which have no smaller parts; a line in the log says so.
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        if rewriter.view.op(name) in ('MaxPool', 'AvgPool'):
            _split(rewriter, name)
    return rewriter.result()


def _split(rewriter, name):
    view = rewriter.view
    kernel, strides = [list(view.attr(name, key).list.i) for key in ('ksize', 'strides')]
    axes = {b'NHWC': (1, 2), b'NCHW': (2, 3)}.get(view.attr(name, 'data_format').s)
    if np.prod(kernel) < TOO_LARGE_POOL or axes is None:
        return
    shape = view.shape(view.inputs(name)[0]) or [-1] * 4
    same = view.attr(name, 'padding').s == b'SAME'
    if not all(_tiles(kernel[axis], strides[axis], shape[axis], same) for axis in axes):
        tf.logging.info('%s %s stays, large as it is: its windows overlap or are padded.', view.op(name), name)
        return
    windows = _windows([kernel[axis] for axis in axes])
    if np.prod(windows[-1]) >= TOO_LARGE_POOL:
        tf.logging.info('%s %s keeps a window of %dx%d, which has no divisors.', view.op(name), name, *windows[-1])
    data = view.inputs(name)[0]
    for number, window in enumerate(windows if len(windows) > 1 else ()):
        last = number == len(windows) - 1
        size = [1, 1, 1, 1]
        for axis, extent in zip(axes, window):
            size[axis] = extent
        shape = [dim if dim == -1 or extent == 1 else dim // extent for dim, extent in zip(shape, size)]
        pool = make_node(view.op(name), name if last else rewriter.unique(name + '_viti_split'), [data], padding='VALID',
                       T=view.dtype(name), data_format=view.attr(name, 'data_format').s.decode(), ksize=size, strides=size)
        snippets.shaped(pool, shape)
        rewriter.inherit_sources(pool, name)
        rewriter.add(pool)
        data = pool.name


def _tiles(kernel, stride, size, same):
    """Whether the windows along one axis lie side by side, or one covers the axis, and no padding is needed."""
    if same:
        return size > 0 and size % kernel == 0 and (stride == kernel or size == kernel < stride)
    return kernel in (stride, size)


def _windows(window):
    """The windows of the chain, first to last; each axis of `window` is their product."""
    if np.prod(window) < TOO_LARGE_POOL:
        return [window]
    first = [max(divisor for divisor in range(1, int(extent ** 0.5) + 1) if extent % divisor == 0) for extent in window]
    if max(first) == 1:
        return [window]
    return _windows(first) + _windows([extent // divisor for extent, divisor in zip(window, first)])
