"""Edits of GraphDefs. Every function returns a new GraphDef or NodeDef and leaves its arguments unchanged."""
from typing import Any, Container, Iterable, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import large_constants
from vai_q_tf.graph.dependence import called_functions, reach
from vai_q_tf.types import FunctionDefLibrary, Values

_CONTEXT_ATTRS = ('_class', '_output_shapes')


def subgraph(graph_def: tf.GraphDef, nodes: Iterable[tf.NodeDef]) -> tf.GraphDef:
    """A GraphDef of copies of `nodes`, with the versions of `graph_def` and those of its functions that the nodes use."""
    result = tf.GraphDef(node=nodes)
    result.versions.CopyFrom(graph_def.versions)
    if graph_def.library.function:
        used = used_functions(graph_def.library, result.node)
        if used.function:
            result.library.CopyFrom(used)
    return result


def used_functions(library: FunctionDefLibrary, nodes: Iterable[tf.NodeDef]) -> FunctionDefLibrary:
    """The functions of `library` that the nodes call or name, and those that these functions and their gradients use."""
    functions = {function.signature.name: function for function in library.function}
    gradients = {gradient.function_name: gradient for gradient in library.gradient}

    def called_by(callers: Iterable[tf.NodeDef]) -> List[str]:
        return [name for node in callers for name in called_functions(node, functions)]

    def following(name: str) -> List[str]:
        called = called_by(functions[name].node_def)
        if name in gradients and gradients[name].gradient_func in functions:
            called.append(gradients[name].gradient_func)
        return called

    used = reach(called_by(nodes), following)
    return type(library)(function=[function for name, function in functions.items() if name in used],
                         gradient=[gradient for name, gradient in gradients.items() if name in used])


def exact_copy(node: tf.NodeDef) -> tf.NodeDef:
    """A copy of a NodeDef, for the same graph; `copy` is for another graph."""
    result = tf.NodeDef()
    result.CopyFrom(node)
    return result


def with_inputs(node: tf.NodeDef, inputs: List[str]) -> tf.NodeDef:
    """An `exact_copy` of a NodeDef with `inputs` (data, then control inputs); the NodeDef itself if these are its inputs."""
    if list(node.input) == inputs:
        return node
    result = exact_copy(node)
    result.input[:] = inputs
    return result


def copy(node: tf.NodeDef, name: Optional[str] = None, inputs: Optional[Iterable[str]] = None) -> tf.NodeDef:
    """A copy of a NodeDef without device, colocation, control inputs and static shapes.

    name, inputs: replace those of the node; None keeps them.
    """
    result = exact_copy(node)
    result.name = name or node.name
    result.device = ''
    result.input[:] = [operand for operand in (node.input if inputs is None else inputs) if not operand.startswith('^')]
    for attr in _CONTEXT_ATTRS:
        result.attr.pop(attr, None)
    return result


def unused_name(name: str, taken: Container[str], form: str = '{}_{}') -> str:
    """`name` if it is not in `taken`, else the first of form.format(name, 1), form.format(name, 2), ... that is not."""
    unused, number = name, 0
    while unused in taken:
        number += 1
        unused = form.format(name, number)
    return unused


def constant(name: str, dtype: tf.DType, value: Any = None) -> tf.NodeDef:
    """A Const NodeDef; without a value, one to fill in later."""
    node = tf.NodeDef(name=name, op='Const')
    node.attr['dtype'].type = tf.as_dtype(dtype).as_datatype_enum
    if value is not None:
        node.attr['value'].tensor.CopyFrom(large_constants.tensor_proto(value, dtype))
    return node


def concat_axis(node: tf.NodeDef, dtype: tf.DType = tf.int32) -> tf.NodeDef:
    """The Const NodeDef `node`, the axis of a ConcatV2, as a scalar in `int_val`, the only field that the compiler reads."""
    return constant(node.name, dtype, int(tf.make_ndarray(node.attr['value'].tensor)))


def placeholder(name: str, dtype: tf.DType, shape: Optional[Sequence[Optional[int]]]) -> tf.NodeDef:
    """A Placeholder NodeDef; -1 or None is an unknown dimension, None as the shape an unknown rank."""
    node = tf.NodeDef(name=name, op='Placeholder')
    node.attr['dtype'].type = tf.as_dtype(dtype).as_datatype_enum
    dims = None if shape is None else [None if dim in (-1, None) else dim for dim in shape]
    node.attr['shape'].shape.CopyFrom(tf.TensorShape(dims).as_proto())
    return node


def with_values(graph_def: tf.GraphDef, values: Values) -> tf.GraphDef:
    """The graph with `values` {node: array} in its Consts, converted to their types; their other attrs stay."""
    return subgraph(graph_def, [
        _with_value(node, values[node.name]) if node.name in values else node for node in graph_def.node])


def _with_value(node: tf.NodeDef, value: np.ndarray) -> tf.NodeDef:
    result = large_constants.without_value(node)
    result.attr['value'].tensor.CopyFrom(large_constants.tensor_proto(value, node.attr['dtype'].type))
    return result


def with_packed_constants(graph_def: tf.GraphDef) -> tf.GraphDef:
    """The graph whose Consts hold their values in `tensor_content`, or one value for all elements, as the DPU compiler needs.

    The graph itself if nothing changes. Strings stay in `string_val`, the only field that can hold them.
    """
    packed = [_packed(node) for node in graph_def.node]
    return subgraph(graph_def, packed) if any(new is not old for new, old in zip(packed, graph_def.node)) else graph_def


def _packed(node: tf.NodeDef) -> tf.NodeDef:
    proto = node.attr['value'].tensor if node.op == 'Const' and 'value' in node.attr else None
    if proto is None or proto.tensor_content or proto.dtype == tf.string:
        return node
    fields = [(field.name, values) for field, values in proto.ListFields() if field.name.endswith('_val')]
    if len(fields) != 1 or len(fields[0][1]) == 1:
        return node
    try:
        value = tf.make_ndarray(proto)
    except (TypeError, ValueError, MemoryError):  # a damaged value; TensorFlow refuses the graph
        return node
    if value.size < 2 or (value == value.flat[0]).all():
        return node
    node = exact_copy(node)
    node.attr['value'].tensor.ClearField(fields[0][0])
    node.attr['value'].tensor.tensor_content = value.tobytes()
    return node


def with_shapes(graph_def: tf.GraphDef, stand_ins: Iterable[tf.NodeDef] = ()) -> tf.GraphDef:
    """The graph with `_output_shapes` on every node, inferred from its placeholders and constants.

    stand_ins: Placeholder NodeDefs with the type and shape of Consts that have no value yet.
    """
    replaced = {node.name: node for node in stand_ins}
    graph = tf.Graph()
    with graph.as_default():
        large_constants.import_graph_def(
            subgraph(graph_def, [replaced.get(node.name, node) for node in graph_def.node]), name='')
    result = tf.GraphDef()
    result.CopyFrom(graph_def)
    for node in result.node:
        shapes = [output.shape.as_proto() for output in graph.get_operation_by_name(node.name).outputs]
        node.attr['_output_shapes'].list.shape.extend(shapes)
    return result
