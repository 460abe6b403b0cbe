"""Opens the batch dimension of a network that was built for one batch size, which TensorFlow then writes into constants."""
import re
from typing import Collection, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import SHAPE_OPS
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.any_batch_shapes import with_batch
from vai_q_tf.passes.common.batch_sizes import ShapeOf, batch_size, open_batch_sizes
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.qat.network.decision import Decision

_REFUSED = re.compile(r"\bfor '([^']+)' \(op: '(\w+)'\)")  # in a message of TensorFlow about shapes


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
    """Raises a QuantizeError UNSUPPORTED_GRAPH naming the first node that takes only one of the batch sizes `batches`.

    decision: the Decision on a network whose inputs take any batch.
    """
    if not batches:
        return
    other = 2 * max(batches) + 1  # no multiple of a batch, nor of a part of one
    try:
        view = GraphView(editor.with_shapes(with_batch(decision.optimised, other)))
    except ValueError as error:
        found = _REFUSED.search(str(error))
        raise _fixed_batch('Node {!r} ({})'.format(*found.groups()) if found else 'The network', max(batches)) from error
    for name in view.upstream(decision.plan.output_nodes):
        sizes = view.shape(name) or [other]
        if sizes[0] in batches and other not in sizes and view.op(name) not in SHAPE_OPS and any(
                view.dtype(tensor) == tf.float32 and (view.shape(tensor) or [0])[0] == other for tensor in view.inputs(name)):
            raise _fixed_batch('Node {!r} ({})'.format(name, view.op(name)), sizes[0])


def _fixed_batch(what: str, batch: int) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Batch size',
        '{} has the batch size of the training, {}, as a constant, so the model would accept no other. Build the network for '
        'any batch size (-1 in a shape, tf.shape of a tensor with an open batch), or give a function that builds the '
        'evaluation graph.'.format(what, batch))
