"""Writes batch norms as what they compute at inference: a multiplication and an addition."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import BATCH_NORM_OPS
from vai_q_tf.graph.view import tensor_name
from vai_q_tf.passes.common.rewriter import Rewriter, make_node

_GLOBAL = 'BatchNormWithGlobalNormalization'


def expand_batch_norms(graph_def, protected, config):
    """The graph with Mul `<bn>/mul` and Add `<bn>` in place of every float32 batch norm op `<bn>` in inference form.

    Their constants `<bn>/scale` and `<bn>/offset` are gamma / sqrt(variance + epsilon) and beta - mean * scale in
    float32, of shape [C], or [1, C, 1, 1] for NCHW. Batch norms with computed statistics stay.

    Raises:
      QuantizeError: LEARNING_PHASE for constants whose shapes do not fit together.
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        if rewriter.view.op(name) in BATCH_NORM_OPS or rewriter.view.op(name) == _GLOBAL:
            _expand(rewriter, name)
    return rewriter.result()


def _expand(rewriter, name):
    view, inputs = rewriter.view, rewriter.view.inputs(name)
    if view.op(name) == _GLOBAL:
        mean, variance, beta, gamma = map(rewriter.value, inputs[1:])
        gamma_tensor, beta_tensor = inputs[4], inputs[3]
        epsilon = view.attr(name, 'variance_epsilon').f
        if gamma is not None and not view.attr(name, 'scale_after_normalization').b:
            gamma = np.ones_like(gamma)
        data_format = 'NHWC'
    else:
        if view.attr(name, 'is_training').b:
            return
        gamma, beta, mean, variance = map(rewriter.value, inputs[1:])
        gamma_tensor, beta_tensor = inputs[1:3]
        epsilon, data_format = view.attr(name, 'epsilon').f, view.attr(name, 'data_format').s.decode()
    values = (gamma, beta, mean, variance)
    if any(value is None for value in values) or view.dtype(name) != tf.float32 or _has_other_outputs(view, name):
        return
    _check_shapes(name, values)
    scale = gamma / np.sqrt(variance + np.float32(epsilon))
    offset = beta - mean * scale
    if data_format == 'NCHW':
        scale, offset = scale.reshape(1, -1, 1, 1), offset.reshape(1, -1, 1, 1)
    scale_name, offset_name, product = [rewriter.unique(name + end) for end in ('/scale', '/offset', '/mul')]
    new = [editor.constant(scale_name, tf.float32, scale), editor.constant(offset_name, tf.float32, offset),
           make_node('Mul', product, [inputs[0], scale_name], T=tf.float32),
           make_node('Add', name, [product, offset_name], T=tf.float32)]
    for constant, origin in zip(new, (gamma_tensor, beta_tensor)):
        constant.input.extend(rewriter.node(rewriter.view.skip_identity(origin)).input)
        rewriter.inherit_sources(constant, origin)
    for added in new:
        rewriter.add(added)


def _has_other_outputs(view, name):
    return any(view.consumers(tensor_name(name, index)) for index in range(1, len(view.output_types(name))))


def _check_shapes(name, values):
    shapes = [list(value.shape) for value in values]
    if any(len(shape) != 1 or shape != shapes[2] for shape in shapes) or not shapes[2][0]:
        raise errors.QuantizeError(
            errors.LEARNING_PHASE, 'Batch norm', 'The gamma, beta, mean and variance of batch norm {!r} have the shapes '
            '{}, {}, {} and {}, but should be vectors of one length. Was the model frozen in the training phase? Fix the '
            'learning phase before it is built: tf.keras.backend.set_learning_phase(0), or is_training=False.'.format(
                name, *shapes))
