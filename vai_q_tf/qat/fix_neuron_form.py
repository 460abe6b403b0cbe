"""The graph that a rewritten live graph stands for: FixNeurons of the original in place of the ops of training."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.export.fix_neuron_nodes import fix_neuron
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.dependence import reach, readers
from vai_q_tf.graph.view import node_name, output_index
from vai_q_tf.qat.recipe.recipe import USE_BATCH

_PHASE_OPS = ('VaiSplitPhases', 'VaiJoinPhases')


def fix_neurons(graph_def, tensors, phase, positions=None):
    """The graph with the FixNeuron op of the original in place of the ops of a rewritten live graph.

    Args:
      graph_def: of a live graph, with shapes.
      tensors: the QuantTensors, by the names of their FixNeurons in it.
      phase: 1 evaluation, 2 training.
      positions: {name of a quantized tensor: position} for phase 1.

    Returns:
      A GraphDef without the ops that only serve moving positions: state, search, saving and restoring.
    """
    records = {record.name: record for record in tensors}
    nodes = {node.name: node for node in graph_def.node}
    following = readers(graph_def.node)
    dropped = reach([node.name for node in graph_def.node if node.name not in records and node.op not in _PHASE_OPS and (
        node.op.startswith('Vai') or node.name.startswith('vai_q_tf/positions'))],
                    lambda name: [reader for reader in following(name) if reader not in records and reader != USE_BATCH])
    kept, products = [], {}
    for node in graph_def.node:
        if node.name in records:
            operand = node.input[0]
            if node.op == 'VaiScaledFixNeuron':
                before, after = _scaling(nodes, node)
                kept.extend(before)
                operand, products[node.name] = before[-1].name, after
            kept.append(_fix_neuron(node, records[node.name], operand, phase, positions))
        elif node.name == USE_BATCH:
            kept.append(editor.placeholder(node.name, tf.bool.as_datatype_enum, []))
        elif node.name in dropped:
            continue
        elif node.op == 'VaiSplitPhases':
            products[node.name + ':1'] = _split(node)
        else:
            kept += _join(node) if node.op == 'VaiJoinPhases' else [node]
    for index, node in enumerate(kept):
        if any(operand in products for operand in node.input):
            kept[index] = editor.with_inputs(node, [products[operand][-1].name if operand in products else operand
                                                    for operand in node.input])
    return editor.subgraph(graph_def, kept + [node for nodes in products.values() for node in nodes])


def _scaling(nodes, scaled):
    """The NodeDefs of the scaled weights before the FixNeuron, and of what undoes the scale after it, in order.

    The live graph has all of it in one op.
    """
    weights, scale, rescale = scaled.input[:3]
    sizes = [[dim.size for dim in nodes[node_name(tensor)].attr['_output_shapes'].list.shape[output_index(tensor)].dim]
             for tensor in (weights, scale)]
    name = scaled.name.rpartition('/')[0]
    dims = _dims_of_scale(sizes[0], sizes[1][0], scaled.attr['inner'].i)
    shape = editor.constant(name + '/scale_shape', tf.int32, np.array(dims, np.int32))
    before = [shape, *_times(name + '/scaled', weights, scale, shape.name)]
    return before, list(_times(name + '/unscaled', scaled.name, rescale, shape.name))


def _split(node):
    """The NodeDefs of a VaiSplitPhases in TensorFlow's ops: value[:end] is its first result, value[end:] the last one.

    A slice ends with the examples, wherever its `end` is: that is 0 or the largest number there is.
    """
    value, first = node.input
    limits = [editor.constant(node.name + part, tf.int32, [number])
              for part, number in (('/begin', 0), ('/step', 1), ('/most', tf.int32.max))]
    begin, step, most = (limit.name for limit in limits)
    number = tf.NodeDef(name=node.name + '/number', op='Cast', input=[first])
    number.attr['SrcT'].type, number.attr['DstT'].type = tf.bool.as_datatype_enum, tf.int32.as_datatype_enum
    end = tf.NodeDef(name=node.name + '/end', op='Mul', input=[number.name, most])
    end.attr['T'].type = tf.int32.as_datatype_enum
    slices = [tf.NodeDef(name=node.name, op='StridedSlice', input=[value, begin, end.name, step]),
              tf.NodeDef(name=node.name + '/second', op='StridedSlice', input=[value, end.name, most, step])]
    for part in slices:
        part.attr['T'].type, part.attr['Index'].type = node.attr['T'].type, tf.int32.as_datatype_enum
    return [*limits, number, end, *slices]


def _join(node):
    """The NodeDefs of a VaiJoinPhases in TensorFlow's ops: one of the two parts has no examples."""
    axis = editor.constant(node.name + '/axis', tf.int32, 0)
    joined = tf.NodeDef(name=node.name, op='ConcatV2', input=[*node.input[:2], axis.name])
    joined.attr['N'].i, joined.attr['T'].type = 2, node.attr['T'].type
    joined.attr['Tidx'].type = tf.int32.as_datatype_enum
    return axis, joined


def _dims_of_scale(weights, channels, inner):
    """The shape in which a vector [channels] multiplies weights, of which `inner` consecutive ones share a channel."""
    dims, size = [], 1
    for dim in reversed(weights):
        if size >= channels * inner:
            break
        dims.insert(0, 1 if size * dim <= inner else dim)
        size *= dim
    return dims


def _times(name, value, vector, shape):
    """NodeDefs that multiply the tensor `value` with `vector` in the shape of the node `shape`; the last is called `name`."""
    reshaped = tf.NodeDef(name=name + '/by', op='Reshape', input=[vector, shape])
    reshaped.attr['T'].type, reshaped.attr['Tshape'].type = tf.float32.as_datatype_enum, tf.int32.as_datatype_enum
    product = tf.NodeDef(name=name, op='Mul', input=[value, reshaped.name])
    product.attr['T'].type = tf.float32.as_datatype_enum
    return reshaped, product


def _fix_neuron(live, record, operand, phase, positions):
    node = fix_neuron(record, operand, phase, None if positions is None else positions[record.name])
    node.device = live.device
    if '_output_shapes' in live.attr:
        node.attr['_output_shapes'].CopyFrom(live.attr['_output_shapes'])
    return node
