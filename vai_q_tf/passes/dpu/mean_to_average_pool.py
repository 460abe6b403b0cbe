"""Replaces global means by average pooling, which the DPU computes."""
from typing import Collection

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def mean_to_average_pool(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with AvgPool in place of every Mean over height and width of a float32 [N, H, W, C] tensor.

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
    axes, shape = rewriter.value(reduced), view.shape(data)
    if axes is None or shape is None or len(shape) != 4 or sorted(axis % 4 for axis in axes.flat) != [1, 2]:
        tf.logging.info('Mean %s stays: it is not over height and width of a tensor with four dimensions.', name)
        return
    if min(shape[1:3]) < 1:
        tf.logging.info('Mean %s stays: height or width of its input is not known.', name)
        return
    kernel = [1, shape[1], shape[2], 1]
    mean = rewriter.node(name)
    pool = make_node('AvgPool', name, [data], T=tf.float32, data_format='NHWC', padding='VALID', ksize=kernel, strides=kernel)
    snippets.shaped(pool, [shape[0], 1, 1, shape[3]])
    rewriter.inherit_sources(pool, name)
    rewriter.add(pool)
    if not view.attr(name, 'keep_dims').b:
        squeeze = make_node('Squeeze', rewriter.unique(name + '/squeeze'), [name], like=mean, T=tf.float32, squeeze_dims=[1, 2])
        rewriter.inherit_sources(squeeze, name)
        rewriter.append(name, [squeeze], name + '/avgpool')
