"""StridedSlices with an ellipsis, as in x[..., 1:], with all dimensions written out: the DPU compiler refuses the others."""
from typing import Dict, List, Optional, Sequence, Set

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.export.forms.new_nodes import slice_limits
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.view import GraphView, node_name, output_index
from vai_q_tf.types import OutputShapes

_MASKS = ('begin_mask', 'end_mask', 'new_axis_mask', 'shrink_axis_mask')


def write_out_ellipses(model: tf.GraphDef, shapes: OutputShapes) -> tf.GraphDef:
    """The model whose StridedSlices have begin, end and stride for each dimension that an ellipsis covers.

    A StridedSlice stays as it is if its limits are no Consts, its input has an unknown rank, or it is in a branch or a loop.

    Args:
      shapes: FixNeurons need none.
    """
    names = [node.name for node in model.node
             if node.op == 'StridedSlice' and 'ellipsis_mask' in node.attr and node.attr['ellipsis_mask'].i]
    if not names:
        return model
    view, taken = GraphView(model), {node.name for node in model.node}
    written: Dict[str, List[tf.NodeDef]] = {}
    for name in sorted(set(names) - branch_nodes(view), key=view.order):
        limits = [view.value(tensor) for tensor in view.inputs(name)[1:]]
        rank = _rank(view, view.inputs(name)[0], shapes)
        if rank is not None and all(value is not None for value in limits):
            written[name] = _written_out(view.node(name), limits, rank, taken)
    if not written:
        return model
    dropped = {node_name(tensor) for name in written for tensor in view.inputs(name)[1:]
               if {reader for reader, _ in view.consumers(tensor)} == {name}}
    nodes = [new for node in model.node if node.name not in dropped for new in written.get(node.name, [node])]
    return editor.subgraph(model, nodes)


def _rank(view: GraphView, tensor: str, shapes: OutputShapes) -> Optional[int]:
    """The rank of a tensor; None for an unknown one."""
    while view.op(tensor) == 'FixNeuron':
        tensor = view.inputs(tensor)[0]
    known = shapes.get(node_name(tensor), ())
    if output_index(tensor) >= len(known) or known[output_index(tensor)].unknown_rank:
        return None
    return len(known[output_index(tensor)].dim)


def _written_out(ellipsis: tf.NodeDef, limits: Sequence[np.ndarray], rank: int, taken: Set[str]) -> List[tf.NodeDef]:
    """[the Consts, the StridedSlice]; `limits` are begin, end and strides. Adds the names to `taken`."""
    node = editor.exact_copy(ellipsis)
    place = node.attr['ellipsis_mask'].i.bit_length() - 1
    others = [index for index in range(len(limits[0])) if index != place]
    added = rank - sum(not node.attr['new_axis_mask'].i >> index & 1 for index in others)
    for key in _MASKS:
        mask = node.attr[key].i
        first, last = mask & (1 << place) - 1, mask >> place + 1
        inner = (1 << added) - 1 if key in ('begin_mask', 'end_mask') else 0
        node.attr[key].i = first | inner << place | last << place + added
    node.attr['ellipsis_mask'].i = 0
    whole = [np.concatenate([value[:place], np.full(added, filling, value.dtype), value[place + 1:]])
             for value, filling in zip(limits, (0, 0, 1))]
    consts = slice_limits(node.name, whole, taken, '_output_shapes' in node.attr)
    node.input[1:4] = [const.name for const in consts]
    return consts + [node]
