"""The DPU's average pooling multiplies the sum by a fixed-point reciprocal of the window; the graph does the same."""
import math

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import AVERAGE_POOL_RECIPROCALS, MAX_AVERAGE_POOL_EXTENT
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter


def scale_average_pools(graph_def, protected, config):
    """The graph with every AvgPool multiplied by the factor between the DPU's average and the exact one.

    The product is `<pool>/mul`, its constant `<pool>/scale_value`; where the pool is protected the product has its name and
    the pool is `<pool>/avgpool`. Without `config.scale_all_avgpool` only the square windows of 3, 5, 6, 7 and 14 are scaled.
    A factor of 1 is multiplied with too. Windows above 256 along an axis stay as they are.
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        if rewriter.view.op(name) == 'AvgPool' and rewriter.view.dtype(name) == tf.float32:
            _scale(rewriter, name, config.scale_all_avgpool)
    return rewriter.result()


def _scale(rewriter, name, every_size):
    kernel = list(rewriter.view.attr(name, 'ksize').list.i)
    height, width = kernel[2:] if rewriter.view.attr(name, 'data_format').s == b'NCHW' else kernel[1:3]
    if max(height, width) > MAX_AVERAGE_POOL_EXTENT:
        tf.logging.info('AvgPool %s is not scaled: its window is larger than %d.', name, MAX_AVERAGE_POOL_EXTENT)
    elif every_size or (height == width and height in AVERAGE_POOL_RECIPROCALS):
        snippets.append_multiplier(rewriter, name, factor(height, width), (name + '/mul', name + '/scale_value'),
                                inner=name + '/avgpool')


def factor(height, width):
    """The DPU's average over a window divided by the exact one, np.float32.

    The reciprocal of the size is `k / 2^n`, 2^n below 128 times the size (rounded up to a power of two), with the n and
    k that come nearest, the smaller n where two do.
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
