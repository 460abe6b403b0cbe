"""Tensors that can be fetched: those with one value in every run."""
from typing import Dict, List, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS, NEXT_OPS, depth_after
from vai_q_tf.graph.dependence import in_order, operands
from vai_q_tf.graph.view import GraphView, tensor_name


def fetchable_tensors(view: GraphView) -> Tuple[List[str], Dict[str, str]]:
    """(the tensors that can be fetched, {node without any: reason})."""
    depths, tensors, skipped = _depths(view), [], {}
    for name in view.names:
        types = view.output_types(name)
        if view.op(name) in CONTROL_FLOW_OPS:
            skipped[name] = 'control flow'
        elif depths[name] > 0:
            skipped[name] = 'in a loop, or in a branch that need not run'
        elif not types:
            skipped[name] = 'no outputs ({})'.format(view.op(name))
        else:
            found = [tensor_name(name, index) for index, dtype in enumerate(types) if _is_number(dtype)]
            tensors.extend(found)
            if not found:
                skipped[name] = 'its type is {}'.format(types[0].name)
    return tensors, skipped


def _is_number(dtype: tf.DType) -> bool:
    return dtype.is_numpy_compatible and np.dtype(dtype.as_numpy_dtype).kind in 'biuf'


def _depths(view: GraphView) -> Dict[str, int]:
    """{node: the number of loops and branches around it or a node that it waits for}; `branch_nodes` ignores waiting."""
    needed = {name: [operand for operand in operands(view, name) if view.op(operand) not in NEXT_OPS] for name in view.names}
    depths: Dict[str, int] = {}
    for name in in_order(needed):
        depths[name] = depth_after(view, name, max((depths[operand] for operand in needed[name]), default=0))
    return depths
