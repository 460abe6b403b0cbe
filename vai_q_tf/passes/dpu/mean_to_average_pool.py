"""Replaces means over height or width by average pooling, which the DPU computes."""
from typing import Collection

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def mean_to_average_pool(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with AvgPool in place of every Mean over height or width, or both, of a float32 [N, H, W, C] tensor.

    Without keep_dims a Squeeze `<mean>/squeeze` follows; if the Mean is protected, the Squeeze has its name, and the pool is
    `<mean>/avgpool`. A Mean over other axes, or of a tensor of unknown height or width, stays.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(mean_to_average_pool, lambda x: tf.reduce_mean(x, [1, 2]), [-1, 7, 7, 64], ['ksize'])
    Mean(x, [1, 2])
    Squeeze(AvgPool(x, ksize=[1, 7, 7, 1]))
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        if rewriter.view.op(name) == 'Mean' and rewriter.view.dtype(name) == tf.float32:
            _replace(rewriter, name)
    return rewriter.result()


def _replace(rewriter: Rewriter, name: str) -> None:
    view = rewriter.view
    data, reduced = view.inputs(name)
    values, shape = rewriter.value(reduced), view.shape(data)
    axes = [] if values is None else sorted(int(axis) % 4 for axis in values.flat)
    if shape is None or len(shape) != 4 or axes not in ([1], [2], [1, 2]):
        tf.logging.info('Mean %s stays: it is not over height or width of a tensor with four dimensions.', name)
        return
    kernel = [size if axis in axes else 1 for axis, size in enumerate(shape)]
    if min(kernel) < 1:
        tf.logging.info('Mean %s stays: height or width of its input is not known.', name)
        return
    mean = rewriter.node(name)
    pool = make_node('AvgPool', name, [data], T=tf.float32, data_format='NHWC', padding='VALID', ksize=kernel, strides=kernel)
    snippets.shaped(pool, [1 if axis in axes else size for axis, size in enumerate(shape)])
    rewriter.inherit_sources(pool, name)
    rewriter.add(pool)
    if not view.attr(name, 'keep_dims').b:
        squeeze = make_node('Squeeze', rewriter.unique(name + '/squeeze'), [name], like=mean, T=tf.float32, squeeze_dims=axes)
        rewriter.inherit_sources(squeeze, name)
        rewriter.append(name, [squeeze], name + '/avgpool')
