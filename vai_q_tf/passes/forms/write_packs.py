"""Packs of floats become ConcatV2s, which the compiler reads and for which the parts get one position."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.changed_parameter import reshape_parameter
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def write_packs(graph_def, protected, config):
    """The graph with a ConcatV2 of the same name, of ExpandDims `<pack>/part_<number>`, in place of every float32 Pack.

    A parameter among the parts is reshaped, see `change_parameter`. One part alone needs no ConcatV2. Packs stay where the rank
    of a part is not known, in branches and loops, and where all parts are parameters.
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    others = static | branch_nodes(view)
    for name in view.names:
        shapes = [view.shape(tensor) for tensor in view.inputs(name)]
        if view.op(name) == 'Pack' and view.dtype(name) == tf.float32 and name not in others and None not in shapes:
            _replace(rewriter, name, shapes, static)
    return rewriter.result()


def _replace(rewriter, name, shapes, static):
    view, pack = rewriter.view, rewriter.node(name)
    axis = view.attr(name, 'axis').i % (len(shapes[0]) + 1)
    dim = snippets.constant(rewriter.unique(name + '/dim'), np.int32(axis))
    rewriter.add(dim)
    parts = []
    for index, (tensor, dims) in enumerate(zip(view.inputs(name), shapes)):
        dims = dims[:axis] + [1] + dims[axis:]
        if node_name(tensor) in static and -1 not in dims:
            parts.append(reshape_parameter(rewriter, name, index, dims))
            continue
        part = name if len(shapes) == 1 else rewriter.unique('{}/part_{}'.format(name, index))
        expanded = make_node('ExpandDims', part, [tensor, dim.name], T=tf.float32, Tdim=tf.int32)
        rewriter.add(snippets.shaped(expanded, dims))
        parts.append(part)
    if len(parts) > 1:
        end = snippets.constant(rewriter.unique(name + '/axis'), np.int32(axis))
        rewriter.add(end)
        rewriter.add(make_node('ConcatV2', name, parts + [end.name], like=pack, T=tf.float32, Tidx=tf.int32, N=len(parts)))
