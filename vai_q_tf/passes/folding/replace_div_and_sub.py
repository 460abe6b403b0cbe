"""Writes divisions, subtractions and negations as the multiplications and additions that the DPU computes."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.changed_parameter import change_parameter
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def replace_div_and_sub(graph_def, protected, config):
    """The graph where x / c is x * (1/c), x - c is x + (-c), c - x is x * (-1) + c, and -x is x * (-1); c is a parameter.

    Only float32 outside of branches and loops is looked at. The result keeps its name. The product of c - x is
    `<sub>/negative`, the factors -1 are `.../factor`; for the names of the parameters see `change_parameter`. A division by
    zero stays.
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    others = static | branch_nodes(view)
    for name in view.names:
        if view.op(name) not in ('RealDiv', 'Sub', 'Neg') or name in others or view.dtype(name) != tf.float32:
            continue
        fixed = [node_name(tensor) in static for tensor in view.inputs(name)]
        if view.op(name) == 'Neg':
            rewriter.add(_negative(rewriter, name, name, view.inputs(name)[0]))
        elif fixed == [False, True]:
            _replace(rewriter, name, *_DIVISION if view.op(name) == 'RealDiv' else _SUBTRACTION)
        elif fixed == [True, False] and view.op(name) == 'Sub':
            negative = _negative(rewriter, name, rewriter.unique(name + '/negative'), view.inputs(name)[1])
            rewriter.add(negative)
            rewriter.add(_like(rewriter, name, 'Add', [negative.name, view.inputs(name)[0]]))
    return rewriter.result()


_DIVISION = 'Mul', 'Reciprocal', 'reciprocal'
_SUBTRACTION = 'Add', 'Neg', 'negative'


def _replace(rewriter, name, op, operation, end):
    data, constant = rewriter.view.inputs(name)
    value = rewriter.value(constant)
    if op == 'Mul' and value is not None:
        with np.errstate(divide='ignore', over='ignore'):
            if not np.isfinite(np.float32(1) / value).all():
                return
    rewriter.add(_like(rewriter, name, op, [data, change_parameter(rewriter, name, 1, operation, (), end)]))


def _negative(rewriter, name, product, tensor):
    """The NodeDef `product` of the tensor and -1, which stands for the node `name`."""
    factor = snippets.constant(rewriter.unique(product + '/factor'), np.float32(-1))
    rewriter.add(factor)
    negative = make_node('Mul', product, [tensor, factor.name], T=tf.float32)
    shape = rewriter.view.shape(tensor)
    if shape is not None:
        snippets.shaped(negative, shape)
    if product == name:
        rewriter.inherit_sources(negative, name)
    return negative


def _like(rewriter, name, op, inputs):
    """A node of another op type in the place of a node."""
    new = make_node(op, name, inputs, like=rewriter.node(name), T=tf.float32)
    rewriter.inherit_sources(new, name)
    return new
