"""The float network of a live graph as it computes at inference, as a GraphDef.

Between input and output nodes: batch norms use their moving averages, there are no dropouts, any batch is taken. Variables are
variables; `with_stand_ins` puts Consts in their place, which is what freezing does, but for the values.
"""
from typing import Dict, NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.dependence import reach, readers
from vai_q_tf.graph.traits import BATCH_NORM_OPS, READ_OPS
from vai_q_tf.graph.view import OUTPUT_OF, STANDS_FOR, VARIABLE_OPS, GraphView, node_name, tensor_name
from vai_q_tf.passes.cleanup.remove_dropouts import remove_dropouts
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import make_node
from vai_q_tf.patterns.batch_norm import TrainingNorm, find_training_norms
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.qat.network import plain_names
from vai_q_tf.qat.network.any_batch import take_any_batch

_RANDOM_OPS = ('Multinomial', 'TruncatedNormal')  # those whose names do not begin with it


class InferenceForm(NamedTuple):
    """The float network at inference; all names are those of the plain network, see `plain_names`.

    graph_def: a GraphDef with the input nodes as Placeholders.
    norms: the TrainingNorms of the live graph.
    changed: the nodes that compute otherwise than the live ops of their names, or have none.
    variables: {variable: a tensor of the live graph that reads it}, under the names that the live graph has for the latter.
    """
    graph_def: tf.GraphDef
    norms: Tuple[TrainingNorm, ...]
    changed: frozenset
    variables: Dict[str, str]


