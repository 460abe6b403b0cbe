"""Opens the batch dimension of a network that was built for one batch size, which TensorFlow then writes into constants."""
from typing import Collection, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import SHAPE_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.common.any_batch_shapes import with_batch
from vai_q_tf.passes.common.batch_sizes import ShapeOf, batch_size, open_batch_sizes
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.qat.network.decision import Decision


def take_any_batch(graph_def: tf.GraphDef, input_nodes: Sequence[str], output_nodes: Sequence[str],
                   shape: ShapeOf) -> tf.GraphDef:
    """The graph whose placeholders `input_nodes` have an open first dimension, and what was computed from that as well.

    A graph whose batch is open, or whose inputs differ in batch size, is returned as it is.

    Args:
      graph_def: the inference form of a network.
      input_nodes, output_nodes: names of its nodes.
      shape: shapes of its tensors for the fixed batch size.
    """
    if batch_size(input_nodes, shape) < 1:
        return graph_def
    rewriter = Rewriter(graph_def, list(input_nodes) + list(output_nodes))
    for name in input_nodes:
        _open_placeholder(rewriter, name)
    open_batch_sizes(graph_def, rewriter, input_nodes, shape)
    return rewriter.result()


def _open_placeholder(rewriter: Rewriter, name: str) -> None:
    placeholder = editor.exact_copy(rewriter.view.node(name))
    placeholder.attr['shape'].shape.dim[0].size = -1
    rewriter.add(placeholder)


def check_any_batch(decision: Decision, batches: Collection[int]) -> None:
    """Raises a QuantizeError UNSUPPORTED_GRAPH naming a node that takes or gives only one of the batch sizes `batches`.

    decision: the Decision on a network whose inputs take any batch.
    """
    view = GraphView(decision.optimised)
    first = {name: shapes[0].dim[0].size for name, shapes in decision.shapes.items() if shapes and shapes[0].dim}
    for name in view.upstream(decision.plan.output_nodes):
        data = next((node_name(tensor) for tensor in view.inputs(name) if view.dtype(tensor) == tf.float32), '')
        if first.get(name) in batches and first.get(data) == -1 and view.op(name) not in SHAPE_OPS:
            raise _fixed_batch('Node {!r} ({}) has the batch size of the training, {}, as a constant'.format(
                name, view.op(name), first[name]))
    if batches:
        try:
            editor.with_shapes(with_batch(decision.optimised, 1))
        except ValueError as error:
            raise _fixed_batch('A node takes only the batch size of the training ({})'.format(error)) from error


def _fixed_batch(what: str) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Batch size',
        what + ', so the model would accept no other. Build the network for any batch size (-1 in a shape, tf.shape of a '
        'tensor with an open batch), or give a function that builds the evaluation graph.')
