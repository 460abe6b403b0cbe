"""The evaluation rewrite: a float evaluation graph becomes the quantized network, with positions from a checkpoint."""
import tensorflow.compat.v1 as tf

from vai_q_tf.qat import distribution, graph_record, replaced_tensors, rewrite
from vai_q_tf.qat.network.identity import identities
from vai_q_tf.qat.positions.moving_positions import MovingPositions


def create_evaluation_graph(graph, config):
    """Rewrites the float evaluation graph in place.

    Batch norms are folded on their moving statistics. The positions are part of what a Saver made after this call restores
    from a checkpoint of quantization-aware training; running the graph without them is an error that names the tensor.

    Returns:
      The Decision that was applied.

    Raises:
      QuantizeError: before anything is changed; see `rewrite.plan_rewrite`.
    """
    return distribution.for_all_replicas(_create, graph, config)


def _create(graph, config, prefixes):
    planned = rewrite.plan_rewrite(graph, config, prefixes)
    rewrite.rehearse(graph, frozenset(), lambda copy: _edit(copy, planned, config))
    _edit(graph, planned, config)
    replaced_tensors.exchange_in_new_ops(graph)
    return planned.decision


def evaluation_graph_of(float_graph, config):
    """(a tf.Graph with the quantized network, the Decision) of a float network in its inference form, a GraphDef."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(float_graph, name='')
    planned = rewrite.plan_rewrite(graph, config)
    _edit(graph, planned, config)
    return graph, planned.decision


def _edit(graph, planned, config):
    with graph.as_default():
        positions = MovingPositions(rewrite.rows(graph, planned), identities(planned.decision), planned.decision.plan, config)
        rewrite.apply_rewrite(graph, planned, config, positions)
        graph_record.note_float_graph(graph, planned.forms[0].graph_def)
        graph_record.note_evaluation(graph, planned.decision.plan)
