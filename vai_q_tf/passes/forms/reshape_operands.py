"""Gives constant operands of three dimensions a rank that the DPU's compiler takes."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common.changed_parameter import reshape_parameter
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter


def reshape_operands(graph_def, protected, config):
    """The graph where the parameters of float32 Add, AddV2, Mul and Maximum nodes have one or four dimensions, not three.

    [1, 1, C] becomes [C] beside a tensor of three dimensions or more; [A, B, C] becomes [1, A, B, C] beside one of four. For
    their names see `change_parameter`.
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    others = static | branch_nodes(view)
    for name in view.names:
        if view.op(name) in ('Add', 'AddV2', 'Mul', 'Maximum') and name not in others and view.dtype(name) == tf.float32:
            for index, operand in enumerate(view.inputs(name)):
                if node_name(operand) in static:
                    _reshape(rewriter, name, index, view.shape(operand), view.shape(view.inputs(name)[1 - index]))
    return rewriter.result()


def _reshape(rewriter, name, index, dims, data):
    if dims is None or data is None or len(dims) != 3 or len(data) < 3 or -1 in dims:
        return
    if dims[:2] == [1, 1]:
        dims = dims[2:]
    elif len(data) == 4:
        dims = [1] + dims
    else:
        return

    rewriter.set_input(name, index, reshape_parameter(rewriter, name, index, dims))
