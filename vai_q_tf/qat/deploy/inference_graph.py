"""Derives the evaluation graph of a network from its training graph, for those who give no function that builds one.

The training rewrite leaves the float range in a collection of the graph, so it is there after a restart from a MetaGraph too.
What behaves otherwise in training than at inference is turned round: batch norms are folded on moving statistics, dropouts
removed. What cannot be turned round is an error that says so.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.traits import BATCH_NORM_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.patterns.dropout import find_dropouts
from vai_q_tf.qat import evaluation, graph_record

_RANDOM_OPS = ('Multinomial', 'TruncatedNormal')  # those whose names do not begin with it


def derive_evaluation_graph(training_graph, config):
    """The quantized evaluation graph of a training graph, and its plan.

    Args:
      training_graph: a tf.Graph that `create_training_graph` rewrote.
      config: the QuantizeConfig.

    Returns:
      (tf.Graph, QuantPlan), as from `create_evaluation_graph`.

    Raises:
      QuantizeError: NOT_QUANTIZED, or UNSUPPORTED_GRAPH naming a node that cannot be turned into its inference form.
    """
    plan = graph_record.training_plan(training_graph)
    float_graph = graph_record.float_graph(training_graph)
    names = {node.name for node in float_graph.node}
    plan = plan._replace(tensors=tuple(
        tensor._replace(consumers=tuple(consumer for consumer in tensor.consumers if consumer[0] in names))
        for tensor in plan.tensors))
    view = GraphView(float_graph)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(float_graph, name='')
        evaluation.apply_evaluation_plan(graph, [plan], config, {tensor.name: tensor.name for tensor in plan.tensors})
        _remove_dropouts(graph, view)
    _check_inference(graph, plan)
    return graph, plan


def _remove_dropouts(graph, view):
    """Hands what goes into each dropout, quantized by now, to all that read its result; the first of a chain comes first."""
    for result, source in find_dropouts(view, view.upstream(view.names))[0].items():
        scaling, index = next((name, index) for name, index in view.consumers(source)
                              if name in map(node_name, view.inputs(result)))
        value = graph.get_operation_by_name(scaling).inputs[index]
        live_editor.reroute(graph, live_editor.consumers(live_editor.tensor(graph, result)), value)


def training_only(op, is_training):
    """In words, what keeps an op of this type from having an inference form; '' where nothing does.

    is_training: function without arguments that gives that attr of a batch norm.
    """
    if op in BATCH_NORM_OPS and is_training():
        return 'a float batch norm on the statistics of the batch'
    return 'random' if op.startswith('Random') or op in _RANDOM_OPS else ''


def _check_inference(graph, plan):
    view = GraphView(graph.as_graph_def())
    for name in view.upstream(plan.output_nodes, plan.input_nodes):
        op = view.op(name)
        what = training_only(op, lambda name=name: view.attr(name, 'is_training').b)
        if op == 'Mean' and _reduces_batch(graph.get_operation_by_name(name)):
            what = 'a mean over the batch'
        if what:
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Cannot derive',
                'The evaluation graph cannot be derived from the training graph: node {!r} ({}) is {}. Give a function that '
                'builds the float evaluation graph.'.format(name, op, what))


def _reduces_batch(mean):
    axes = tf.get_static_value(mean.inputs[1])
    return axes is not None and 0 in axes.reshape(-1) and mean.inputs[0].shape.rank != 1
