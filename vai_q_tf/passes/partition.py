"""The main part of a graph, which the passes work on, and the rest: pre-processing and post-processing."""
from typing import Dict, FrozenSet, NamedTuple, Tuple

import tensorflow.compat.v1 as tf
from google.protobuf.message import Message  # type: ignore

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.control_flow import branch_nodes, placing
from vai_q_tf.graph.dependence import operands, reach, readers
from vai_q_tf.graph.view import GraphView, node_name, normalise, output_index, tensor_name


class Partition(NamedTuple):
    """A graph in two parts.

    main: GraphDef of the nodes between input and output nodes, where a Placeholder stands for each output of an input node,
      without devices and noted shapes. Control inputs are left only where they say in which branch or loop a constant is.
    rest: NodeDefs of what comes before and after, the input nodes themselves included.
    protected: the nodes of `main` that have to keep their name and meaning.
    stand_ins: {name of a Placeholder of `main`: the tensor of an input node that it stands for}.
    library: the functions of the graph.
    """
    main: tf.GraphDef
    rest: Tuple[tf.NodeDef, ...]
    protected: FrozenSet[str]
    stand_ins: Dict[str, str]
    library: Message


def partition(graph_def, config):
    """The Parts of the graph between config.input_nodes and config.output_nodes.

    The rest are the nodes that the input nodes depend on, the nodes between values of the main part and other results of
    the graph, and what those need. All other nodes are in neither part.

    Raises:
      QuantizeError: LENGTH_MISMATCH for a shape in config.input_shapes that a Placeholder does not take.
    """
    view = GraphView(graph_def)
    inputs = tuple(dict.fromkeys(node_name(name) for name in config.input_nodes))
    outputs = tuple(node_name(name) for name in config.output_nodes)
    branches = branch_nodes(view)
    members = _members(view, outputs, inputs, branches)
    inner = members.difference(inputs)
    rest = _upstream(view, list(_behind(view, members, inputs)) + list(inputs), inner) - inner
    placeholders, names = _placeholders(graph_def, view, inputs, members, _given_shapes(config))
    nodes = list(placeholders)
    for name in view.names:
        if name in inner:
            node = editor.copy(view.node(name), inputs=[names.get(tensor, tensor) for tensor in view.inputs(name)])
            node.input.extend('^' + control for control in placing(view, name, branches))
            nodes.append(node)
    main = editor.subgraph(graph_def, nodes)
    read = {node_name(tensor) for name in rest for tensor in view.inputs(name)}
    protected = frozenset(outputs).union(names.values(), read & members, inputs)
    return Partition(main, tuple(view.node(name) for name in view.names if name in rest), protected,
                 {stand_in: tensor for tensor, stand_in in names.items()}, graph_def.library)


def merge(parts, main):
    """The whole GraphDef again: `main`, which passes made of parts.main, with the rest. Producers come before readers.

    Names that passes made up and that the rest has are changed. Noted shapes are dropped.
    """
    taken = {node.name for node in parts.rest}
    names = dict(parts.stand_ins)
    used = taken.union(node.name for node in main.node)
    for node in main.node:
        if node.name in taken and node.name not in names:
            names[node.name] = editor.unused_name(node.name, used)
            used.add(names[node.name])
    nodes = list(parts.rest)
    for node in main.node:
        if node.name not in parts.stand_ins:
            nodes.append(editor.copy(node, names.get(node.name)))
            nodes[-1].input[:] = [_renamed(operand, names) for operand in node.input]
    known = {node.name for node in nodes}
    result = editor.subgraph(main, [_without_lost_controls(node, known) for node in nodes])
    result.library.CopyFrom(parts.library)
    view = GraphView(result)
    return editor.subgraph(result, [view.node(name) for name in view.upstream(view.names)])


