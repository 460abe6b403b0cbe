"""Writes Slices as StridedSlices, which the compiler supports."""
from typing import Collection

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.parameters import computed_floats, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def write_slices(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with a StridedSlice of the same name in place of every float32 Slice whose begin and size are constants.

    It leaves out the limits of dimensions that stay whole, as the batch does.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(write_slices, lambda x: tf.slice(x, [0, 1], [-1, 2]), [-1, 4], ['begin_mask', 'end_mask'])
    Slice(x, [0, 1], [-1, 2])
    StridedSlice(x, [0, 1], [0, 3], [1, 1], begin_mask=1, end_mask=1)
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    for name in computed_floats(view, ('Slice',), static):
        begin, size = (rewriter.value(limit) for limit in view.inputs(name)[1:])
        if begin is not None and size is not None:
            _replace(rewriter, name, begin.astype(np.int32), size.astype(np.int32))
    return rewriter.result()


def _replace(rewriter: Rewriter, name: str, begin: np.ndarray, size: np.ndarray) -> None:
    data, end = rewriter.view.inputs(name)[0], begin + size
    to_end = (size == -1) | (end == np.array(rewriter.view.shape(data) or -1))
    limits = [snippets.add_constant(rewriter, '{}/{}'.format(name, what), values) for what, values in (
        ('begin', begin), ('end', np.where(to_end, 0, end)), ('strides', np.ones_like(begin)))]
    rewriter.add(make_node(
        'StridedSlice', name, [data, *limits], like=rewriter.node(name), T=tf.float32, Index=tf.int32,
        begin_mask=_mask(begin == 0), end_mask=_mask(to_end), ellipsis_mask=0, new_axis_mask=0, shrink_axis_mask=0))


def _mask(is_set: np.ndarray) -> int:
    return int(np.sum(is_set << np.arange(is_set.size)))
