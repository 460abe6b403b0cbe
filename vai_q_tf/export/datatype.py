"""A float32 graph that computes in float16, bfloat16 or float64 instead.

All float32 types change: those of ops, constants and placeholders, and with them the types of feeds and fetches. An op whose
definition fixes float32 for an input or output (the result of ResizeBilinear) keeps that, between casts.
"""
from typing import Container, Dict, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.export import kernel_registry
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.traits import BATCH_NORM_OPS
from vai_q_tf.graph.view import GraphView, node_name, output_index
from vai_q_tf.types import TensorProto

# Ops in which float32 is a layout of bytes.
_BYTE_OPS = frozenset(('Bitcast', 'DecodeRaw', 'DecodePaddedRaw'))
_MOST_NAMES = 20  # in an error


def convert_graph(graph_def: tf.GraphDef, dtype: tf.DType) -> tf.GraphDef:
    """The graph with `dtype` in place of float32, without private attrs.

    Raises:
      QuantizeError: UNSUPPORTED_OP, with the nodes that cannot be converted.
    """
    view = GraphView(graph_def)
    _refuse(view, [name for name in view.names if view.op(name) in BATCH_NORM_OPS],
            'batch norms that cannot be folded: {}. Choose input_nodes and output_nodes with these in between, or remove them')
    nodes = {name: _public(view.node(name)) for name in view.names}
    if dtype != tf.float32:
        functions = {function.signature.name for function in graph_def.library.function}
        _refuse(view, [name for name in view.names if _calls_function(view.node(name), functions)],
                'calls of functions, which are not converted: {}. Freeze the graph without them')
        changed = [node for node in nodes.values() if not _keeps_float32(view, node.name) and _set_types(node, dtype)]
        _refuse(view, [node.name for node in changed if not kernel_registry.has_kernel(node)],
                'ops without a kernel of type {}: {{}}. Choose another type, or other ops'.format(dtype.name))
        _add_casts(view, nodes, {node.name for node in changed}, dtype)
    order = GraphView(editor.subgraph(graph_def, nodes.values())).upstream(nodes)
    return editor.subgraph(graph_def, [nodes[name] for name in order])


def _refuse(view: GraphView, names: Sequence[str], text: str) -> None:
    """Raises UNSUPPORTED_OP if there are `names`; the text has a place for the list of them."""
    if names:
        listed = ['{} ({})'.format(name, view.op(name)) for name in names[:_MOST_NAMES]]
        if len(names) > _MOST_NAMES:
            listed.append('and {} more'.format(len(names) - _MOST_NAMES))
        raise errors.QuantizeError(errors.UNSUPPORTED_OP, 'Unsupported op type',
                                   'The graph has {}.'.format(text.format(', '.join(listed))))


def _public(node: tf.NodeDef) -> tf.NodeDef:
    """A copy of the NodeDef without private attrs."""
    result = editor.exact_copy(node)
    for key in [key for key in result.attr if key.startswith('_')]:
        del result.attr[key]
    return result


def _calls_function(node: tf.NodeDef, functions: Container[str]) -> bool:
    return node.op in functions or any(value.WhichOneof('value') == 'func' for value in node.attr.values())


def _keeps_float32(view: GraphView, name: str) -> bool:
    """Whether the node stays as it is: its float32 is a layout of bytes, or it is a constant that only fixed inputs read."""
    if view.op(name) in _BYTE_OPS:
        return True
    readers = view.consumers(name) if view.op(name) == 'Const' else ()
    return bool(readers) and all(_is_fixed(view, reader, 'input_arg', index) for reader, index in readers)


def _set_types(node: tf.NodeDef, dtype: tf.DType) -> bool:
    """Replaces float32 in the attrs of the NodeDef by `dtype`; returns whether there was any."""
    changed = False
    for attr in tf_internal.python_op_defs()[node.op].attr:
        value = node.attr[attr.name] if attr.name in node.attr else attr.default_value
        kind = value.WhichOneof('value')
        if kind == 'type' and value.type == tf.float32:
            node.attr[attr.name].type = dtype.as_datatype_enum
            changed = True
        elif kind == 'list' and tf.float32.as_datatype_enum in value.list.type:
            node.attr[attr.name].list.type[:] = [dtype.as_datatype_enum if item == tf.float32 else item
                                                 for item in value.list.type]
            changed = True
        elif kind == 'tensor' and value.tensor.dtype == tf.float32:
            node.attr[attr.name].tensor.CopyFrom(_convert_value(node.name, value.tensor, dtype))
            changed = True
    return changed


def _convert_value(name: str, proto: TensorProto, dtype: tf.DType) -> TensorProto:
    value = large_constants.array(proto)
    with np.errstate(over='ignore'):
        converted = value.astype(dtype.as_numpy_dtype)
    infinite = np.isfinite(value) & ~np.isfinite(converted.astype(np.float32))
    if infinite.any():
        tf.logging.warning('%s: %d values, up to %g, are infinite in %s', name, infinite.sum(), np.abs(value[infinite]).max(),
                           dtype.name)
    return large_constants.tensor_proto(converted, dtype)


def _add_casts(view: GraphView, nodes: Dict[str, tf.NodeDef], changed: Container[str], dtype: tf.DType) -> None:
    """Adds a Cast between a tensor that stays float32 and an input that does not, and vice versa."""
    casts: Dict[str, str] = {}
    for name in view.names:
        for index, tensor in enumerate(view.inputs(name)):
            if view.dtype(tensor) != tf.float32:
                continue
            producer = node_name(tensor)
            given = producer not in changed or _is_fixed(view, producer, 'output_arg', output_index(tensor))
            taken = name not in changed or _is_fixed(view, name, 'input_arg', index)
            if given != taken:
                if tensor not in casts:
                    casts[tensor] = _cast(view, nodes, tensor, *((tf.float32, dtype) if given else (dtype, tf.float32)))
                nodes[name].input[index] = casts[tensor]


def _cast(view: GraphView, nodes: Dict[str, tf.NodeDef], tensor: str, source: tf.DType, target: tf.DType) -> str:
    """Adds a Cast of the tensor to `nodes`; returns its name."""
    name = '{}/to_{}'.format(node_name(tensor), target.name)
    while name in nodes:
        name += '_'
    nodes[name] = tf.NodeDef(name=name, op='Cast', input=[tensor])
    nodes[name].attr['SrcT'].type, nodes[name].attr['DstT'].type = source.as_datatype_enum, target.as_datatype_enum
    return name


def _is_fixed(view: GraphView, name: str, kind: str, index: int) -> bool:
    """Whether the definition of the op fixes float32 for that 'input_arg' or 'output_arg', so that no attr can change it."""
    for argument in getattr(tf_internal.python_op_defs()[view.op(name)], kind):
        if argument.type_list_attr:
            count = len(view.attr(name, argument.type_list_attr).list.type)
        else:
            count = view.attr(name, argument.number_attr).i if argument.number_attr else 1
        if index < count:
            return argument.type == tf.float32
        index -= count
    raise IndexError(name)
