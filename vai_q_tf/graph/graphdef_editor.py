"""Edits of GraphDefs. Every function takes a GraphDef and returns a new one, or makes a NodeDef."""
import collections

import tensorflow.compat.v1 as tf
from tensorflow.python.framework import tensor_util

from vai_q_tf.graph.view import node_name

# What a node of these passes on is its input 0; for ReadVariableOp that is the handle, which stands for the value.
PASS_THROUGH = ('Identity', 'ReadVariableOp')
_CONTEXT_ATTRS = ('_class', '_output_shapes')


def subgraph(graph_def, nodes):
    """A GraphDef with the NodeDefs `nodes`, and the versions of `graph_def`; no function library."""
    result = tf.GraphDef(node=nodes)
    result.versions.CopyFrom(graph_def.versions)
    return result


def copy(node, name=None, inputs=None):
    """A copy of a NodeDef without device, colocation, control inputs and noted shapes, renamed and rewired where asked."""
    result = tf.NodeDef()
    result.CopyFrom(node)
    result.name = name or node.name
    result.device = ''
    operands = [operand for operand in (node.input if inputs is None else inputs) if not operand.startswith('^')]
    del result.input[:]
    result.input.extend(operands)
    for attr in _CONTEXT_ATTRS:
        result.attr.pop(attr, None)
    return result


def constant(name, dtype, value=None):
    """A Const NodeDef; without a value it is to be filled in later."""
    node = tf.NodeDef(name=name, op='Const')
    node.attr['dtype'].type = tf.as_dtype(dtype).as_datatype_enum
    if value is not None:
        node.attr['value'].tensor.CopyFrom(tensor_util.make_tensor_proto(value, dtype))
    return node


def placeholder(name, dtype, shape):
    """A Placeholder NodeDef; shape: list of dimensions, -1 or None for an unknown one, or None for an unknown rank."""
    node = tf.NodeDef(name=name, op='Placeholder')
    node.attr['dtype'].type = tf.as_dtype(dtype).as_datatype_enum
    dims = None if shape is None else [None if dim in (-1, None) else dim for dim in shape]
    node.attr['shape'].shape.CopyFrom(tf.TensorShape(dims).as_proto())
    return node


def variable_placeholder(name, variable):
    """A Placeholder called `name` for the value of a variable's NodeDef."""
    return placeholder(name, variable.attr['dtype'].type, [dim.size for dim in variable.attr['shape'].shape.dim])


def with_values(graph_def, values):
    """The graph whose Consts have the `values` {node: array}; a value keeps the type and the attrs of its Const."""
    nodes = []
    for node in graph_def.node:
        if node.name in values:
            changed = tf.NodeDef(name=node.name, op=node.op, input=node.input, device=node.device)
            for key in node.attr:
                if key != 'value':
                    changed.attr[key].CopyFrom(node.attr[key])
            changed.attr['value'].tensor.CopyFrom(tensor_util.make_tensor_proto(values[node.name], node.attr['dtype'].type))
            node = changed
        nodes.append(node)
    result = subgraph(graph_def, nodes)
    result.library.CopyFrom(graph_def.library)
    return result


def insert(graph_def, tensors, make):
    """The graph with new nodes behind the producers of quantized tensors, which the consumers of these then read.

    Args:
      graph_def: a GraphDef that the QuantTensors `tensors` were chosen in.
      make: a function from a QuantTensor to NodeDefs, in an order in which they can run; its consumers read the one that has
        the tensor's name. No NodeDefs leave the tensor as it is.
    """
    made, operands = collections.defaultdict(list), collections.defaultdict(dict)
    for tensor in tensors:
        nodes = make(tensor)
        made[node_name(tensor.tensor)].extend(nodes)
        for reader, index in tensor.consumers if nodes else ():
            operands[reader][index] = tensor.name
    nodes = []
    for node in graph_def.node:
        if node.name in operands:
            wanted = [operands[node.name].get(index, operand) for index, operand in enumerate(node.input)]
            changed = tf.NodeDef()
            changed.CopyFrom(node)
            changed.input[:] = wanted
            node = changed
        nodes.append(node)
        nodes.extend(made.get(node.name, ()))
    result = subgraph(graph_def, nodes)
    result.library.CopyFrom(graph_def.library)
    return result


