"""Writes Packs of floats as ConcatV2, which the compiler supports, and whose inputs share one position."""
from typing import AbstractSet, Collection, List, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.changed_parameter import reshape_parameter
from vai_q_tf.passes.common.parameters import computed_floats, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def write_packs(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with a ConcatV2 of the same name, of ExpandDims `<pack>/part_<number>`, in place of every float32 Pack.

    Inputs that are parameters are reshaped instead, see `reshape_parameter`; for a single input there is no ConcatV2. Packs
    stay if the rank of an input is unknown, if all inputs are parameters, and in branches and loops.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(write_packs, lambda x: tf.stack([x, tf.nn.relu(x)], 1))
    Pack(x, Relu(x))
    ConcatV2(ExpandDims(x, 1), ExpandDims(Relu(x), 1), 1)
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    for name in computed_floats(view, ('Pack',), static):
        shapes = [view.shape(tensor) for tensor in view.inputs(name)]
        known = [shape for shape in shapes if shape is not None]
        if len(known) == len(shapes):
            _replace(rewriter, name, known, static)
    return rewriter.result()


def _replace(rewriter: Rewriter, name: str, shapes: Sequence[List[int]], static: AbstractSet[str]) -> None:
    """Replaces the Pack `name`, whose inputs have the shapes `shapes`."""
    view, pack = rewriter.view, rewriter.node(name)
    axis = view.attr(name, 'axis').i % (len(shapes[0]) + 1)
    dim = snippets.add_constant(rewriter, name + '/dim', np.int32(axis))
    parts = []
    for index, (tensor, dims) in enumerate(zip(view.inputs(name), shapes)):
        dims = dims[:axis] + [1] + dims[axis:]
        if node_name(tensor) in static and -1 not in dims:
            parts.append(reshape_parameter(rewriter, name, index, dims))
            continue
        part = name if len(shapes) == 1 else rewriter.unique('{}/part_{}'.format(name, index))
        expanded = make_node('ExpandDims', part, [tensor, dim], T=tf.float32, Tdim=tf.int32)
        rewriter.add(snippets.shaped(expanded, dims))
        parts.append(part)
    if len(parts) > 1:
        end = snippets.add_constant(rewriter, name + '/axis', np.int32(axis))
        rewriter.add(make_node('ConcatV2', name, parts + [end], like=pack, T=tf.float32, Tidx=tf.int32, N=len(parts)))
