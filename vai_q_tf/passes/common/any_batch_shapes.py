"""Shapes that a graph computes from its inputs, whatever the batch."""
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common.infer_shapes import infer_shapes

_BATCHES = (2, 3)


def note_any_batch_shapes(graph_def, protected, config):
    """The graph with the `_output_shapes` that hold for every batch: what TensorFlow infers for two sizes, where they agree.

    It computes with whole shapes only, so height * 2 is unknown to it beside an unknown batch. A graph that takes one batch
    size only is returned as it is.
    """
    try:
        first, second = [infer_shapes(_with_batch(graph_def, batch), protected, config) for batch in _BATCHES]
    except ValueError:
        return graph_def
    for node, other in zip(first.node, second.node):
        for shape, compared in zip(node.attr['_output_shapes'].list.shape, other.attr['_output_shapes'].list.shape):
            shape.unknown_rank = shape.unknown_rank or len(shape.dim) != len(compared.dim)
            for dim, compared_dim in zip(shape.dim, compared.dim):
                dim.size = dim.size if dim.size == compared_dim.size else -1
    return first


def _with_batch(graph_def, batch):
    result = editor.subgraph(graph_def, graph_def.node)
    for node in result.node:
        dims = node.attr['shape'].shape.dim if node.op == 'Placeholder' else ()
        if dims and dims[0].size == -1:
            dims[0].size = batch
    return result
