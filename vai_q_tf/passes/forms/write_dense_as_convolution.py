"""Dense layers on the last of four dimensions become convolutions of size 1; the compiler refuses the former."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.traits import ADD_OPS, BATCH_NORM_OPS
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.changed_parameter import reshape_parameter
from vai_q_tf.passes.common.infer_shapes import infer_shapes
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node, redefined

_FACTORS = BATCH_NORM_OPS | {'BatchNormWithGlobalNormalization', 'Mul', 'RealDiv'}
_BETWEEN = ADD_OPS | {'Sub', 'Reshape', 'Squeeze'}


def write_dense_as_convolution(graph_def, protected, config):
    """The graph with a Conv2D in place of each MatMul between a Reshape of [N, H, W, C] to rows and one back to [N, H, W, K].

    Dense layers of TensorFlow and Keras are written so. The Conv2D has the name of the MatMul, or that of the last Reshape
    where this is protected. For the name of the weights, [1, 1, C, K], see `change_parameter`. A layer with a batch norm, or a
    factor, stays: training normalises the result of the MatMul that is there.
    """
    rewriter = Rewriter(graph_def, protected)
    found = [match for match in (_match(rewriter, name) for name in rewriter.view.names) if match]
    if not found:
        return graph_def
    shaped = infer_shapes(graph_def, protected, config)
    rewriter = Rewriter(shaped, protected)
    view = rewriter.view
    static, branches = static_nodes(view, in_branches=True), branch_nodes(view)
    for name, after, data in found:
        dims, weights = view.shape(data), view.shape(view.inputs(name)[1])
        if (name not in branches and node_name(view.inputs(name)[1]) in static and view.dtype(name) == tf.float32
                and dims and len(dims) == 4 and weights and min(weights) > 0 and dims[-1] == weights[0]
                and _gives_back(rewriter, after, data, dims[:-1] + weights[1:]) and not _has_factor(view, after, static)):
            _replace(rewriter, name, after, data, dims[:-1] + weights[1:], weights)
    result = rewriter.result()
    return graph_def if result is shaped else infer_shapes(result, protected, config)


def _match(rewriter, name):
    """(the MatMul, the Reshape after it, the tensor that is reshaped before it); None where it is another."""
    view = rewriter.view
    if view.op(name) != 'MatMul':
        return None
    before, readers = view.inputs(name)[0], view.consumers(name)
    if (view.attr(name, 'transpose_a').b or view.attr(name, 'transpose_b').b or view.op(before) != 'Reshape'
            or name in rewriter.protected or len(readers) != 1):
        return None
    after, index = readers[0]
    return (name, after, _untransposed(rewriter, view.inputs(before)[0])) if view.op(after) == 'Reshape' and not index else None


def _untransposed(rewriter, tensor):
    """What a Transpose that leaves the order as it is reads; the tensor itself if it is no such Transpose."""
    if rewriter.view.op(tensor) == 'Transpose':
        data, order = rewriter.view.inputs(tensor)
        order = rewriter.value(order)
        if order is not None and order.tolist() == list(range(order.size)):
            return data
    return tensor


def _has_factor(view, name, static):
    """Whether folding would find a factor after the node."""
    for reader, _ in view.consumers(name):
        is_affine = view.op(reader) == 'Squeeze' or any(node_name(operand) in static for operand in view.inputs(reader))
        if is_affine and (view.op(reader) in _FACTORS or view.op(reader) in _BETWEEN and _has_factor(view, reader, static)):
            return True
    return False


def _gives_back(rewriter, after, data, dims):
    """Whether the Reshape gives the shape `dims`, whose first three sizes are those of `data`."""
    view, shape = rewriter.view, rewriter.view.inputs(after)[1]
    if -1 not in dims[1:] and (view.shape(after) or [])[1:] == dims[1:]:
        return True
    if view.op(shape) != 'ConcatV2' or len(view.inputs(shape)) != 3:
        return False
    sizes, last = view.inputs(shape)[0], rewriter.value(view.inputs(shape)[1])
    if view.op(sizes) != 'GatherV2' or last is None or last.tolist() != dims[-1:]:
        return False
    whole, places = view.inputs(sizes)[0], rewriter.value(view.inputs(sizes)[1])
    return (view.op(whole) == 'Shape' and _untransposed(rewriter, view.inputs(whole)[0]) == data
            and places is not None and places.tolist() == [0, 1, 2])


def _replace(rewriter, name, after, data, dims, weights):
    last = after in rewriter.protected
    kernel = reshape_parameter(rewriter, name, 1, [1, 1] + weights)
    conv = make_node('Conv2D', after if last else name, [data, kernel], T=tf.float32, strides=[1, 1, 1, 1],
                     dilations=[1, 1, 1, 1], padding='VALID', data_format='NHWC')
    snippets.shaped(conv, dims)
    rewriter.inherit_sources(conv, name, after)
    rewriter.add(conv if last else redefined(conv))
    if not last:
        rewriter.redirect(after, name)
