"""Split, SplitV and Unpack as StridedSlices: the DPU compiler takes every result of a Split for the last one."""
from typing import Collection, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.export.forms.new_nodes import new_name, slice_limits
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.traits import SPLIT_INPUTS
from vai_q_tf.graph.view import GraphView, node_name, normalise, output_index, tensor_name
from vai_q_tf.types import OutputShapes, TensorShapeProto

_AXIS_INPUTS = {'Split': 0, 'SplitV': 2}


def write_slices(model: tf.GraphDef, shapes: OutputShapes, output_nodes: Collection[str]) -> tf.GraphDef:
    """The model in which a StridedSlice computes each result of an op that splits a float tensor.

    The first one has the name of the op; results that nothing reads are left out. An op stays as it is in a branch or a loop,
    if sizes are not known, and if another result than the first one is an output of the network.

    Args:
      output_nodes: names of tensors.
    """
    view, taken = GraphView(model), {node.name for node in model.node}
    outputs = set(map(normalise, output_nodes))
    kept = branch_nodes(view) | {node_name(name) for name in outputs if output_index(name)}
    slices = {}
    for name in view.names:
        cut = _cut(view, name, shapes.get(name, ())) if view.op(name) in SPLIT_INPUTS and name not in kept else None
        made = _slices(view, name, cut, outputs, taken) if cut else {}
        if made:
            slices[name] = made
    return _with_slices(model, view, slices) if slices else model


class _Cut(NamedTuple):
    """How an op splits a tensor of that rank: along the axis, into parts from `begin` to `end`."""
    axis: int
    rank: int
    parts: Sequence[Tuple[int, int]]


def _cut(view: GraphView, name: str, shapes: Sequence[TensorShapeProto]) -> Optional[_Cut]:
    """None if the tensor is not float32, or if axis or sizes are not known."""
    axis, stacked = _axis(view, name), view.op(name) == 'Unpack'
    if (view.attr(name, 'T').type != tf.float32 or axis is None or not shapes
            or any(shape.unknown_rank for shape in shapes)):
        return None
    rank = len(shapes[0].dim) + stacked
    sizes = [1 if stacked else shape.dim[axis % rank].size for shape in shapes]
    ends = np.cumsum(sizes)
    return _Cut(axis % rank, rank, list(zip(ends - sizes, ends))) if min(sizes) >= 0 else None


def _axis(view: GraphView, name: str) -> Optional[int]:
    if view.op(name) == 'Unpack':
        return view.attr(name, 'axis').i
    value = view.value(view.inputs(name)[_AXIS_INPUTS[view.op(name)]])
    return None if value is None else int(value)


def _slices(view: GraphView, name: str, cut: _Cut, outputs: Collection[str], taken: Set[str]) -> Dict[str, List[tf.NodeDef]]:
    """{result that is read: [its Consts, the StridedSlice]}. Adds the names to `taken`."""
    made = {}
    for index, part in enumerate(cut.parts):
        tensor = tensor_name(name, index)
        if view.consumers(tensor) or tensor in outputs:
            result = new_name('{}_{}'.format(name, index), taken) if index else name
            nodes = _slice(view, name, result, cut, part, taken)
            if '_output_shapes' in view.node(name).attr:
                nodes[-1].attr['_output_shapes'].list.shape.extend([view.attr(name, '_output_shapes').list.shape[index]])
            made[tensor] = nodes
    return made


def _slice(view: GraphView, name: str, result: str, cut: _Cut, part: Tuple[int, int], taken: Set[str]) -> List[tf.NodeDef]:
    """The nodes of value[:, ..., begin:end, :, ...], all axes written out: the compiler does not know an ellipsis."""
    begin, end, strides = np.zeros(cut.rank, np.int32), np.zeros(cut.rank, np.int32), np.ones(cut.rank, np.int32)
    begin[cut.axis], end[cut.axis] = part
    limits = slice_limits(result, (begin, end, strides), taken, '_output_shapes' in view.node(name).attr)
    node = tf.NodeDef(name=result, op='StridedSlice', input=[
        view.inputs(name)[SPLIT_INPUTS[view.op(name)]], *(const.name for const in limits)])
    node.attr['T'].type, node.attr['Index'].type = tf.float32.as_datatype_enum, tf.int32.as_datatype_enum
    cut_axis = 1 << cut.axis
    others = (1 << cut.rank) - 1 - cut_axis
    for key, mask in (('begin_mask', others), ('end_mask', others), ('ellipsis_mask', 0), ('new_axis_mask', 0),
                      ('shrink_axis_mask', cut_axis if view.op(name) == 'Unpack' else 0)):
        node.attr[key].i = mask
    return limits + [node]


def _with_slices(model: tf.GraphDef, view: GraphView, slices: Dict[str, Dict[str, List[tf.NodeDef]]]) -> tf.GraphDef:
    """The model with slices, {op that splits: {result: nodes}}, and without the parameters that only these ops read."""
    results = {tensor: nodes[-1].name for made in slices.values() for tensor, nodes in made.items()}
    dropped = {node_name(tensor) for name in slices for index, tensor in enumerate(view.inputs(name))
               if index != SPLIT_INPUTS[view.op(name)] and len(view.consumers(tensor)) == 1}
    nodes = []
    for node in model.node:
        made = [new for part in slices.get(node.name, {}).values() for new in part] or [node]
        nodes += [editor.with_inputs(new, [operand if operand.startswith('^') else results.get(normalise(operand), operand)
                                           for operand in new.input]) for new in made if new.name not in dropped]
    return editor.subgraph(model, nodes)
