"""The evaluation rewrite: a float evaluation graph becomes the quantized network, with positions from a checkpoint.

Tests: tests/qat/test_exactness.py.
"""
from typing import Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import live_editor
from vai_q_tf.qat import distribution, graph_record, replaced_tensors, rewrite
from vai_q_tf.qat.network.decision import Decision
from vai_q_tf.qat.network.identity import identities
from vai_q_tf.qat.positions.moving_positions import MovingPositions


def create_evaluation_graph(graph: tf.Graph, config: QuantizeConfig) -> Decision:
    """Rewrites the float evaluation graph in place.

    Batch norms are folded on their moving statistics. A Saver that is created after this call restores the positions from a
    checkpoint of quantization-aware training; running the graph without them is an error that names the tensor.

    Returns:
      The Decision that was applied.

    Raises:
      QuantizeError: before anything is changed; see `rewrite.plan_rewrite`.
    """
    return distribution.for_all_replicas(_create, graph, config)


def _create(graph: tf.Graph, config: QuantizeConfig, prefixes: Sequence[str]) -> Decision:
    planned = rewrite.plan_rewrite(graph, config, prefixes)
    rewrite.rehearse(planned.graph_def, lambda copy: _edit(copy, planned, config))
    with live_editor.uninterrupted():
        _edit(graph, planned, config)
        replaced_tensors.exchange_in_new_ops(graph)
    return planned.decision


def evaluation_graph_of(float_graph: tf.GraphDef, config: QuantizeConfig,
                        decision: Optional[Decision] = None) -> Tuple[tf.Graph, Decision]:
    """(the quantized network, the Decision) of a float network in its inference form; decision: that, if it is known."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(float_graph, name='')
    planned = rewrite.plan_rewrite(graph, config, decision=decision)
    _edit(graph, planned, config)
    return graph, planned.decision


def _edit(graph: tf.Graph, planned: rewrite.Rewrite, config: QuantizeConfig) -> None:
    with graph.as_default(), tf_internal.silenced_deprecations():
        positions = MovingPositions(rewrite.rows(graph, planned), identities(planned.decision), planned.decision.plan, config)
        rewrite.apply_rewrite(graph, planned, config, positions)
        graph_record.note_float_graph(graph, planned.forms[0].graph_def)
        graph_record.note_evaluation(graph, planned.decision.plan)
