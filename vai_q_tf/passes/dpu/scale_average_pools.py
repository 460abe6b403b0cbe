"""Makes average pooling as inexact as the DPU's, which multiplies the sum by a fixed-point reciprocal of the window size."""
import math
from typing import Collection, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import AVERAGE_POOL_RECIPROCALS, MAX_AVERAGE_POOL_EXTENT
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter


def scale_average_pools(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with every AvgPool multiplied by `factor`, the ratio of the DPU's average to the exact one.

    The product is `<pool>/mul`, its constant `<pool>/scale_value`; if the pool is protected, the product has its name, and the
    pool is `<pool>/avgpool`. Without `config.scale_all_avgpool` only square windows of 3, 5, 6, 7 and 14 are scaled. The Mul
    is inserted even if the factor is 1. Windows of more than 256 along an axis are not scaled. A warning names pools whose
    windows extend beyond the border, where the DPU computes another average.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(scale_average_pools, lambda x: tf.nn.avg_pool2d(x, 7, 1, 'VALID'), [-1, 7, 7, 64])
    AvgPool(x)
    Mul(AvgPool(x), [1.00488])
    """
    rewriter, padded = Rewriter(graph_def, protected), []
    for name in rewriter.view.names:
        if rewriter.view.op(name) == 'AvgPool' and rewriter.view.dtype(name) == tf.float32:
            _scale(rewriter, name, config.scale_all_avgpool)
            padded += [name] * _is_padded(rewriter.view, name)
    if padded:
        tf.logging.warning(
            'At the border of an AvgPool with padding SAME the DPU divides by the size of the whole window, TensorFlow by the '
            'number of cells inside: %s. To train and evaluate what the DPU computes, pad with zeros before it and pool with '
            'padding VALID.', ', '.join(padded))
    return rewriter.result()


def _is_padded(view: GraphView, name: str) -> bool:
    """Whether windows extend beyond the border. For an unknown size: whether they overlap, since most of those do."""
    axes = _space(view, name)
    kernel, strides = [[view.attr(name, key).list.i[axis] for axis in axes] for key in ('ksize', 'strides')]
    shape = view.shape(view.inputs(name)[0])
    sizes = [shape[axis] if shape else -1 for axis in axes]
    return view.attr(name, 'padding').s == b'SAME' and any(
        extent > stride if size < 0 else (math.ceil(size / stride) - 1) * stride + extent > size
        for extent, stride, size in zip(kernel, strides, sizes))


def _space(view: GraphView, name: str) -> Tuple[int, int]:
    return (2, 3) if view.attr(name, 'data_format').s == b'NCHW' else (1, 2)


def _scale(rewriter: Rewriter, name: str, every_size: int) -> None:
    height, width = [rewriter.view.attr(name, 'ksize').list.i[axis] for axis in _space(rewriter.view, name)]
    if max(height, width) > MAX_AVERAGE_POOL_EXTENT:
        tf.logging.info('AvgPool %s is not scaled: its window is larger than %d.', name, MAX_AVERAGE_POOL_EXTENT)
    elif every_size or (height == width and height in AVERAGE_POOL_RECIPROCALS):
        snippets.append_multiplier(rewriter, name, factor(height, width), name + '/mul', name + '/scale_value',
                                   inner=name + '/avgpool')


def factor(height: int, width: int) -> np.float32:
    """The DPU's average over a window divided by the exact one.

    The DPU has k / 2^n for the reciprocal of the size: the nearest one of all n with 2^n < 128 * size, the smallest n if there
    are several. The square windows of AVERAGE_POOL_RECIPROCALS have their own reciprocals.
    """
    if height == width and height in AVERAGE_POOL_RECIPROCALS:
        return np.float32(height * width * AVERAGE_POOL_RECIPROCALS[height])
    size = height * width
    least, reciprocal = 1, 1.0
    for bits in range(math.ceil(math.log2(128 * size))):
        rounded = max(1, math.floor(2 ** bits / size + 0.5)) / 2 ** bits
        difference = np.float32(abs(rounded - 1 / size))
        if difference < least:
            least, reciprocal = difference, rounded
    return np.float32(reciprocal) * np.float32(size)
