"""Writes dense layers on the last of four dimensions as convolutions of size 1; the compiler refuses such dense layers."""
from typing import AbstractSet, Collection, List, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.traits import ADD_OPS, BATCH_NORM_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.changed_parameter import reshape_parameter
from vai_q_tf.passes.common.infer_shapes import infer_shapes
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node, redefined

_FACTORS = BATCH_NORM_OPS | {'BatchNormWithGlobalNormalization', 'Mul', 'RealDiv'}
_BETWEEN = ADD_OPS | {'Sub', 'Reshape', 'Squeeze'}


class _Dense(NamedTuple):
    """A MatMul between two Reshapes: its name, the second Reshape, and the tensor that the first one reads."""
    matmul: str
    after: str
    data: str


def write_dense_as_convolution(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with a Conv2D in place of each MatMul between a Reshape of [N, H, W, C] to rows and one back to [N, H, W, K].

    TensorFlow and Keras write dense layers like that. The Conv2D has the name of the MatMul, or that of the last Reshape if
    this is protected; for the name of the weights, [1, 1, C, K], see `change_parameter`. A layer with a batch norm or a factor
    stays, since training normalises the result of the MatMul.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> def dense(x):
    ...     return tf.reshape(tf.matmul(tf.reshape(x, [-1, 2]), [[1.0], [2.0]]), [-1, 4, 4, 1])
    >>> print_before_and_after(write_dense_as_convolution, dense, [-1, 4, 4, 2])
    Reshape(MatMul(Reshape(x, [-1, 2]), [[1], [2]]), [-1, 4, 4, 1])
    Conv2D(x, Reshape([[1], [2]], [1, 1, 2, 1]))
    """
    rewriter = Rewriter(graph_def, protected)
    found = [match for match in (_match(rewriter, name) for name in rewriter.view.names) if match]
    if not found:
        return graph_def
    shaped = infer_shapes(graph_def, protected, config)
    rewriter = Rewriter(shaped, protected)
    static, branches = static_nodes(rewriter.view, in_branches=True), branch_nodes(rewriter.view)
    for dense in found:
        if dense.matmul not in branches and _is_convolution(rewriter, dense, static):
            _replace(rewriter, dense)
    result = rewriter.result()
    return graph_def if result is shaped else infer_shapes(result, protected, config)


def _match(rewriter: Rewriter, name: str) -> Optional[_Dense]:
    """The _Dense of the node, or None."""
    view = rewriter.view
    if view.op(name) != 'MatMul' or name in rewriter.protected or len(view.consumers(name)) != 1:
        return None
    before, (after, _) = view.inputs(name)[0], view.consumers(name)[0]
    if view.attr(name, 'transpose_a').b or view.attr(name, 'transpose_b').b:
        return None
    if view.op(before) != 'Reshape' or view.op(after) != 'Reshape':
        return None
    return _Dense(name, after, _untransposed(rewriter, view.inputs(before)[0]))


def _untransposed(rewriter: Rewriter, tensor: str) -> str:
    """The input of a Transpose that keeps the order of the axes; for all other ops the tensor itself."""
    if rewriter.view.op(tensor) == 'Transpose':
        data, permutation = rewriter.view.inputs(tensor)
        order = rewriter.value(permutation)
        if order is not None and order.tolist() == list(range(order.size)):
            return data
    return tensor


def _is_convolution(rewriter: Rewriter, dense: _Dense, static: AbstractSet[str]) -> bool:
    """Whether the layer has constant weights and no factor, and computes [N, H, W, K] from [N, H, W, C]."""
    view, operand = rewriter.view, rewriter.view.inputs(dense.matmul)[1]
    dims, weights = view.shape(dense.data), view.shape(operand)
    if node_name(operand) not in static or view.dtype(dense.matmul) != tf.float32 or not dims or not weights:
        return False
    return (len(dims) == 4 and min(weights) > 0 and dims[-1] == weights[0]
            and _restores(rewriter, dense, dims[:-1] + weights[1:]) and not _has_factor(view, dense.after, static))


def _restores(rewriter: Rewriter, dense: _Dense, dims: List[int]) -> bool:
    """Whether the last Reshape restores the first three dimensions of the data, so that its result has the shape `dims`."""
    view, shape = rewriter.view, rewriter.view.inputs(dense.after)[1]
    if -1 not in dims[1:] and (view.shape(dense.after) or [])[1:] == dims[1:]:
        return True
    if view.op(shape) != 'ConcatV2' or len(view.inputs(shape)) != 3:
        return False
    sizes, last = view.inputs(shape)[0], rewriter.value(view.inputs(shape)[1])
    if view.op(sizes) != 'GatherV2' or last is None or last.tolist() != dims[-1:]:
        return False
    whole, places = view.inputs(sizes)[0], rewriter.value(view.inputs(sizes)[1])
    return (view.op(whole) == 'Shape' and _untransposed(rewriter, view.inputs(whole)[0]) == dense.data
            and places is not None and places.tolist() == [0, 1, 2])


def _has_factor(view: GraphView, name: str, static: AbstractSet[str]) -> bool:
    """Whether folding would find a factor after the node."""
    for reader, _ in view.consumers(name):
        is_affine = view.op(reader) == 'Squeeze' or any(node_name(operand) in static for operand in view.inputs(reader))
        if is_affine and (view.op(reader) in _FACTORS or view.op(reader) in _BETWEEN and _has_factor(view, reader, static)):
            return True
    return False


def _replace(rewriter: Rewriter, dense: _Dense) -> None:
    view, (matmul, after, data) = rewriter.view, dense
    dims, weights = view.shape(data), view.shape(view.inputs(matmul)[1])
    assert dims and weights  # see _is_convolution
    is_protected = after in rewriter.protected
    kernel = reshape_parameter(rewriter, matmul, 1, [1, 1] + weights)
    conv = make_node('Conv2D', after if is_protected else matmul, [data, kernel], T=tf.float32, strides=[1, 1, 1, 1],
                     dilations=[1, 1, 1, 1], padding='VALID', data_format='NHWC')
    snippets.shaped(conv, dims[:-1] + weights[1:])
    rewriter.inherit_sources(conv, matmul, after)
    rewriter.add(conv if is_protected else redefined(conv))
    if not is_protected:
        rewriter.redirect(after, matmul)
