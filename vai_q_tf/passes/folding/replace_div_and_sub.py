"""Writes divisions, subtractions and negations as the multiplications and additions that the DPU computes."""
from typing import Collection

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.changed_parameter import change_parameter
from vai_q_tf.passes.common.parameters import computed_floats, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def replace_div_and_sub(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph in which x / c is x * (1/c), x - c is x + (-c), c - x is x * (-1) + c, and -x is x * (-1); c is a parameter.

    Only float32 nodes outside of branches and loops are replaced. The result keeps its name. The product of c - x is
    `<sub>/negative`, the factors -1 are `.../factor`; for the names of parameters see `change_parameter`. A division by zero
    stays.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(replace_div_and_sub, lambda x: (5.0 - x) / 4.0)
    RealDiv(Sub(5, x), 4)
    Mul(Add(Mul(x, -1), 5), Reciprocal(4))
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    for name in computed_floats(view, ('RealDiv', 'Sub', 'Neg'), static):
        op, fixed = view.op(name), [node_name(tensor) in static for tensor in view.inputs(name)]
        if op == 'Neg':
            rewriter.add(_negative(rewriter, name, name, view.inputs(name)[0]))
        elif op == 'RealDiv' and fixed == [False, True]:
            _replace_division(rewriter, name)
        elif op == 'Sub' and fixed == [False, True]:
            _replace(rewriter, name, 'Add', view.inputs(name)[0], change_parameter(rewriter, name, 1, 'Neg', (), 'negative'))
        elif op == 'Sub' and fixed == [True, False]:
            negative = _negative(rewriter, name, rewriter.unique(name + '/negative'), view.inputs(name)[1])
            rewriter.add(negative)
            _replace(rewriter, name, 'Add', negative.name, view.inputs(name)[0])
    return rewriter.result()


def _replace_division(rewriter: Rewriter, name: str) -> None:
    data, divisor = rewriter.view.inputs(name)
    value = rewriter.value(divisor)
    if value is not None:
        with np.errstate(divide='ignore', over='ignore'):
            if not np.isfinite(np.float32(1) / value).all():
                return
    _replace(rewriter, name, 'Mul', data, change_parameter(rewriter, name, 1, 'Reciprocal', (), 'reciprocal'))


def _negative(rewriter: Rewriter, name: str, product: str, tensor: str) -> tf.NodeDef:
    """The NodeDef `product` of the tensor and -1, for the node `name`."""
    factor = snippets.add_constant(rewriter, product + '/factor', np.float32(-1))
    negative = make_node('Mul', product, [tensor, factor], T=tf.float32)
    shape = rewriter.view.shape(tensor)
    if shape is not None:
        snippets.shaped(negative, shape)
    if product == name:
        rewriter.inherit_sources(negative, name)
    return negative


def _replace(rewriter: Rewriter, name: str, op: str, *inputs: str) -> None:
    """Replaces a node by another op."""
    new = make_node(op, name, inputs, like=rewriter.node(name), T=tf.float32)
    rewriter.inherit_sources(new, name)
    rewriter.add(new)
