"""Shapes that hold for every batch size."""
from typing import Collection

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common.infer_shapes import infer_shapes

_BATCHES = (2, 3)


def note_any_batch_shapes(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with `_output_shapes` on every node: the shapes inferred for two batch sizes, -1 where these differ.

    For an unknown batch TensorFlow infers less: it does not know height * 2 of a shape with an unknown batch. A graph that
    takes only one batch size is returned as it is.
    """
    try:
        first, second = [infer_shapes(with_batch(graph_def, batch), protected, config) for batch in _BATCHES]
    except ValueError:
        return graph_def
    for node, other in zip(first.node, second.node):
        for shape, compared in zip(node.attr['_output_shapes'].list.shape, other.attr['_output_shapes'].list.shape):
            shape.unknown_rank = shape.unknown_rank or len(shape.dim) != len(compared.dim)
            for dim, compared_dim in zip(shape.dim, compared.dim):
                dim.size = dim.size if dim.size == compared_dim.size else -1
    return first


def with_batch(graph_def: tf.GraphDef, batch: int) -> tf.GraphDef:
    """The graph with `batch` as the first size of the placeholders that take any."""
    result = editor.subgraph(graph_def, graph_def.node)
    for node in result.node:
        dims = node.attr['shape'].shape.dim if node.op == 'Placeholder' else ()
        if dims and dims[0].size == -1:
            dims[0].size = batch
    return result
