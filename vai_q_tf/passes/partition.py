"""Splits a graph into the main part, which the passes work on, and the rest: pre-processing and post-processing."""
from typing import Collection, Container, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.control_flow import branch_nodes, placing, upstream_with_branches
from vai_q_tf.graph.dependence import operands, reach, readers
from vai_q_tf.graph.view import GraphView, node_name, normalise, output_index, tensor_name
from vai_q_tf.types import FunctionDefLibrary


class Partition(NamedTuple):
    """A graph in two parts.

    main: GraphDef of the nodes between input and output nodes, with a Placeholder for each output of an input node, and without
      devices and noted shapes. Control inputs are kept only if they place a constant in a branch or a loop. The order of nodes
      follows from what they read, so that a live graph and its frozen file are in the same order.
    before, after: NodeDefs of pre-processing, with the input nodes, and of post-processing.
    protected: the nodes of `main` that keep name and meaning.
    stand_ins: {name of a Placeholder of `main`: the output of an input node that it represents}.
    library: the functions of the graph.
    outputs: the output nodes.
    """
    main: tf.GraphDef
    before: Tuple[tf.NodeDef, ...]
    after: Tuple[tf.NodeDef, ...]
    protected: FrozenSet[str]
    stand_ins: Dict[str, str]
    library: FunctionDefLibrary
    outputs: Tuple[str, ...]


def partition(graph_def: tf.GraphDef, config: QuantizeConfig) -> Partition:
    """The Partition of the graph at config.input_nodes and config.output_nodes.

    The rest are the nodes that the input nodes depend on, the nodes between values of the main part and other results of
    the graph, and all that those depend on. All other nodes are dropped.

    Raises:
      QuantizeError: LENGTH_MISMATCH for a shape in config.input_shapes that a Placeholder does not take.
    """
    view = GraphView(graph_def)
    inputs = tuple(dict.fromkeys(node_name(name) for name in config.input_nodes))
    outputs = tuple(node_name(name) for name in config.output_nodes)
    branches = branch_nodes(view)
    members = upstream_with_branches(view, outputs, inputs, branches)
    inner = members.difference(inputs)
    before = _upstream(view, inputs, inner) - inner
    after = _upstream(view, _post_processing(view, members, inputs), inner) - inner - before
    placeholders = _placeholders(graph_def, view, inputs, members, _given_shapes(config))
    names = {tensor: node.name for tensor, node in placeholders.items()}
    nodes = list(placeholders.values())
    for name in view.upstream(outputs + view.names, inputs):
        if name in inner:
            node = editor.copy(view.node(name), inputs=[names.get(tensor, tensor) for tensor in view.inputs(name)])
            node.input.extend('^' + control for control in placing(view, name, branches))
            nodes.append(node)
    read = {node_name(tensor) for name in before | after for tensor in view.inputs(name)}
    protected = frozenset(outputs).union(names.values(), read & members, inputs)
    before_nodes, after_nodes = (tuple(view.node(name) for name in view.names if name in part) for part in (before, after))
    return Partition(editor.subgraph(graph_def, nodes), before_nodes, after_nodes, protected,
                     {stand_in: tensor for tensor, stand_in in names.items()}, graph_def.library, outputs)


def merge(parts: Partition, main: tf.GraphDef) -> tf.GraphDef:
    """The whole GraphDef again: `main`, parts.main after the passes, and the rest, producers before their readers.

    New nodes with names that the rest has are renamed. Noted shapes are dropped.
    """
    names = _new_names(parts, main)
    nodes = list(parts.before)
    for node in main.node:
        if node.name not in parts.stand_ins:
            nodes.append(editor.copy(node, names.get(node.name)))
            nodes[-1].input[:] = [_renamed(operand, names) for operand in node.input]
    nodes += parts.after
    known = {node.name for node in nodes}
    result = editor.subgraph(main, [_without_dangling_controls(node, known) for node in nodes])
    result.library.CopyFrom(parts.library)
    view = GraphView(result)
    starts = tuple(node.name for node in parts.before) + parts.outputs + view.names
    return editor.subgraph(result, [view.node(name) for name in view.upstream(starts)])


def _new_names(parts: Partition, main: tf.GraphDef) -> Dict[str, str]:
    """{node of `main`: its new name, for a stand-in the tensor that it represents}"""
    inside, outside = [{node.name for node in nodes} for nodes in (main.node, parts.before + parts.after)]
    renamed = {name: editor.unused_name(name, inside | outside) for name in inside & outside}
    return {**renamed, **parts.stand_ins}


