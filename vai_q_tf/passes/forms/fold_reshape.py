"""Replaces shapes that a graph computes at run time by constants."""
from typing import Collection, List, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.any_batch_shapes import note_any_batch_shapes
from vai_q_tf.passes.common.infer_shapes import infer_shapes
from vai_q_tf.passes.common.rewriter import Rewriter

_RESIZE = ('ResizeNearestNeighbor', 'ResizeBilinear')


def fold_reshape(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with a Const `<node>/shape` as the shape of every Reshape and the size of every resize op.

    In the shape of a Reshape an unknown batch is -1. If another dimension is unknown, the node stays. The shapes noted in the
    result are those that TensorFlow infers with the new constants.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(fold_reshape, lambda x: tf.image.resize_bilinear(x, tf.shape(x)[1:3]), [-1, 2, 3, 1])
    ResizeBilinear(x, StridedSlice(Shape(x), [1], [3], [1]))
    ResizeBilinear(x, [2, 3])
    """
    rewriter = Rewriter(graph_def, protected)
    view = rewriter.view
    found = {name: _dims(view, name) for name in view.names if view.op(name) == 'Reshape' or view.op(name) in _RESIZE}
    if None in found.values():
        any_batch = GraphView(note_any_batch_shapes(graph_def, protected, config))
        found.update((name, _dims(any_batch, name)) for name in found if found[name] is None)
    for name, dims in found.items():
        if dims is None:
            tf.logging.info('%s %s keeps the shape that it computes: dimensions besides the batch are not known.',
                            view.op(name), name)
        else:
            _fold(rewriter, name, dims)
    result = rewriter.result()
    return result if result is graph_def else infer_shapes(result, protected, config)


def _dims(view: GraphView, name: str) -> Optional[List[int]]:
    """The constant for the node as a list; None if it is unknown."""
    dims = view.shape(name)
    if dims is None or view.op(name) == 'Reshape':
        return None if dims is None or -1 in dims[1:] else dims
    return None if -1 in dims[1:3] else dims[1:3]


def _fold(rewriter: Rewriter, name: str, dims: List[int]) -> None:
    """Makes the node `name` read a Const of `dims`, unless it does already."""
    computed = rewriter.view.inputs(name)[1]
    value = rewriter.value(computed)
    if value is not None and value.tolist() == dims:
        return
    wanted = name + '/shape'
    is_free = node_name(computed) == wanted and rewriter.is_read_only_by(computed, [name])
    shape = snippets.constant(wanted if is_free else rewriter.unique(wanted), np.array(dims, np.int32))
    rewriter.add(shape)
    folded = editor.exact_copy(rewriter.node(name))
    folded.input[1] = shape.name
    if 'Tshape' in folded.attr:
        folded.attr['Tshape'].type = tf.int32.as_datatype_enum
    rewriter.add(folded)