def fix_neurons(graph_def, plan, phase, output_dir, positions=None):
    """The graph with the FixNeuron op of the original in place of the ops of a rewritten live graph.

    Args:
      graph_def: of a live graph to which `plan` was applied.
      phase: 1 evaluation, 2 training.
      output_dir: value of the attr of that name.
      positions: {name of a quantized tensor: position} for phase 1.

    Returns:
      A GraphDef without the ops that only serve moving positions: state, search, saving and restoring.
    """
    records = {record.name: record for record in plan.tensors}
    dropped, kept, products = set(), [], {}
    for node in graph_def.node:
        if node.name in records:
            if node.op == 'VaiScaledFixNeuron':
                products[node.name] = _unscaled(node)
            kept.append(_fix_neuron(node, records[node.name], phase, output_dir, positions))
        elif (node.op.startswith('Vai') or node.name.startswith('vai_q_tf/positions')
              or any(node_name(operand) in dropped for operand in node.input)):
            dropped.add(node.name)
        else:
            kept.append(node)
    for index, node in enumerate(kept):
        if any(operand in products for operand in node.input):
            kept[index] = copy(node, inputs=[products[operand].name if operand in products else operand
                                             for operand in node.input])
    result = subgraph(graph_def, kept + list(products.values()))
    result.library.CopyFrom(graph_def.library)
    return result


def _unscaled(scaled):
    """The product of the quantized scaled weights and what undoes the scale, which the live graph has in one op."""
    folding = scaled.name[:-len('mul_1/wquant')]
    node = tf.NodeDef(name=folding + 'unscaled', op='Mul', input=[scaled.name, folding + 'unscale'], device=scaled.device)
    node.attr['T'].type = tf.float32.as_datatype_enum
    return node


def _fix_neuron(live, record, phase, output_dir, positions):
    # The op that scales weights, quantizes them and undoes the scale stands for the FixNeuron of the scaled ones.
    operand = live.name[:-len('/wquant')] if live.op == 'VaiScaledFixNeuron' else live.input[0]
    node = fix_neuron(record, operand, phase, output_dir, None if positions is None else positions[record.name],
                      live.attr['symmetric'].b)
    node.device = live.device
    if '_output_shapes' in live.attr:
        node.attr['_output_shapes'].CopyFrom(live.attr['_output_shapes'])
    return node


def fix_neuron(record, operand, phase, output_dir, position=None, symmetric=False):
    """The FixNeuron NodeDef of a QuantTensor, reading the tensor `operand`; `position` in fractional bits."""
    node = tf.NodeDef(name=record.name, op='FixNeuron', input=[operand])
    node.attr['T'].type = tf.float32.as_datatype_enum
    node.attr['bit_width'].i = record.bits
    node.attr['method'].i = record.method
    node.attr['mode'].i = record.mode
    node.attr['phase'].i = phase
    node.attr['output_dir'].s = output_dir.encode()
    if position is not None:
        node.attr['quantize_pos'].i = position
    if symmetric:
        node.attr['_symmetric'].b = True
    return node


def with_shapes(graph_def, stand_ins=()):
    """The graph with `_output_shapes` on every node, as its placeholders and constants imply them.

    stand_ins: Placeholder NodeDefs that give type and shape of the Consts that have no value yet.
    """
    stand_ins = {node.name: node for node in stand_ins}
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(subgraph(graph_def, [stand_ins.get(node.name, node) for node in graph_def.node]), name='')
    result = tf.GraphDef()
    result.CopyFrom(graph_def)
    for node in result.node:
        shapes = [output.shape.as_proto() for output in graph.get_operation_by_name(node.name).outputs]
        node.attr['_output_shapes'].list.shape.extend(shapes)
    return result
