"""Edits of GraphDefs. Every function takes a GraphDef and returns a new one, or makes a NodeDef."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import large_constants

_CONTEXT_ATTRS = ('_class', '_output_shapes')


def subgraph(graph_def, nodes):
    """A GraphDef with the NodeDefs `nodes`, the versions of `graph_def`, and those of its functions that the nodes use."""
    result = tf.GraphDef(node=nodes)
    result.versions.CopyFrom(graph_def.versions)
    if graph_def.library.function:
        used = used_functions(graph_def.library, result.node)
        if used.function:
            result.library.CopyFrom(used)
    return result


def used_functions(library, nodes):
    """The part of a FunctionDefLibrary that the NodeDefs `nodes` call or name, and all that these functions do."""
    functions = {function.signature.name: function for function in library.function}
    gradients = {gradient.function_name: gradient for gradient in library.gradient}
    used, waiting = set(), [(node.op, node.attr) for node in nodes]
    while waiting:
        op, attrs = waiting.pop()
        called = [op] + [function.name for value in attrs.values() for function in [value.func] + list(value.list.func)]
        for name in called:
            if name in functions and name not in used:
                used.add(name)
                waiting.extend((node.op, node.attr) for node in functions[name].node_def)
                if name in gradients:
                    waiting.append((gradients[name].gradient_func, {}))
    return type(library)(function=[function for name, function in functions.items() if name in used],
                         gradient=[gradient for name, gradient in gradients.items() if name in used])


def exact_copy(node):
    """A copy of a NodeDef with all that it has; for a graph other than its own see `copy`."""
    result = tf.NodeDef()
    result.CopyFrom(node)
    return result


def with_inputs(node, inputs):
    """An `exact_copy` of a NodeDef with other inputs, control inputs among them; the NodeDef itself if it has these."""
    if list(node.input) == inputs:
        return node
    result = exact_copy(node)
    result.input[:] = inputs
    return result


def copy(node, name=None, inputs=None):
    """A copy of a NodeDef without device, colocation, control inputs and noted shapes, renamed and rewired where asked."""
    result = exact_copy(node)
    result.name = name or node.name
    result.device = ''
    result.input[:] = [operand for operand in (node.input if inputs is None else inputs) if not operand.startswith('^')]
    for attr in _CONTEXT_ATTRS:
        result.attr.pop(attr, None)
    return result


def unused_name(name, taken, form='{}_{}'):
    """`name`, where that is among `taken` the first of `form.format(name, 1)`, 2, ... that is not."""
    unused, number = name, 0
    while unused in taken:
        number += 1
        unused = form.format(name, number)
    return unused


def constant(name, dtype, value=None):
    """A Const NodeDef; without a value it is to be filled in later."""
    node = tf.NodeDef(name=name, op='Const')
    node.attr['dtype'].type = tf.as_dtype(dtype).as_datatype_enum
    if value is not None:
        node.attr['value'].tensor.CopyFrom(large_constants.tensor_proto(value, dtype))
    return node


def concat_axis(node, dtype=tf.int32):
    """The Const NodeDef `node`, the axis of a ConcatV2, as a number in `int_val`, from where alone the compiler reads it."""
    return constant(node.name, dtype, int(tf.make_ndarray(node.attr['value'].tensor)))


def placeholder(name, dtype, shape):
    """A Placeholder NodeDef; shape: list of dimensions, -1 or None for an unknown one, or None for an unknown rank."""
    node = tf.NodeDef(name=name, op='Placeholder')
    node.attr['dtype'].type = tf.as_dtype(dtype).as_datatype_enum
    dims = None if shape is None else [None if dim in (-1, None) else dim for dim in shape]
    node.attr['shape'].shape.CopyFrom(tf.TensorShape(dims).as_proto())
    return node


def with_values(graph_def, values):
    """The graph whose Consts have the `values` {node: array}; a value keeps the type and the attrs of its Const."""
    nodes = []
    for node in graph_def.node:
        if node.name in values:
            changed = tf.NodeDef(name=node.name, op=node.op, input=node.input, device=node.device)
            for key in node.attr:
                if key != 'value':
                    changed.attr[key].CopyFrom(node.attr[key])
            changed.attr['value'].tensor.CopyFrom(
                large_constants.tensor_proto(values[node.name], node.attr['dtype'].type))
            node = changed
        nodes.append(node)
    return subgraph(graph_def, nodes)


def with_packed_constants(graph_def):
    """The graph whose Consts have several values in `tensor_content`, or one for all: all that the DPU compiler reads.

    Itself if all are so; strings, which can only be in a field of their own, stay there.
    """
    packed = [_packed(node) for node in graph_def.node]
    return subgraph(graph_def, packed) if any(new is not old for new, old in zip(packed, graph_def.node)) else graph_def


def _packed(node):
    proto = node.attr['value'].tensor if node.op == 'Const' and 'value' in node.attr else None
    if proto is None or proto.tensor_content or proto.dtype == tf.string:
        return node
    fields = [(field.name, values) for field, values in proto.ListFields() if field.name.endswith('_val')]
    if len(fields) != 1 or len(fields[0][1]) == 1:
        return node
    try:
        value = tf.make_ndarray(proto)
    except (TypeError, ValueError, MemoryError):  # TensorFlow refuses it when the graph is loaded
        return node
    if value.size < 2 or (value == value.flat[0]).all():
        return node
    node = exact_copy(node)
    node.attr['value'].tensor.ClearField(fields[0][0])
    node.attr['value'].tensor.tensor_content = value.tobytes()
    return node


def with_shapes(graph_def, stand_ins=()):
    """The graph with `_output_shapes` on every node, as its placeholders and constants imply them.

    stand_ins: Placeholder NodeDefs that give type and shape of the Consts that have no value yet.
    """
    stand_ins = {node.name: node for node in stand_ins}
    graph = tf.Graph()
    with graph.as_default():
        large_constants.import_graph_def(
            subgraph(graph_def, [stand_ins.get(node.name, node) for node in graph_def.node]), name='')
    result = tf.GraphDef()
    result.CopyFrom(graph_def)
    for node in result.node:
        shapes = [output.shape.as_proto() for output in graph.get_operation_by_name(node.name).outputs]
        node.attr['_output_shapes'].list.shape.extend(shapes)
    return result
