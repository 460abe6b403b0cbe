"""Writes batch norms as what they compute at inference: a multiplication and an addition."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.traits import BATCH_NORM_OPS
from vai_q_tf.graph.view import node_name, tensor_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node

_GLOBAL = 'BatchNormWithGlobalNormalization'


def expand_batch_norms(graph_def, protected, config):
    """The graph with Mul `<bn>/mul` and Add `<bn>` in place of every float32 batch norm op `<bn>` in inference form.

    Their operands `<bn>/scale` and `<bn>/offset` are gamma / sqrt(variance + epsilon) and beta - mean * scale, of the shape
    [C], or [1, C, 1, 1] for NCHW, as arithmetic on the constants (see `evaluate_folded`). Batch norms with computed
    statistics stay.

    Raises:
      QuantizeError: LEARNING_PHASE for constants whose shapes do not fit together.
    """
    rewriter = Rewriter(graph_def, protected)
    static = static_nodes(rewriter.view, in_branches=True)
    for name in rewriter.view.names:
        if rewriter.view.op(name) in BATCH_NORM_OPS or rewriter.view.op(name) == _GLOBAL:
            _expand(rewriter, name, static)
    return rewriter.result()


def _expand(rewriter, name, static):
    view, inputs = rewriter.view, rewriter.view.inputs(name)
    if view.op(name) == _GLOBAL:
        mean, variance, beta, gamma = inputs[1:]
        epsilon, data_format = view.attr(name, 'variance_epsilon').f, 'NHWC'
        if not view.attr(name, 'scale_after_normalization').b:
            gamma = ''
    else:
        if view.attr(name, 'is_training').b:
            return
        gamma, beta, mean, variance = inputs[1:]
        epsilon, data_format = view.attr(name, 'epsilon').f, view.attr(name, 'data_format').s.decode()
    if any(node_name(value) not in static for value in inputs[1:]) or view.dtype(name) != tf.float32:
        return
    if _has_other_outputs(view, name):
        return
    channels = _channels(view, name, inputs[1:])
    scale, offset = _write_parameters(rewriter, name, (gamma, beta, mean, variance), epsilon, channels, data_format)
    product = rewriter.unique(name + '/mul')
    rewriter.add(make_node('Mul', product, [inputs[0], scale], T=tf.float32))
    rewriter.add(make_node('Add', name, [product, offset], T=tf.float32))


def _write_parameters(rewriter, name, parameters, epsilon, channels, data_format):
    """Adds the arithmetic of scale and offset, and returns the names of both."""
    gamma, beta, mean, variance = parameters
    dims = [channels]

    def add(op, end, *inputs):
        node = snippets.arithmetic(op, rewriter.unique(name + end), inputs, dims)
        rewriter.add(node)
        return node

    nchw = data_format == 'NCHW'
    small = snippets.constant(rewriter.unique(name + '/scale/epsilon'), np.array([epsilon], np.float32))
    rewriter.add(small)
    end = '/scale/vector' if nchw else '/scale'
    scale = add('Rsqrt', '/scale/reciprocal' if gamma else end, add('AddV2', '/scale/variance', small.name, variance).name)
    if gamma:
        scale = add('Mul', end, scale.name, gamma)
    shift = add('Mul', '/offset/mean', scale.name, mean)
    offset = add('Sub', '/offset/vector' if nchw else '/offset', beta, shift.name)
    results = []
    for vector, end, origin in ((scale, '/scale', gamma or variance), (offset, '/offset', beta)):
        if nchw:
            shape = snippets.constant(rewriter.unique(name + end + '/shape'), np.array([1, -1, 1, 1], np.int32))
            rewriter.add(shape)
            vector = snippets.arithmetic('Reshape', rewriter.unique(name + end), [vector.name, shape.name],
                                         [1, channels, 1, 1], Tshape=tf.int32)
        rewriter.inherit_sources(vector, node_name(origin))
        rewriter.add(vector)
        results.append(vector.name)
    return results


def _has_other_outputs(view, name):
    return any(view.consumers(tensor_name(name, index)) for index in range(1, len(view.output_types(name))))


def _channels(view, name, parameters):
    shapes = [view.shape(parameter) for parameter in parameters]
    if any(shape is None or len(shape) != 1 or shape != shapes[0] for shape in shapes) or not shapes[0][0]:
        raise errors.QuantizeError(
            errors.LEARNING_PHASE, 'Batch norm', 'The gamma, beta, mean and variance of batch norm {!r} have the shapes '
            '{}, {}, {} and {}, but should be vectors of one length. Was the model frozen in the training phase? Fix the '
            'learning phase before it is built: tf.keras.backend.set_learning_phase(0), or is_training=False.'.format(
                name, *shapes))
    return shapes[0][0]