def inference_form(graph_def, view, config, prefix='', any_batch=False):
    """The InferenceForm of the network in a live graph.

    Args:
      graph_def: of the live graph, with shapes. view: its GraphView.
      config: the QuantizeConfig, with the names of the live graph.
      prefix: what the names of this copy of the network begin with.
      any_batch: whether the result takes any batch, though the live graph may take one only.

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
    ends = [[plain[name] for name in names] for names in (graph_range.input_nodes, graph_range.output_nodes)]
    form = remove_dropouts(form, ends[0] + ends[1], config)
    ends[0] += [node.name for node in form.node if OUTPUT_OF in node.attr]
    if any_batch:
        live = {renamed: name for name, renamed in plain.items()}
        live.update((node.name, node.attr[OUTPUT_OF].s.decode()) for node in form.node if OUTPUT_OF in node.attr)
        form = take_any_batch(form, *ends, lambda tensor: view.shape(_renamed_tensor(tensor, live)))
    made = {node.name for node in form.node if OUTPUT_OF not in node.attr}.difference(plain.values())
    return InferenceForm(form, tuple(_plain_norm(norm, plain, prefix) for norm in norms),
                         frozenset(plain[name] for name in changed) | made, variables)


def at_inference(view, input_nodes, output_nodes, norms):
    """{name: NodeDef} of the network of a GraphView with the TrainingNorms `norms` on the moving averages, producers first."""
    moved, fused = {}, {}
    for norm in norms:
        if norm.node:
            fused[norm.node] = [norm.moving_mean, norm.moving_variance]
        else:
            moved.update({norm.batch_mean: norm.moving_mean, norm.batch_variance: norm.moving_variance})
    averages = [node_name(tensor) for norm in norms for tensor in (norm.moving_mean, norm.moving_variance)]
    nodes = {}
    order = view.upstream(list(output_nodes) + averages, input_nodes)
    for name in input_nodes:
        for index in range(1, len(view.output_types(name))):
            tensor = tensor_name(name, index)
            if any(reader in order and reader not in input_nodes for reader, _ in view.consumers(tensor)):
                stand_in = editor.unused_name('{}/output_{}'.format(name, index), view)
                moved[tensor] = stand_in
                nodes[stand_in] = editor.placeholder(stand_in, view.dtype(tensor), view.shape(tensor))
                nodes[stand_in].attr[OUTPUT_OF].s = tensor.encode()
    for name in order:
        if name in input_nodes:
            nodes[name] = editor.placeholder(name, view.dtype(name), view.shape(name))
            continue
        inputs = [moved.get(tensor, tensor) for tensor in view.inputs(name)]
        node = editor.copy(view.node(name), inputs=inputs)
        if name in fused:
            node.input[3:] = fused[name]
            node.attr['is_training'].b = False
        nodes[name] = node
    whole = GraphView(tf.GraphDef(node=nodes.values()))
    return {name: nodes[name] for name in whole.upstream(output_nodes)}


def _changed(nodes, norms):
    """The nodes that depend on moving averages which the live graph reads elsewhere, up to the results of the norms."""
    following = readers(nodes.values())
    starts, ends = set(), {node_name(norm.output) for norm in norms}
    for norm in norms:
        if norm.node:
            starts.add(norm.node)
        else:
            for average in (norm.moving_mean, norm.moving_variance):
                starts.update(following(node_name(average)))
    return frozenset(reach(starts, lambda name: () if name in ends else following(name)))


def _read(view, variable, nodes):
    """The tensor of the live graph that reads a variable, best in the network, but for nothing that another read waits for."""
    reads = [name for name, _ in view.consumers(variable) if view.op(name) in READ_OPS]
    own = [name for name in reads if name in nodes]
    if not own and view.op(variable) != 'VarHandleOp':
        return variable
    return next((name for name in own + reads if not view.control_inputs(name)), (own + [variable])[0])


def _plain(view, name, prefix):
    return (plain_names.variable_without if view.op(name) in VARIABLE_OPS else plain_names.without)(prefix, name)


def _renamed(node, plain):
    node.name = plain[node.name]
    node.input[:] = [_renamed_tensor(operand, plain) for operand in node.input]
    if OUTPUT_OF in node.attr:
        node.attr[OUTPUT_OF].s = _renamed_tensor(node.attr[OUTPUT_OF].s.decode(), plain).encode()
    return node


def _renamed_tensor(tensor, plain):
    name, separator, index = tensor.partition(':')
    return plain.get(name, name) + separator + index


def _plain_norm(norm, plain, prefix):
    def renamed(tensor):
        return _renamed_tensor(tensor, plain) if node_name(tensor) in plain else plain_names.without(prefix, tensor)
    return TrainingNorm(*map(renamed, norm[:-1]), data_format=norm.data_format)


def all_inputs(graph_def, config):
    """The config with the stand-ins for further outputs of input nodes among the input nodes of the inference form."""
    extra = [node for node in graph_def.node if OUTPUT_OF in node.attr]
    if not extra:
        return config
    shapes = [[dim.size for dim in node.attr['shape'].shape.dim] for node in extra] if config.input_shapes else []
    return config.replace(input_nodes=config.input_nodes + [node.name for node in extra],
                          input_shapes=config.input_shapes + shapes)


def with_stand_ins(graph_def):
    """The graph with a Const of unknown value under the name of each variable, as freezing would write it.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH naming a variable without a static shape, or one that is read inside of a function.
    """
    _check_no_captures(graph_def)
    axes = [_axis(node) for node in graph_def.node if node.op == 'ResourceGather']
    return editor.subgraph(graph_def, axes + [_stand_in(node) for node in graph_def.node])


def _check_no_captures(graph_def):
    handles = {node.name for node in graph_def.node if node.op == 'VarHandleOp'}
    for node in graph_def.node:
        captured = handles.intersection(map(node_name, node.input)) if node.op not in READ_OPS | {'ResourceGather'} else ()
        if captured:
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Variable in a function', 'Node {!r} ({}) takes the variable {!r} itself, not its '
                'value, as functions do; it can be neither frozen nor quantized there. Build that layer outside of '
                'tf.function and Defun.'.format(node.name, node.op, min(captured)))


def _axis(gather):
    return editor.constant(gather.name + '/axis', gather.attr['Tindices'].type, np.array(0))


def _stand_in(node):
    if node.op == 'ReadVariableOp':
        read = editor.copy(node)
        read.op = 'Identity'
        read.attr['T'].type = read.attr.pop('dtype').type
        return read
    if node.op == 'ResourceGather':
        return make_node('GatherV2', node.name, list(node.input[:2]) + [_axis(node).name], like=node, batch_dims=0, **{
            key: tf.as_dtype(node.attr[source].type) for key, source in (
                ('Tparams', 'dtype'), ('Tindices', 'Tindices'), ('Taxis', 'Tindices'))})
    if node.op not in VARIABLE_OPS:
        return node
    shape = node.attr['shape'].shape
    if shape.unknown_rank or any(dim.size < 0 for dim in shape.dim):
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Unknown shape', 'The variable {!r} has no static shape. Give it one when it is '
            'made.'.format(node.name))
    const = tf.NodeDef(name=node.name, op='Const')
    const.attr['dtype'].type = node.attr['dtype'].type
    const.attr['value'].tensor.dtype = node.attr['dtype'].type
    const.attr['value'].tensor.tensor_shape.CopyFrom(shape)
    const.attr[STANDS_FOR].s = node.name.encode()
    return const


def training_only(op, is_training):
    """In words, what keeps an op of this type from having an inference form; '' where nothing does.

    is_training: function without arguments that gives that attr of a batch norm.
    """
    if op in BATCH_NORM_OPS and is_training():
        return 'a float batch norm on the statistics of the batch'
    return 'random' if op.startswith('Random') or op in _RANDOM_OPS else ''


def check_inference(graph_def):
    """Raises a QuantizeError UNSUPPORTED_GRAPH naming a node of an optimised graph that computes otherwise in training."""
    view = GraphView(graph_def)
    static = static_nodes(view, in_branches=True)
    for function in graph_def.library.function:
        for node in function.node_def:
            what = training_only(node.op, lambda node=node: 'is_training' not in node.attr or node.attr['is_training'].b)
            if what:
                raise _not_derived('the function {!r} has an op ({}) that'.format(function.signature.name, node.op), what)
    for name in view.names:
        what = training_only(view.op(name), lambda name=name: view.attr(name, 'is_training').b)
        if view.op(name) == 'Mean' and name not in static and _reduces_batch(view, name):
            what = 'a mean over the batch'
        if what:
            raise _not_derived('node {!r} ({})'.format(name, view.op(name)), what)


def _not_derived(where, what):
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Cannot derive', 'The evaluation graph cannot be derived from the training graph: {} is {}. '
        'Give a function that builds the float evaluation graph.'.format(where, what))


def _reduces_batch(view, mean):
    axes = view.value(view.skip_identity(view.inputs(mean)[1]))
    shape = view.shape(view.inputs(mean)[0])
    return axes is not None and 0 in axes.reshape(-1) and not (shape is not None and len(shape) == 1)
