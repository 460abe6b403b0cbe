"""Split, SplitV and Unpack as StridedSlices: the DPU compiler takes every result of a Split for the last one."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.traits import SPLIT_INPUTS
from vai_q_tf.graph.view import GraphView, node_name, normalise, output_index, tensor_name

_AXIS_INPUTS = {'Split': 0, 'SplitV': 2}


def write_slices(model, shapes, output_nodes):
    """The model in which each result of an op that splits a float tensor is a StridedSlice of its own, with the same values.

    The first one has the name of the op; what nobody reads is left out. An op stays as it is in a branch or a loop, where sizes
    are not known, and where another result than the first one is an output of the network.

    Args:
      model: a GraphDef. output_nodes: names of tensors.
      shapes: {node: [TensorShapeProto of each output]}.
    """
    view, taken = GraphView(model), {node.name for node in model.node}
    outputs = set(map(normalise, output_nodes))
    kept = branch_nodes(view) | {node_name(name) for name in outputs if output_index(name)}
    slices, dropped = {}, set()
    for name in view.names:
        made = {}
        if view.op(name) in SPLIT_INPUTS and name not in kept:
            made = _slices(view, name, shapes.get(name, ()), outputs, taken)
        if made:
            slices[name] = made
            parameters = [tensor for index, tensor in enumerate(view.inputs(name)) if index != SPLIT_INPUTS[view.op(name)]]
            dropped.update(node_name(tensor) for tensor in parameters if len(view.consumers(tensor)) == 1)
    if not slices:
        return model
    results = {tensor: nodes[-1].name for made in slices.values() for tensor, nodes in made.items()}
    nodes = []
    for node in model.node:
        made = [new for parts in slices.get(node.name, {}).values() for new in parts] or [node]
        nodes += [editor.with_inputs(new, [operand if operand.startswith('^') else results.get(normalise(operand), operand)
                                           for operand in new.input]) for new in made if new.name not in dropped]
    return editor.subgraph(model, nodes)


def _slices(view, name, shapes, outputs, taken):
    """{result that is read: [its Consts, the StridedSlice]}, {} where the op has to stay. Adds the names to `taken`."""
    axis, stacked = _axis(view, name), view.op(name) == 'Unpack'
    if (view.attr(name, 'T').type != tf.float32 or axis is None or not shapes
            or any(shape.unknown_rank for shape in shapes)):
        return {}
    rank = len(shapes[0].dim) + stacked
    axis %= rank
    sizes = [1 if stacked else shape.dim[axis].size for shape in shapes]
    if min(sizes) < 0:
        return {}
    ends, made = np.cumsum(sizes), {}
    for index in range(len(sizes)):
        tensor = tensor_name(name, index)
        if not view.consumers(tensor) and tensor not in outputs:
            continue
        part = name if not index else editor.unused_name('{}_{}'.format(name, index), taken)
        taken.add(part)
        nodes = _slice(view, name, part, axis, rank, (ends[index] - sizes[index], ends[index]), taken)
        if '_output_shapes' in view.node(name).attr:
            own = view.attr(name, '_output_shapes').list.shape[index]
            for node in nodes:
                noted = own if node is nodes[-1] else tf.TensorShape([rank]).as_proto()
                node.attr['_output_shapes'].list.shape.add().CopyFrom(noted)
        made[tensor] = nodes
    return made


def _axis(view, name):
    if view.op(name) == 'Unpack':
        return view.attr(name, 'axis').i
    value = view.value(view.inputs(name)[_AXIS_INPUTS[view.op(name)]])
    return None if value is None else int(value)


def _slice(view, name, part, axis, rank, limits, taken):
    """The nodes of value[:, ..., begin:end, :, ...], all axes written out: the compiler does not know an ellipsis."""
    begin, end, strides = np.zeros(rank, np.int32), np.zeros(rank, np.int32), np.ones(rank, np.int32)
    begin[axis], end[axis] = limits
    nodes = []
    for kind, value in (('begin', begin), ('end', end), ('strides', strides)):
        const = editor.constant(editor.unused_name('{}/{}'.format(part, kind), taken), tf.int32, value)
        taken.add(const.name)
        nodes.append(const)
    node = tf.NodeDef(name=part, op='StridedSlice', input=[
        view.inputs(name)[SPLIT_INPUTS[view.op(name)]], *(const.name for const in nodes)])
    node.attr['T'].type, node.attr['Index'].type = tf.float32.as_datatype_enum, tf.int32.as_datatype_enum
    others = (1 << rank) - 1 - (1 << axis)
    for key, mask in (('begin_mask', others), ('end_mask', others), ('ellipsis_mask', 0), ('new_axis_mask', 0),
                      ('shrink_axis_mask', (1 << axis) if view.op(name) == 'Unpack' else 0)):
        node.attr[key].i = mask
    return nodes + [node]