def _renamed(operand: str, names: Mapping[str, str]) -> str:
    if operand.startswith('^'):
        return '^' + node_name(names.get(operand[1:], operand))
    name = names.get(node_name(operand), node_name(operand))
    return name if ':' in name else tensor_name(name, output_index(operand))


def _without_dangling_controls(node: tf.NodeDef, known: Container[str]) -> tf.NodeDef:
    return editor.with_inputs(node, [operand for operand in node.input if not operand.startswith('^') or operand[1:] in known])


def _post_processing(view: GraphView, members: Set[str], inputs: Collection[str]) -> Set[str]:
    """The nodes outside `members` on a path from a computed member to a node that nothing depends on."""
    nodes = [view.node(name) for name in view.names]
    waiting = readers(nodes)
    between = reach(inputs, readers(nodes, controls=False)).difference(members, inputs)
    results = [name for name in between if not waiting(name) and (view.output_types(name) or not view.is_known(name))]
    return reach(results, lambda name: between.intersection(map(node_name, view.inputs(name))))


def _upstream(view: GraphView, starts: Iterable[str], stops: Container[str]) -> Set[str]:
    """The nodes that `starts` depend on through data and control inputs, both ends included, not beyond `stops`."""
    return reach(starts, lambda name: () if name in stops else operands(view, name))


def _given_shapes(config: QuantizeConfig) -> Dict[str, List[int]]:
    """{input node: its shape in config.input_shapes}"""
    names = (node_name(name) for name in config.input_nodes)
    return {name: list(shape) for name, shape in zip(names, config.input_shapes)}


def _placeholders(graph_def: tf.GraphDef, view: GraphView, inputs: Sequence[str], members: Container[str],
                  given: Mapping[str, List[int]]) -> Dict[str, tf.NodeDef]:
    """{output of an input node: Placeholder NodeDef}; given: see _given_shapes."""
    shapes = _own_shapes(graph_def, view, inputs)
    found: Dict[str, tf.NodeDef] = {}
    taken: Set[str] = set(view.names)
    for name in inputs:
        for index, dtype in enumerate(view.output_types(name) or (tf.float32,)):
            tensor, stand_in = tensor_name(name, index), name
            shape = shapes.get(tensor)
            if index:
                if not any(reader in members for reader, _ in view.consumers(tensor)):
                    continue
                stand_in = editor.unused_name('{}/output_{}'.format(name, index), taken)
                taken.add(stand_in)
            elif name in given:
                shape = _narrowed(name, shape, given[name])
            found[tensor] = editor.placeholder(stand_in, dtype, shape)
    return found


def _own_shapes(graph_def: tf.GraphDef, view: GraphView, inputs: Sequence[str]) -> Dict[str, Optional[List[int]]]:
    """{output of an input node: list of dimensions}, as far as the graph alone determines them."""
    shapes = {name: view.shape(name) for name in inputs if view.op(name) == 'Placeholder'}
    computed = [name for name in inputs if name not in shapes]
    if computed:
        shapes.update(_inferred_shapes(graph_def, view, computed))
    return shapes


def _inferred_shapes(graph_def: tf.GraphDef, view: GraphView, names: Sequence[str]) -> Dict[str, List[int]]:
    """{output of one of the nodes `names`: list of dimensions}, as TensorFlow infers them, if it knows the rank."""
    nodes = [editor.copy(view.node(name)) for name in view.upstream(names)]
    with tf.Graph().as_default() as graph:
        large_constants.import_graph_def(editor.subgraph(graph_def, nodes), name='')
    outputs = [output for name in names for output in graph.get_operation_by_name(name).outputs]
    return {normalise(output.name): [-1 if dim.value is None else dim.value for dim in output.shape.dims]
            for output in outputs if output.shape.dims is not None}


def _narrowed(name: str, own: Optional[List[int]], given: List[int]) -> List[int]:
    """The dimensions that both shapes give. A known batch of the graph stays unless `given` opens it: constants may have it."""
    if own is None:
        return given
    fits = len(own) == len(given) and all(-1 in (mine, wanted) or mine == wanted for mine, wanted in zip(own[1:], given[1:]))
    # Old GraphDefs write an unknown rank as rank 0.
    if not fits and own:
        raise errors.QuantizeError(
            errors.LENGTH_MISMATCH, 'Invalid parameter', 'Input node {!r} has the shape {} in the graph, which does not '
            'take the shape {} of input_shapes.'.format(name, own, given))
    if not own:
        return given
    batch = own[:1] if min(own[0], given[0]) > 0 else given[:1]
    return batch + [mine if wanted == -1 else wanted for mine, wanted in zip(own[1:], given[1:])]
