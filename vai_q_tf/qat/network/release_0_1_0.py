"""The float network of graphs that version 0.1.0 rewrote, as MetaGraphs have them.

It left the network of a training graph as it trains, without the updates of moving averages, and a record of its batch norms
in the plan. Of an evaluation graph it left nothing but the graph itself.
"""
import json

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.batch_norm import TrainingNorm
from vai_q_tf.qat.network.inference_form import at_inference

_FIX_NEURONS = ('VaiFixNeuron', 'VaiScaledFixNeuron')


def norms_of(plan):
    """The TrainingNorms in a plan of version 0.1.0, given as a JSON text; None for a plan of a later version."""
    records = json.loads(plan).get('batch_norms')
    if records is None:
        return None
    return [TrainingNorm(**{field: record[field] for field in TrainingNorm._fields})
            for record in records if record['batch_mean']]


def float_network(graph_def, norms, plan):
    """The inference form of the network of a training graph. norms: see `norms_of`; plan: the QuantPlan."""
    nodes = at_inference(GraphView(graph_def), plan.input_nodes, plan.output_nodes, norms)
    return editor.subgraph(graph_def, nodes.values())


def float_network_of_evaluation(graph_def, plan):
    """The float network that an evaluation graph quantizes, with its batch norms folded."""
    nodes, passed = [], {}
    for node in graph_def.node:
        if node.op in _FIX_NEURONS:
            passed[node.name] = node.input[0]
        else:
            nodes.append(node)
    stripped = editor.subgraph(graph_def, [
        editor.with_inputs(node, [passed.get(operand, operand) for operand in node.input]) for node in nodes])
    network = at_inference(GraphView(_without_search(stripped)), plan.input_nodes, plan.output_nodes, ())
    return editor.subgraph(graph_def, network.values())


def _without_search(graph_def):
    """The graph without the ops of version 0.1.0 and what reads them."""
    dropped, kept = set(), []
    for node in graph_def.node:
        if node.op.startswith('Vai') or any(operand.lstrip('^').partition(':')[0] in dropped for operand in node.input):
            dropped.add(node.name)
        else:
            kept.append(node)
    return tf.GraphDef(node=kept)
