"""Nodes that several passes add or search for: constants, arithmetic on parameters, multipliers."""
from typing import Any, Iterable, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common.rewriter import Rewriter, make_node

# An attr of the nodes with which passes change parameters; `evaluate_folded` computes them if the values are known.
FOLDED = '_folded'


def shaped(node: tf.NodeDef, dims: Optional[Sequence[int]]) -> tf.NodeDef:
    """The NodeDef `node`, which has one output, with `dims` as its `_output_shapes`; -1: unknown size, None: unknown rank."""
    shape = tf.TensorShape(dims if dims is None else [None if dim == -1 else dim for dim in dims])
    node.attr['_output_shapes'].list.shape.extend([shape.as_proto()])
    return node


def constant(name: str, value: np.ndarray) -> tf.NodeDef:
    """A Const NodeDef with its value and `_output_shapes`."""
    return shaped(editor.constant(name, value.dtype, value), value.shape)


def add_constant(rewriter: Rewriter, name: str, value: np.ndarray) -> str:
    """Adds a Const; returns its name, which is `name` made unique."""
    node = constant(rewriter.unique(name), value)
    rewriter.add(node)
    return node.name


def arithmetic(op: str, name: str, inputs: Iterable[str], dims: Optional[Sequence[int]], **attrs: Any) -> tf.NodeDef:
    """A NodeDef that computes a float32 parameter of the shape `dims` from other parameters; see `FOLDED`."""
    return shaped(make_node(op, name, inputs, T=tf.float32, **{FOLDED: True}, **attrs), dims)


def append_multiplier(rewriter: Rewriter, name: str, factor: float, product: str, scale: str, inner: str) -> None:
    """Multiplies output 0 of the float32 node `name` by a number, unless its only reader does this already.

    Args:
      product: the name of the new Mul. scale: the name of its Const, of the shape [1]. Both are made unique.
      inner: the new name of the node if the Mul takes its name, see `Rewriter.append`.
    """
    if _is_multiplied(rewriter, name, factor):
        return
    product = rewriter.unique(product)
    scale = add_constant(rewriter, scale, np.array([factor], np.float32))
    multiplication = make_node('Mul', product, [name, scale], like=rewriter.node(name), T=tf.float32)
    if name not in rewriter.protected:
        rewriter.inherit_sources(multiplication, name)
    rewriter.append(name, [multiplication], inner)


def _is_multiplied(rewriter: Rewriter, name: str, factor: float) -> bool:
    view = rewriter.view
    readers = view.consumers(name)
    if name in rewriter.protected or len(readers) != 1 or view.op(readers[0][0]) != 'Mul':
        return False
    reader, index = readers[0]
    value = rewriter.value(view.inputs(reader)[1 - index])
    return value is not None and value.size > 0 and np.all(np.abs(value.astype(np.float64) - factor) < 1e-7)
