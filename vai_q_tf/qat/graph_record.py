"""What a rewritten graph remembers: its plan, the float network that it was, and where its positions are.

It is noted in collections of the graph and in the names of a few ops, so that it travels in a MetaGraph. All code that wants
to know asks here.
"""
from typing import NamedTuple, get_type_hints

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import GraphView, node_name
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


class _Note:
    """What a MetaGraph has of a note: its bytes, whatever import_scope the names in them are brought into."""

    def __init__(self, data=b''):
        self.data = data

    def ParseFromString(self, data):
        self.data = data

    def SerializeToString(self):
        return self.data


for _collection in (_TRAINING_PLAN, _EVALUATION_PLAN, _FLOAT_GRAPH):
    try:
        tf_internal.register_proto_function(
            _collection, _Note, lambda note, export_scope=None: _Note(tf.compat.as_bytes(note)),
            lambda note, import_scope=None: note.data)
    except KeyError:  # a second import in one process
        pass


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


def quantizing_ops(graph):
    """{name of a quantized tensor: the op that quantizes it} of a quantize training graph, in its first copy of the network."""
    found = {}
    for op in graph.get_operations():
        if op.type in _QUANTIZE_OPS:
            parts = op.name.split('/')  # copies of the network have a scope before the name
            for start in range(len(parts)):
                found.setdefault('/'.join(parts[start:]), op)
    return {record.name: found[record.name] for record in training_plan(graph).tensors}


def _plan(graph, collection, kind):
    plans = graph.get_collection(collection)
    if not plans:
        raise errors.QuantizeError(
            errors.NOT_QUANTIZED, 'Not quantized',
            'The graph is not a quantize {} graph. Build the float {} graph and call CreateQuantize{}Graph on it '
            'first.'.format(kind.lower(), kind.lower(), kind))
    try:
        if len(set(map(tf.compat.as_bytes, plans))) > 1:
            raise ValueError('it is of several networks')
        plan = QuantPlan.from_json(tf.compat.as_str(plans[-1]), lambda name: _is_narrow(graph, name))
        _check(graph, plan)
    except Exception as error:  # a note may hold anything
        raise _damaged(collection, error) from error
    return plan


def _check(graph, plan):
    """Raises a ValueError where a plan has not what belongs there, or is of another graph."""
    if not _is_a(plan, QuantPlan):
        raise ValueError('a value has another type')
    for record in plan.tensors:
        if not 0 < record.bits <= 32 or record.mode not in (0, 1, 2) or record.method not in (0, 1, 2):
            raise ValueError('{!r} cannot be quantized with {} bits, mode {} and method {}'.format(
                record.name, record.bits, record.mode, record.method))
    names = set()
    for op in graph.get_operations():
        if op.type in _QUANTIZE_OPS:
            parts = op.name.split('/')  # copies of the network have a scope before the name
            names.update('/'.join(parts[first:]) for first in range(len(parts)))
    lost = next((record.name for record in plan.tensors if record.name not in names), None)
    if lost is not None:
        raise ValueError('it quantizes {!r}, which the graph does not'.format(lost))


def _is_a(value, kind):
    """Whether a value has the type `kind`, a NamedTuple, a Tuple of types or a class of Python."""
    arguments = getattr(kind, '__args__', None)
    if hasattr(kind, '_fields'):
        hints = get_type_hints(kind)
        return type(value) is kind and all(_is_a(item, hints[field]) for field, item in zip(kind._fields, value))
    if not arguments:
        return type(value) is kind
    kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
    return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_is_a, value, kinds))


def _damaged(what, error):
    return errors.QuantizeError(
        errors.MISSING_QUANTIZE_INFO, 'Damaged record', 'What the graph remembers of its quantization in {!r} cannot be read: '
        '{}. The MetaGraph that it comes from is damaged or of another version of vai_q_tensorflow; write it again.'.format(
            what, (str(error).splitlines() or [''])[0] or type(error).__name__))


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
    notes = graph.get_collection(_FLOAT_GRAPH)
    plan = training_plan(graph) if is_training(graph) else evaluation_plan(graph)
    try:
        graph_def = tf.GraphDef.FromString(notes[-1])
        view = GraphView(graph_def)
        lost = next((name for name in plan.input_nodes + plan.output_nodes if name not in view), None)
        if lost is not None:
            raise ValueError('it has no node {!r}'.format(lost))
        with tf.Graph().as_default():
            tf.import_graph_def(graph_def, name='')
        norms = release_0_1_0.norms_of(graph.get_collection(_TRAINING_PLAN)[-1]) if is_training(graph) else None
        return graph_def if norms is None else release_0_1_0.float_network(graph_def, norms, plan)
    except Exception as error:  # a note may hold anything
        raise _damaged(_FLOAT_GRAPH, error) from error


def import_scope(graph):
    """The name scope that a rewritten graph was imported into from a MetaGraph; '' for none."""
    return state(graph).op.name[:-len(STATE_NAME)]


def track(graph):
    """The bool tf.Tensor of a training graph that lets positions move."""
    return _tensor(graph, TRACK)


def state(graph):
    """The tf.Tensor with the resource handle of the votes."""
    return _tensor(graph, STATE_NAME)


def votes(graph):
    """The tf.Tensor with the votes for the positions, float32 [tensors, 256]."""
    return _tensor(graph, VOTES_KEY)


class Table(NamedTuple):
    """A table of a training graph: the tf.Tensor with its resource handle, and the one with its values, float32 [rows, 256]."""
    handle: tf.Tensor
    values: tf.Tensor


def tables(graph):
    """The Tables that belong to a training: that of the votes and, where the training looked, that of where it started."""
    found = [Table(state(graph), votes(graph))]
    if _find(graph, START) is not None:
        found.append(Table(_tensor(graph, START), _tensor(graph, START_KEY)))
    return found


def identities_of_rows(graph):
    """What the rows of `votes` are known by, in their order: {name that the position of a tensor is kept by: its Identity}."""
    try:
        known = [None if _find(graph, name) is None else tf.get_static_value(_find(graph, name)).astype(str).tolist()
                 for name in (ROWS, ROW_VARIABLES, ROW_STRUCTURES, ROW_EARLIER)]
        names, variables, structures, earlier = known
        if structures is None:  # a graph of version 0.1.0
            structures, earlier = [''] * len(names), [()] * len(names)
        if len({len(texts) for texts in (names, variables, structures, earlier)}) > 1:
            raise ValueError('there are not as many of each')
    except (AttributeError, TypeError, ValueError) as error:
        raise _damaged(ROWS, error) from error
    return {name: Identity(structure, variable, tuple(filter(None, others)))
            for name, structure, variable, others in zip(names, structures, variables, earlier)}


def _tensor(graph, name):
    """The tf.Tensor of a node that the rewrite made."""
    found = _find(graph, name)
    if found is None:
        raise _damaged(name, 'the graph has no such node, or several')
    return found


def _find(graph, name):
    """As `_tensor`; None where there is none. A graph that was imported with an import_scope has it in that."""
    try:
        return live_editor.tensor(graph, name)
    except (KeyError, ValueError):
        found = [op.outputs[0] for op in graph.get_operations() if op.name.endswith('/' + name) and op.outputs]
        return found[0] if len(found) == 1 else None
