"""The record of a rewrite in its graph: the plan, the float network, and the place of the positions.

It consists of collections of the graph and of the names of a few ops, so a MetaGraph contains it. Only this module reads it.
"""
import functools
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, get_type_hints

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.qat.network import release_0_1_0
from vai_q_tf.qat.network.identity import Identity
from vai_q_tf.qat.positions.moving_positions import LEGAL
from vai_q_tf.qat.positions.position_saveable import (
    ROW_BITS,
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

TEACHER = 'vai_q_tf/teacher'  # prefix of the names of ops that run the float network next to the quantized one
_TRAINING_PLAN = 'vai_q_tf/training_plan'
_EVALUATION_PLAN = 'vai_q_tf/evaluation_plan'
_FLOAT_GRAPH = 'vai_q_tf/float_graph'
_QUANTIZE_OPS = ('VaiFixNeuron', 'VaiScaledFixNeuron')


class _Note:
    """A note in a MetaGraph, with the interface of a proto: its bytes, whose names no import_scope changes."""

    def __init__(self, data: bytes = b'') -> None:
        self.data = data

    def ParseFromString(self, data: bytes) -> None:
        """Sets the bytes."""
        self.data = data

    def SerializeToString(self) -> bytes:
        """The bytes."""
        return self.data


for _collection in (_TRAINING_PLAN, _EVALUATION_PLAN, _FLOAT_GRAPH):
    try:
        tf_internal.register_proto_function(
            _collection, _Note, lambda note, export_scope=None: _Note(tf.compat.as_bytes(note)),
            lambda note, import_scope=None: note.data)
    except KeyError:  # a second import in one process
        pass


def note_training(graph: tf.Graph, plan: QuantPlan) -> None:
    """Notes that the live `graph` was rewritten for training by the QuantPlan `plan`."""
    graph.add_to_collection(_TRAINING_PLAN, plan.to_json())


def note_evaluation(graph: tf.Graph, plan: QuantPlan) -> None:
    """Notes that the live `graph` was rewritten for evaluation by the QuantPlan `plan`."""
    graph.add_to_collection(_EVALUATION_PLAN, plan.to_json())


def note_float_graph(graph: tf.Graph, graph_def: tf.GraphDef) -> None:
    """Notes the float network before the rewrite of the live `graph`."""
    graph.add_to_collection(_FLOAT_GRAPH, graph_def.SerializeToString(deterministic=True))


def is_training(graph: tf.Graph) -> bool:
    """Whether the graph is a quantize training graph."""
    return bool(graph.get_collection(_TRAINING_PLAN))


def is_evaluation(graph: tf.Graph) -> bool:
    """Whether the graph is a quantize evaluation graph."""
    return bool(graph.get_collection(_EVALUATION_PLAN))


def is_evaluation_of_0_1_0(graph: tf.Graph) -> bool:
    """Whether version 0.1.0 rewrote the evaluation graph: tensors have other names, and the float network is not noted."""
    return is_evaluation(graph) and not graph.get_collection(_FLOAT_GRAPH)


def training_plan(graph: tf.Graph) -> QuantPlan:
    """The QuantPlan of a quantize training graph; a QuantizeError NOT_QUANTIZED for any other graph."""
    return _plan(graph, _TRAINING_PLAN, 'Training')


def evaluation_plan(graph: tf.Graph) -> QuantPlan:
    """The QuantPlan of a quantize evaluation graph; a QuantizeError NOT_QUANTIZED for any other graph."""
    return _plan(graph, _EVALUATION_PLAN, 'Evaluation')


def plan_of(graph: tf.Graph) -> QuantPlan:
    """The QuantPlan of a rewritten graph, for training or for evaluation."""
    return training_plan(graph) if is_training(graph) else evaluation_plan(graph)


def quantizing_ops(graph: tf.Graph) -> Dict[str, tf.Operation]:
    """{name of a quantized tensor: the op that quantizes it in the first copy of the network} of a quantize training graph."""
    found = _quantizing_ops(graph)
    return {record.name: found[record.name] for record in training_plan(graph).tensors}


def _quantizing_ops(graph: tf.Graph) -> Dict[str, tf.Operation]:
    """{name with or without its scopes, as copies of the network have one: the first op of that name that quantizes}."""
    found: Dict[str, tf.Operation] = {}
    for op in graph.get_operations():
        if op.type in _QUANTIZE_OPS:
            parts = op.name.split('/')
            for start in range(len(parts)):
                found.setdefault('/'.join(parts[start:]), op)
    return found


def _plan(graph: tf.Graph, collection: str, kind: str) -> QuantPlan:
    plans = graph.get_collection(collection)
    if not plans:
        raise errors.QuantizeError(
            errors.NOT_QUANTIZED, 'Not quantized',
            'The graph is not a quantize {} graph. Build the float {} graph and call CreateQuantize{}Graph on it '
            'first.'.format(kind.lower(), kind.lower(), kind))
    try:
        if len(set(map(tf.compat.as_bytes, plans))) > 1:
            raise ValueError('it is of several networks')
        plan = QuantPlan.from_json(tf.compat.as_str(plans[-1]), functools.partial(_is_narrow, graph))
        _check(graph, plan)
    except Exception as error:  # a note may have any contents
        raise _damaged(collection, str(error) or type(error).__name__) from error
    return plan


def _check(graph: tf.Graph, plan: QuantPlan) -> None:
    """Raises a ValueError if a plan has values of a wrong type or is that of another graph."""
    if not _is_a(plan, QuantPlan):
        raise ValueError('a value has another type')
    for record in plan.tensors:
        if not 0 < record.bits <= 32 or record.mode not in (0, 1, 2) or record.method not in (0, 1, 2):
            raise ValueError('{!r} cannot be quantized with {} bits, mode {} and method {}'.format(
                record.name, record.bits, record.mode, record.method))
    known = _quantizing_ops(graph)
    lost = next((record.name for record in plan.tensors if record.name not in known), None)
    if lost is not None:
        raise ValueError('it quantizes {!r}, which the graph does not'.format(lost))


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value has the type `kind`, a NamedTuple, a typing.Tuple or a built-in class."""
    arguments = getattr(kind, '__args__', None)
    if hasattr(kind, '_fields'):
        hints = get_type_hints(kind)
        return type(value) is kind and all(_is_a(item, hints[field]) for field, item in zip(kind._fields, value))
    if not arguments:
        return type(value) is kind
    kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
    return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_is_a, value, kinds))


def _damaged(what: str, problem: str) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.MISSING_QUANTIZE_INFO, 'Damaged record', 'The record of the quantization of the graph in {!r} cannot be read: '
        '{}. The MetaGraph that it comes from is damaged or of another version of vai_q_tensorflow; write it again.'.format(
            what, (problem.splitlines() or [''])[0]))


def _is_narrow(graph: tf.Graph, name: str) -> bool:
    """Whether the ops that quantize a tensor, one in each copy of the network, have a narrow range."""
    return any(op.get_attr('symmetric') for op in graph.get_operations() if op.type in _QUANTIZE_OPS and
               (op.name == name or op.name.endswith('/' + name)))


def check_same_range(plan: QuantPlan, config: QuantizeConfig) -> None:
    """Raises a QuantizeError ALREADY_QUANTIZED if the config has another range than the QuantPlan of a rewritten graph.

    The order of nodes and ':0' after their names do not matter.
    """
    before = [list(plan.input_nodes), list(plan.output_nodes)]
    asked = [list(map(node_name, names)) for names in (config.input_nodes, config.output_nodes)]
    if any(set(names) != set(others) for names, others in zip(before, asked)):
        raise errors.QuantizeError(
            errors.ALREADY_QUANTIZED, 'Called twice',
            'The graph was rewritten from {} to {}, and now the range is from {} to {}. One graph takes one config; name all '
            'ends of the parts to quantize.'.format(*(', '.join(names) for names in before + asked)))


def float_graph(graph: tf.Graph) -> tf.GraphDef:
    """The float network before the rewrite of a graph, in its inference form."""
    if is_evaluation_of_0_1_0(graph):
        return release_0_1_0.float_network_of_evaluation(graph.as_graph_def(), evaluation_plan(graph))
    notes = graph.get_collection(_FLOAT_GRAPH)
    plan = plan_of(graph)
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
    except Exception as error:  # a note may have any contents
        raise _damaged(_FLOAT_GRAPH, str(error) or type(error).__name__) from error


def import_scope(graph: tf.Graph) -> str:
    """The name scope into which a rewritten graph was imported from a MetaGraph; '' for none."""
    return state(graph).op.name[:-len(STATE_NAME)]


def track(graph: tf.Graph) -> tf.Tensor:
    """The bool tensor of a training graph that says whether positions may move."""
    return _tensor(graph, TRACK)


def state(graph: tf.Graph) -> tf.Tensor:
    """The tf.Tensor with the resource handle of the votes."""
    return _tensor(graph, STATE_NAME)


def votes(graph: tf.Graph) -> tf.Tensor:
    """The tf.Tensor with the votes for the positions, float32 [tensors, 256]."""
    return _tensor(graph, VOTES_KEY)


def legal_positions(graph: tf.Graph) -> Optional[tf.Tensor]:
    """The tf.Tensor with the positions that a model of the votes has, int32 [tensors]; None in a graph of version 0.1.0."""
    return _find(graph, LEGAL)


class Table(NamedTuple):
    """A table of a training graph: its resource handle, and its values, float32 [rows, 256]."""
    handle: tf.Tensor
    values: tf.Tensor


def tables(graph: tf.Graph) -> List[Table]:
    """The Tables of a training: the votes and, if the training notes it, where it started from."""
    found = [Table(state(graph), votes(graph))]
    if _find(graph, START) is not None:
        found.append(Table(_tensor(graph, START), _tensor(graph, START_KEY)))
    return found


def identities_of_rows(graph: tf.Graph) -> Dict[str, Identity]:
    """{name of a row of `votes`: Identity of its tensor}, in the order of rows."""
    try:
        names, variables = _texts(graph, ROWS), _texts(graph, ROW_VARIABLES)
        earlier: List[Sequence[str]]
        if _find(graph, ROW_STRUCTURES) is None:  # a graph of version 0.1.0
            structures, earlier = [''] * len(names), [()] * len(names)
        else:
            structures, earlier = _texts(graph, ROW_STRUCTURES), _texts(graph, ROW_EARLIER)
        bits = [0.] * len(names) if _find(graph, ROW_BITS) is None else _values(graph, ROW_BITS).tolist()
        if len({len(texts) for texts in (names, variables, structures, earlier, bits)}) > 1:
            raise ValueError('there are not as many of each')
    except (AttributeError, TypeError, ValueError) as error:
        raise _damaged(ROWS, str(error)) from error
    return {name: Identity(structure, variable, tuple(filter(None, others)), int(width))
            for name, structure, variable, others, width in zip(names, structures, variables, earlier, bits)}


def _texts(graph: tf.Graph, name: str) -> list:
    """The strings in a constant, in lists of the same shape."""
    return _values(graph, name).astype(str).tolist()


def _values(graph: tf.Graph, name: str) -> np.ndarray:
    return tf.get_static_value(_find(graph, name))


def _tensor(graph: tf.Graph, name: str) -> tf.Tensor:
    """The tf.Tensor of a node that the rewrite added."""
    found = _find(graph, name)
    if found is None:
        raise _damaged(name, 'the graph has no such node, or several')
    return found


def _find(graph: tf.Graph, name: str) -> Optional[tf.Tensor]:
    """Same as `_tensor`, None if there is none. In a graph that was imported with an import_scope it is in that scope."""
    try:
        return live_editor.tensor(graph, name)
    except (KeyError, ValueError):
        found = [op.outputs[0] for op in graph.get_operations() if op.name.endswith('/' + name) and op.outputs]
        return found[0] if len(found) == 1 else None
