"""The float network of a live graph as it computes at inference, as a GraphDef.

Between input and output nodes, batch norms use their moving averages, dropouts are gone, and any batch size is accepted.
Variables are still variables; `stand_ins` replaces them by Consts.
"""
import functools
from typing import Callable, Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.dependence import reach, readers
from vai_q_tf.graph.traits import BATCH_NORM_OPS, READ_OPS
from vai_q_tf.graph.view import OUTPUT_OF, VARIABLE_OPS, GraphView, node_name, output_index, tensor_name
from vai_q_tf.passes.cleanup.remove_dropouts import remove_dropouts
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.patterns.batch_norm import TrainingNorm, find_training_norms
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.qat.network import plain_names
from vai_q_tf.qat.network.any_batch import take_any_batch
from vai_q_tf.qat.network.stand_ins import output_of
from vai_q_tf.types import TensorShapeProto

_RANDOM_OPS = ('Multinomial', 'TruncatedNormal')  # besides Random...


class InferenceForm(NamedTuple):
    """The float network at inference; all names are those of the plain network, see `plain_names`.

    graph_def: a GraphDef whose input nodes are Placeholders.
    norms: the TrainingNorms of the live graph.
    changed: the nodes that compute something else than the live ops of their names, or have no live op.
    variables: {variable: the tensor of the live graph that reads it, under its name in the live graph}.
    """
    graph_def: tf.GraphDef
    norms: Tuple[TrainingNorm, ...]
    changed: FrozenSet[str]
    variables: Dict[str, str]


def inference_form(graph_def: tf.GraphDef, view: GraphView, config: QuantizeConfig, prefix: str = '',
                   any_batch: bool = False) -> InferenceForm:
    """The InferenceForm of the network in a live graph.

    Args:
      graph_def: of the live graph, with shapes. view: its GraphView.
      config: the QuantizeConfig, with the names of the live graph.
      prefix: prefix of the names of this copy of the network.
      any_batch: whether the result accepts any batch size even if the live graph has a fixed one.

    Raises:
      QuantizeError: an unknown node, an empty range, a graph that is quantized already, a batch norm without an inference form.
    """
    graph_range = GraphRange(view, config.input_nodes, config.output_nodes)
    norms = find_training_norms(graph_range, frozenset(map(node_name, config.ignore_nodes)))
    nodes = at_inference(view, graph_range.input_nodes, graph_range.output_nodes, norms)
    changed = _changed(nodes, norms)
    plain = {name: _plain(view, name, prefix) if name in view else plain_names.without(prefix, name) for name in nodes}
    variables = {plain[name]: _read(view, name, nodes) for name in nodes if name in view and view.op(name) in VARIABLE_OPS}
    form = editor.subgraph(graph_def, [_renamed(node, plain) for node in nodes.values()])
    inputs, outputs = ([plain[name] for name in names] for names in (graph_range.input_nodes, graph_range.output_nodes))
    form = remove_dropouts(form, inputs + outputs, config)
    if any_batch:
        form = _for_any_batch(form, inputs, outputs, view, {renamed: name for name, renamed in plain.items()})
    made = {node.name for node in form.node if not output_of(node)}.difference(plain.values())
    return InferenceForm(form, tuple(_plain_norm(norm, plain, prefix) for norm in norms),
                         frozenset(plain[name] for name in changed) | made, variables)


def _for_any_batch(form: tf.GraphDef, inputs: List[str], outputs: List[str], view: GraphView,
                   live: Dict[str, str]) -> tf.GraphDef:
    """The form for any batch size; live: {plain name: name in the GraphView of the live graph}."""
    stand_ins = {node.name: output_of(node) for node in form.node if output_of(node)}
    live = {**live, **{name: _renamed_tensor(output, live) for name, output in stand_ins.items()}}
    return take_any_batch(form, inputs + list(stand_ins), outputs, lambda tensor: view.shape(_renamed_tensor(tensor, live)))


def at_inference(view: GraphView, input_nodes: Sequence[str], output_nodes: Sequence[str],
                 norms: Sequence[TrainingNorm]) -> Dict[str, tf.NodeDef]:
    """{name: NodeDef} of the network in the view, its TrainingNorms on their moving averages, producers first."""
    averages = [node_name(tensor) for norm in norms for tensor in (norm.moving_mean, norm.moving_variance)]
    order = view.upstream(list(output_nodes) + averages, input_nodes)
    nodes = {node.name: node for node in _further_outputs(view, input_nodes, frozenset(order))}
    replaced = {output_of(node): name for name, node in nodes.items()}
    fused = {norm.node: norm for norm in norms if norm.node}
    for norm in norms:
        if not norm.node:
            replaced.update({norm.batch_mean: norm.moving_mean, norm.batch_variance: norm.moving_variance})
    for name in order:
        if name in input_nodes:
            nodes[name] = editor.placeholder(name, view.dtype(name), view.shape(name))
            continue
        nodes[name] = editor.copy(view.node(name), inputs=[replaced.get(operand, operand) for operand in view.inputs(name)])
        if name in fused:
            nodes[name].input[3:] = [fused[name].moving_mean, fused[name].moving_variance]
            nodes[name].attr['is_training'].b = False
    whole = GraphView(tf.GraphDef(node=nodes.values()))
    return {name: nodes[name] for name in whole.upstream(output_nodes)}


