"""Reshapes constant operands of three dimensions, which the DPU's compiler refuses."""
from typing import Collection, List, Optional

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common.changed_parameter import reshape_parameter
from vai_q_tf.passes.common.parameters import computed_floats, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter


def reshape_operands(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph in which parameters of float32 Add, AddV2, Mul and Maximum nodes have one or four dimensions, not three.

    [1, 1, C] becomes [C] if the other operand has three dimensions or more; [A, B, C] becomes [1, A, B, C] if that has four.
    For their names see `change_parameter`; `evaluate_folded` computes them.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(reshape_operands, lambda x: x * [[[1.0, 2.0]]], [-1, 4, 4, 2])
    Mul(x, [[[1, 2]]])
    Mul(x, Reshape([[[1, 2]]], [2]))
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    for name in computed_floats(view, ('Add', 'AddV2', 'Mul', 'Maximum'), static):
        for index, operand in enumerate(view.inputs(name)):
            if node_name(operand) in static:
                dims = _dims(view.shape(operand), view.shape(view.inputs(name)[1 - index]))
                if dims:
                    rewriter.set_input(name, index, reshape_parameter(rewriter, name, index, dims))
    return rewriter.result()


def _dims(dims: Optional[List[int]], other: Optional[List[int]]) -> Optional[List[int]]:
    """The new shape of an operand of the shape `dims`, whose other operand has the shape `other`; None if it stays."""
    if dims is None or other is None or len(dims) != 3 or len(other) < 3 or -1 in dims:
        return None
    if dims[:2] == [1, 1]:
        return dims[2:]
    return [1] + dims if len(other) == 4 else None
