"""Which tensors of a graph have one value in every run, so that they can be fetched."""
import collections

import numpy as np

from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS, ENTER_OPS, EXIT_OPS, MERGE_OPS, NEXT_OPS, SWITCH_OPS
from vai_q_tf.graph.view import node_name, tensor_name


def fetchable_tensors(view):
    """(tensors, skipped): names of the tensors of a GraphView that can be fetched, and {node: why it cannot}."""
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


def _is_number(dtype):
    return dtype.is_numpy_compatible and np.dtype(dtype.as_numpy_dtype).kind in 'biuf'


def _depths(view):
    """{node: how many loops and branches it, or what it waits for, is in}; `branch_nodes` tells only what it is in."""
    inputs, readers = {}, collections.defaultdict(list)
    for name in view.names:
        operands = [node_name(tensor) for tensor in view.inputs(name)] + list(view.control_inputs(name))
        inputs[name] = [operand for operand in operands if not _is_next(view, operand)]  # without the way back of a loop
        for operand in inputs[name]:
            readers[operand].append(name)
    waiting = {name: len(operands) for name, operands in inputs.items()}
    ready = [name for name, count in waiting.items() if not count]
    depths = {}
    while ready:
        name = ready.pop()
        depths[name] = _depth(view, name, max((depths[operand] for operand in inputs[name]), default=0))
        for reader in readers[name]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    return depths


def _depth(view, name, depth):
    op = view.op(name)
    if op in ENTER_OPS or op in SWITCH_OPS and view.op(view.inputs(name)[1]) != 'LoopCond':
        return depth + 1
    if op in EXIT_OPS or op in MERGE_OPS and not any(_is_next(view, operand) for operand in view.inputs(name)):
        return max(0, depth - 1)
    return depth


def _is_next(view, tensor):
    return view.op(tensor) in NEXT_OPS