def _further_outputs(view: GraphView, input_nodes: Sequence[str], members: FrozenSet[str]) -> Iterator[tf.NodeDef]:
    """A Placeholder for each output of an input node but the first that the other `members` read."""
    for name in input_nodes:
        for index in range(1, len(view.output_types(name))):
            tensor = tensor_name(name, index)
            if any(reader in members and reader not in input_nodes for reader, _ in view.consumers(tensor)):
                stand_in = editor.unused_name('{}/output_{}'.format(name, index), view.names)
                node = editor.placeholder(stand_in, view.dtype(tensor), view.shape(tensor))
                node.attr[OUTPUT_OF].s = tensor.encode()
                yield node


def _changed(nodes: Dict[str, tf.NodeDef], norms: Sequence[TrainingNorm]) -> FrozenSet[str]:
    """The nodes that depend on moving averages where the live graph reads batch statistics, up to the results of the norms."""
    following = readers(nodes.values())
    starts, ends = set(), {node_name(norm.output) for norm in norms}
    for norm in norms:
        if norm.node:
            starts.add(norm.node)
        else:
            for average in (norm.moving_mean, norm.moving_variance):
                starts.update(following(node_name(average)))
    return frozenset(reach(starts, lambda name: () if name in ends else following(name)))


def _read(view: GraphView, variable: str, nodes: Mapping[str, tf.NodeDef]) -> str:
    """The tensor of the live graph that reads a variable: a read without control inputs, preferably in the network.

    For a reference variable without a read op in the network it is the variable itself.
    """
    reads = [name for name, _ in view.consumers(variable) if view.op(name) in READ_OPS]
    own = [name for name in reads if name in nodes]
    if not own and view.op(variable) != 'VarHandleOp':
        return variable
    return next((name for name in own + reads if not view.control_inputs(name)), (own + [variable])[0])


def _plain(view: GraphView, name: str, prefix: str) -> str:
    return (plain_names.variable_without if view.op(name) in VARIABLE_OPS else plain_names.without)(prefix, name)


def _renamed(node: tf.NodeDef, names: Mapping[str, str]) -> tf.NodeDef:
    node.name = names[node.name]
    node.input[:] = [_renamed_tensor(operand, names) for operand in node.input]
    if output_of(node):
        node.attr[OUTPUT_OF].s = _renamed_tensor(output_of(node), names).encode()
    return node


def _renamed_tensor(tensor: str, names: Mapping[str, str]) -> str:
    name, separator, index = tensor.partition(':')
    return names.get(name, name) + separator + index


def _plain_norm(norm: TrainingNorm, plain: Mapping[str, str], prefix: str) -> TrainingNorm:
    def renamed(tensor: str) -> str:
        return _renamed_tensor(tensor, plain) if node_name(tensor) in plain else plain_names.without(prefix, tensor)
    return norm._replace(**{field: renamed(name) for field, name in norm._asdict().items() if field != 'data_format'})


def training_only(op: str, is_training: Callable[[], bool]) -> str:
    """Why an op of this type has no inference form, in words; '' if it has one.

    is_training: returns that attr of a batch norm.
    """
    if op in BATCH_NORM_OPS and is_training():
        return 'a float batch norm on the statistics of the batch'
    return 'random' if op.startswith('Random') or op in _RANDOM_OPS else ''


def check_inference(graph_def: tf.GraphDef, shapes: Mapping[str, List[TensorShapeProto]]) -> None:
    """Raises a QuantizeError UNSUPPORTED_GRAPH naming a node of an optimised graph that behaves differently in training.

    shapes: {node: shapes of its outputs}.
    """
    for function in graph_def.library.function:
        for node in function.node_def:
            what = training_only(node.op, functools.partial(_is_training, node))
            if what:
                raise _not_derived('the function {!r} has an op ({}) that'.format(function.signature.name, node.op), what)
    view = GraphView(graph_def)
    static = static_nodes(view, in_branches=True)
    for name in view.names:
        what = training_only(view.op(name), functools.partial(_is_training, view.node(name)))
        if view.op(name) == 'Mean' and name not in static and _reduces_batch(view, name, shapes):
            what = 'a mean over the batch outside of a batch norm as tf.nn.batch_normalization writes it'
        if what:
            raise _not_derived('node {!r} ({})'.format(name, view.op(name)), what)


def _is_training(norm: tf.NodeDef) -> bool:
    return 'is_training' not in norm.attr or norm.attr['is_training'].b


def _not_derived(where: str, what: str) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Cannot derive', 'The evaluation graph cannot be derived from the training graph: {} is {}. '
        'Give a function that builds the float evaluation graph; for tf.keras, call set_learning_phase(0) before the model is '
        'built.'.format(where, what))


def _reduces_batch(view: GraphView, mean: str, shapes: Mapping[str, List[TensorShapeProto]]) -> bool:
    tensor, axes = view.inputs(mean)[0], view.value(view.skip_identity(view.inputs(mean)[1]))
    shape = shapes[node_name(tensor)][output_index(tensor)]
    is_elsewhere = bool(shape.dim) and shape.dim[0].size > 0 and any(dim.size == -1 for dim in shape.dim[1:])
    return axes is not None and 0 in axes.reshape(-1) and len(shape.dim) != 1 and not is_elsewhere
