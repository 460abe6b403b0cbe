"""One graph with three networks side by side: the float one, the model, and the model with each layer alone.

In the third network every reader of a quantized activation reads the float tensor instead, so the error of a tensor is the one
that its own layer adds. Networks share the nodes that they have in common.
"""
from typing import Collection, Dict, Iterable, Mapping, NamedTuple, Optional, Sequence, Set

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import ENTER_OPS, next_iterations
from vai_q_tf.graph.dependence import reach, readers
from vai_q_tf.graph.view import GraphView, node_name, normalise, output_index, tensor_name
from vai_q_tf.passes.common.rewriter import make_node

_ANYWHERE = ('Placeholder', 'PlaceholderV2', 'PlaceholderWithDefault')


class SideBySide(NamedTuple):
    """Three networks in one graph, in which the model has its own names.

    float_of, alone_of: {FixNeuron: its float tensor}, {FixNeuron: its tensor with the layer alone}.
    prefix: no node of the model begins with it.
    """
    graph: tf.GraphDef
    float_of: Dict[str, str]
    alone_of: Dict[str, str]
    prefix: str


def without_fix_neurons(model: tf.GraphDef) -> tf.GraphDef:
    """The model without its FixNeurons; their readers read their inputs."""
    sources = {node.name: normalise(node.input[0]) for node in model.node if node.op == 'FixNeuron'}

    def resolved(reference: str) -> str:
        control, name = reference.startswith('^'), reference.lstrip('^')
        while node_name(name) in sources:
            name = sources[node_name(name)]
        return '^' + node_name(name) if control else name
    return editor.subgraph(model, [editor.with_inputs(node, list(map(resolved, node.input)))
                                   for node in model.node if node.name not in sources])


def side_by_side(model: tf.GraphDef, reference: tf.GraphDef, float_tensors: Mapping[str, str],
                 alone: Mapping[str, Optional[Sequence[float]]]) -> SideBySide:
    """The SideBySide of a model and its float network.

    Args:
      model, reference: GraphDefs. float_tensors: {FixNeuron: tensor of the reference}.
      alone: {FixNeuron: scales or None}; layers alone read the float tensor in its place. Scales multiply the channels, the
        last axis, of the float tensor first.
    """
    prefix = editor.unused_name('vai_q_tf/analysis', {node.name.rpartition('/')[0] for node in model.node})
    has_loops = any(node.op in ENTER_OPS for graph in (model, reference) for node in graph.node)
    nodes = list(map(_without_shapes, model.node))
    common = _common(model, reference, has_loops)
    float_names = {node.name: node.name if node.name in common else '{}/float/{}'.format(prefix, node.name)
                   for node in reference.node}
    nodes += [_moved(node, float_names, {}, prefix + '/float/') for node in reference.node if node.name not in common]
    float_of = {name: _renamed(float_names, tensor) for name, tensor in float_tensors.items()}
    for name, scales in sorted(alone.items()):
        if scales:
            factor = editor.constant('{}/scales/{}'.format(prefix, name), tf.float32, np.array(scales, np.float32))
            scaled = make_node('Mul', '{}/scaled/{}'.format(prefix, name), [float_of[name], factor.name], T=tf.float32)
            nodes += [factor, scaled]
            float_of[name] = scaled.name
    replaced = {name: float_of[name] for name in alone}
    copied = _copied(model, replaced, has_loops)
    alone_names = {node.name: '{}/alone/{}'.format(prefix, node.name) for node in model.node if node.name in copied}
    nodes += [_moved(node, alone_names, replaced, prefix + '/alone/') for node in model.node if node.name in copied]
    return SideBySide(editor.subgraph(model, nodes), float_of, {name: alone_names.get(name, name) for name in float_of}, prefix)


def _without_shapes(node: tf.NodeDef) -> tf.NodeDef:
    """The NodeDef without noted shapes, which cost time on import and may be refused there."""
    if '_output_shapes' not in node.attr:
        return node
    result = editor.exact_copy(node)
    result.attr.pop('_output_shapes')
    return result


def _common(model: tf.GraphDef, reference: tf.GraphDef, has_loops: bool) -> Set[str]:
    """The nodes of the reference that are equal in the model, with everything upstream of them."""
    view, other = GraphView(model), GraphView(reference)
    found: Set[str] = set()
    for name in other.upstream(other.names, next_iterations(other)):
        if name not in view or view.op(name) != other.op(name) or view.inputs(name) != other.inputs(name):
            continue
        node = other.node(name)
        if has_loops and node.input or any(node_name(operand) not in found for operand in node.input):
            continue
        if sorted(node.input) == sorted(view.node(name).input) and _attrs(node) == _attrs(view.node(name)):
            found.add(name)
    return found


def _attrs(node: tf.NodeDef) -> Dict[str, tf.AttrValue]:
    """The attrs that influence values. The shape of a placeholder does not, and quantizing may write it."""
    hidden = ('shape',) if node.op in _ANYWHERE else ()
    return {key: node.attr[key] for key in node.attr if not key.startswith('_') and key not in hidden}


def _copied(model: tf.GraphDef, replaced: Iterable[str], has_loops: bool) -> Collection[str]:
    """The nodes of the model downstream of `replaced` tensors; with loops, all that cannot be shared."""
    if has_loops:
        return {node.name for node in model.node if node.input and node.op not in _ANYWHERE}
    following = readers(model.node)
    return reach([reader for name in replaced for reader in following(name)], following)


def _renamed(names: Mapping[str, str], reference: str) -> str:
    """A tensor or control input in a graph whose nodes have other `names`."""
    name = node_name(reference)
    if reference.startswith('^'):
        return '^' + names.get(name, name)
    return tensor_name(names.get(name, name), output_index(reference))


def _moved(node: tf.NodeDef, names: Mapping[str, str], tensors: Mapping[str, str], prefix: str) -> tf.NodeDef:
    """The NodeDef under its new name, with inputs under theirs; the keys of `tensors` are replaced by the values."""
    result = _without_shapes(editor.exact_copy(node))
    result.name = names[node.name]
    result.input[:] = [_renamed(names, operand) if operand.startswith('^')
                       else tensors.get(normalise(operand), _renamed(names, operand)) for operand in node.input]
    result.attr.pop('_class', None)
    if node.op in ENTER_OPS:  # a frame is known by its name
        result.attr['frame_name'].s = (prefix + node.attr['frame_name'].s.decode()).encode()
    return result
