"""The float network of graphs that version 0.1.0 rewrote, as MetaGraphs have them.

In a training graph it left the network in its training form, without the updates of moving averages, and noted the batch norms
in the plan. For an evaluation graph it noted nothing.

Tests: tests/compatibility/test_release_0_1_0.py.
"""
import json
from typing import List, Optional, Sequence, Set

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.patterns.batch_norm import TrainingNorm
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.qat.network.inference_form import at_inference

_FIX_NEURONS = ('VaiFixNeuron', 'VaiScaledFixNeuron')


def norms_of(plan: str) -> Optional[List[TrainingNorm]]:
    """The TrainingNorms in a plan of version 0.1.0, a JSON text; None for a plan of a later version."""
    records = json.loads(plan).get('batch_norms')
    if records is None:
        return None
    return [TrainingNorm(**{field: record[field] for field in TrainingNorm._fields})
            for record in records if record['batch_mean']]


def float_network(graph_def: tf.GraphDef, norms: Sequence[TrainingNorm], plan: QuantPlan) -> tf.GraphDef:
    """The inference form of the network of a training graph; see `norms_of` for its norms."""
    nodes = at_inference(GraphView(graph_def), plan.input_nodes, plan.output_nodes, norms)
    return editor.subgraph(graph_def, nodes.values())


def float_network_of_evaluation(graph_def: tf.GraphDef, plan: QuantPlan) -> tf.GraphDef:
    """The float network that an evaluation graph quantizes, with its batch norms folded."""
    passed = {node.name: node.input[0] for node in graph_def.node if node.op in _FIX_NEURONS}
    stripped = editor.subgraph(graph_def, [
        editor.with_inputs(node, [passed.get(operand, operand) for operand in node.input])
        for node in graph_def.node if node.name not in passed])
    network = at_inference(GraphView(_without_search(stripped)), plan.input_nodes, plan.output_nodes, ())
    return editor.subgraph(graph_def, network.values())


def _without_search(graph_def: tf.GraphDef) -> tf.GraphDef:
    """The graph without the ops of version 0.1.0 and their readers."""
    dropped: Set[str] = set()
    kept = []
    for node in graph_def.node:
        if node.op.startswith('Vai') or not dropped.isdisjoint(map(node_name, node.input)):
            dropped.add(node.name)
        else:
            kept.append(node)
    return tf.GraphDef(node=kept)
