"""What a rewritten graph remembers: its plan, the float network that it was, and where its positions are.

It is noted in collections of the graph and in the names of a few ops, so that it travels in a MetaGraph. All code that wants
to know asks here.
"""
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.qat.network import release_0_1_0
from vai_q_tf.qat.network.identity import Identity
from vai_q_tf.qat.positions.position_saveable import (
    ROW_EARLIER,
    ROW_STRUCTURES,
    ROW_VARIABLES,
    ROWS,
    START,
    START_KEY,
    STATE_NAME,
    VOTES_KEY,
)
from vai_q_tf.qat.recipe.recipe import TRACK

TEACHER = 'vai_q_tf/teacher'  # what the names of ops begin with that run the float network beside the quantized one
_TRAINING_PLAN = 'vai_q_tf/training_plan'
_EVALUATION_PLAN = 'vai_q_tf/evaluation_plan'
_FLOAT_GRAPH = 'vai_q_tf/float_graph'
_QUANTIZE_OPS = ('VaiFixNeuron', 'VaiScaledFixNeuron')


def note_training(graph, plan):
    """Notes that the live `graph` was rewritten for training by the QuantPlan `plan`."""
    graph.add_to_collection(_TRAINING_PLAN, plan.to_json())


def note_evaluation(graph, plan):
    """Notes that the live `graph` was rewritten for evaluation by the QuantPlan `plan`."""
    graph.add_to_collection(_EVALUATION_PLAN, plan.to_json())


def note_float_graph(graph, graph_def):
    """Notes the GraphDef of the float network that a training graph was made of."""
    graph.add_to_collection(_FLOAT_GRAPH, graph_def.SerializeToString(deterministic=True))


def is_training(graph):
    """Whether the graph is a quantize training graph."""
    return bool(graph.get_collection(_TRAINING_PLAN))


def is_evaluation(graph):
    """Whether the graph is a quantize evaluation graph."""
    return bool(graph.get_collection(_EVALUATION_PLAN))


def is_evaluation_of_0_1_0(graph):
    """Whether version 0.1.0 made the quantize evaluation graph: tensors have other names, and nothing of before is noted."""
    return is_evaluation(graph) and not graph.get_collection(_FLOAT_GRAPH)


def training_plan(graph):
    """The QuantPlan of a quantize training graph; a QuantizeError NOT_QUANTIZED for another graph."""
    return _plan(graph, _TRAINING_PLAN, 'Training')


def evaluation_plan(graph):
    """The QuantPlan of a quantize evaluation graph; a QuantizeError NOT_QUANTIZED for another graph."""
    return _plan(graph, _EVALUATION_PLAN, 'Evaluation')


def _plan(graph, collection, kind):
    plans = graph.get_collection(collection)
    if not plans:
        raise errors.QuantizeError(
            errors.NOT_QUANTIZED, 'Not quantized',
            'The graph is not a quantize {} graph. Build the float {} graph and call CreateQuantize{}Graph on it '
            'first.'.format(kind.lower(), kind.lower(), kind))
    return QuantPlan.from_json(plans[-1], lambda name: _is_narrow(graph, name))


def _is_narrow(graph, name):
    """Whether the ops that quantize a tensor, of which each copy of the network has one, leave out its smallest integer."""
    return any(op.get_attr('symmetric') for op in graph.get_operations() if op.type in _QUANTIZE_OPS and
               (op.name == name or op.name.endswith('/' + name)))


def check_same_range(plan, config):
    """Raises QuantizeError ALREADY_QUANTIZED where the config does not name the range of the QuantPlan of a rewritten graph.

    A range is a set of nodes: neither their order nor ':0' makes another one. Shapes go with the names that they are given for.
    """
    before = [plan.input_nodes, plan.output_nodes]
    asked = [list(map(node_name, names)) for names in (config.input_nodes, config.output_nodes)]
    if list(map(set, before)) != list(map(set, asked)):
        raise errors.QuantizeError(
            errors.ALREADY_QUANTIZED, 'Called twice',
            'The graph was rewritten from {} to {}, and now the range is from {} to {}. One graph takes one config; name all '
            'ends of what is to be quantized in it.'.format(*(', '.join(names) for names in before + asked)))


def float_graph(graph):
    """The GraphDef of the float network that a rewritten graph was made of, in its inference form."""
    if is_evaluation_of_0_1_0(graph):
        return release_0_1_0.float_network_of_evaluation(graph.as_graph_def(), evaluation_plan(graph))
    graph_def = tf.GraphDef.FromString(graph.get_collection(_FLOAT_GRAPH)[-1])
    norms = release_0_1_0.norms_of(graph.get_collection(_TRAINING_PLAN)[-1]) if is_training(graph) else None
    return graph_def if norms is None else release_0_1_0.float_network(graph_def, norms, training_plan(graph))


def track(graph):
    """The bool tf.Tensor of a training graph that lets positions move."""
    return live_editor.tensor(graph, TRACK)


def state(graph):
    """The tf.Tensor with the resource handle of the votes."""
    return live_editor.tensor(graph, STATE_NAME)


def votes(graph):
    """The tf.Tensor with the votes for the positions, float32 [tensors, 256]."""
    return live_editor.tensor(graph, VOTES_KEY)


class Table(NamedTuple):
    """A table of a training graph: the tf.Tensor with its resource handle, and the one with its values, float32 [rows, 256]."""
    handle: tf.Tensor
    values: tf.Tensor


def tables(graph):
    """The Tables that belong to a training: that of the votes and, where the training looked, that of where it started."""
    found = [Table(state(graph), votes(graph))]
    try:
        found.append(Table(live_editor.tensor(graph, START), live_editor.tensor(graph, START_KEY)))
    except KeyError:
        pass
    return found


def identities_of_rows(graph):
    """What the rows of `votes` are known by, in their order: {name that the position of a tensor is kept by: its Identity}."""
    def constant(name):
        return tf.get_static_value(live_editor.tensor(graph, name)).astype(str).tolist()

    names, variables = constant(ROWS), constant(ROW_VARIABLES)
    try:
        structures, earlier = constant(ROW_STRUCTURES), constant(ROW_EARLIER)
    except KeyError:  # a graph of version 0.1.0
        structures, earlier = [''] * len(names), [()] * len(names)
    return {name: Identity(structure, variable, tuple(filter(None, others)))
            for name, structure, variable, others in zip(names, structures, variables, earlier)}