def _renamed(tensor, names):
    if tensor.startswith('^'):
        return '^' + node_name(names.get(tensor[1:], tensor))
    name = names.get(node_name(tensor), node_name(tensor))
    return name if ':' in name else tensor_name(name, output_index(tensor))


def _without_lost_controls(node, known):
    return editor.with_inputs(node, [operand for operand in node.input if not operand.startswith('^') or operand[1:] in known])


def _members(view, outputs, inputs, branches):
    """The nodes from the outputs back to the inputs, both ends included."""
    return reach(outputs, lambda name: () if name in inputs else (
        [node_name(tensor) for tensor in view.inputs(name)] + list(placing(view, name, branches))))


def _behind(view, members, inputs):
    """The nodes outside `members` between a computed value of theirs and a result: what no node at all depends on."""
    nodes = [view.node(name) for name in view.names]
    waiting = readers(nodes)
    between = reach(inputs, readers(nodes, controls=False)).difference(members, inputs)
    results = [name for name in between if not waiting(name) and (view.output_types(name) or not view.is_known(name))]
    return reach(results, lambda name: between.intersection(map(node_name, view.inputs(name))))


def _upstream(view, starts, stops):
    """All that `starts` depend on, through data and control inputs, themselves included; not beyond `stops`."""
    return reach(starts, lambda name: () if name in stops else operands(view, name))


def _given_shapes(config):
    names = (node_name(name) for name in config.input_nodes)
    return {name: list(shape) for name, shape in zip(names, config.input_shapes)}


def _placeholders(graph_def, view, inputs, members, given):
    """Placeholder NodeDefs for the input nodes, and {tensor: name of its Placeholder}."""
    shapes = _own_shapes(graph_def, view, inputs, given)
    nodes, names, taken = [], {}, set(view.names)
    for name in inputs:
        for index, dtype in enumerate(view.output_types(name) or (tf.float32,)):
            tensor, stand_in = tensor_name(name, index), name
            if index and not any(reader in members for reader, _ in view.consumers(tensor)):
                continue
            if index:
                stand_in = editor.unused_name('{}/output_{}'.format(name, index), taken)
                taken.add(stand_in)
            shape = shapes.get(tensor)
            if not index and name in given:
                shape = _narrowed(name, shape, given[name])
            names[tensor] = stand_in
            nodes.append(editor.placeholder(stand_in, dtype, shape))
    return nodes, names


def _own_shapes(graph_def, view, inputs, given):
    """{tensor: list of dimensions} of the outputs of the input nodes, as far as the graph alone tells."""
    shapes, computed = {}, []
    for name in inputs:
        if view.op(name) == 'Placeholder':
            shapes[name] = view.shape(name)
        elif name not in given or len(view.output_types(name)) > 1:
            computed.append(name)
    if computed:
        nodes = [editor.copy(view.node(name)) for name in view.upstream(computed)]
        with tf.Graph().as_default() as graph:
            large_constants.import_graph_def(editor.subgraph(graph_def, nodes), name='')
        for name in computed:
            for output in graph.get_operation_by_name(name).outputs:
                if output.shape.ndims is not None:
                    dims = [-1 if dim.value is None else dim.value for dim in output.shape.dims]
                    shapes[normalise(output.name)] = dims
    return shapes


def _narrowed(name, own, given):
    """The dimensions of both; the given one counts for the batch."""
    if own is None:
        return given
    fits = len(own) == len(given) and all(-1 in (mine, wanted) or mine == wanted for mine, wanted in zip(own[1:], given[1:]))
    # A placeholder of the old kind says with rank 0 that it does not know its rank.
    if not fits and own:
        raise errors.QuantizeError(
            errors.LENGTH_MISMATCH, 'Invalid parameter', 'Input node {!r} has the shape {} in the graph, which does not '
            'take the shape {} of input_shapes.'.format(name, own, given))
    return given[:1] + [mine if wanted == -1 else wanted for mine, wanted in zip(own[1:], given[1:])] if own else given
