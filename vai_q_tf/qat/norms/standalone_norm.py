"""Quantizes a batch norm that is not behind a convolution: in the evaluation network it is

    x * Q(scale) + Q(beta - moving mean * Q(scale)),    scale = gamma / sqrt(moving variance + epsilon)

a Mul and an Add with quantized constants, as the compiler wants it. In training on batch statistics the batch norm stays, with
gamma and beta replaced by values that carry the same rounding: Q(scale) * sqrt(moving variance + epsilon), and beta plus the
rounding error of the offset.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor
from vai_q_tf.qat.norms import norm_ops


def replace_by_moving(graph, norm, data, quantize):
    """Replaces `norm` by its multiplication and addition.

    data: the tf.Tensor that it normalises, quantized. Otherwise arguments and result as of `fold.fold_moving`.
    """
    output = live_editor.tensor(graph, norm.output)
    readers = live_editor.consumers(output)
    with live_editor.with_placement_of(graph, output):
        factor = quantize(norm.weight_name, _scale_over_channels(graph, norm, data))
        offset = quantize(norm.bias_name, _offset(graph, norm, data, factor))
        result = _multiply_add(norm, data, factor, offset)
    live_editor.reroute(graph, readers, result)
    return result


def quantize_batch(graph, norm, data, quantize, range_nodes, use_batch=None):
    """Quantizes scale and offset of `norm`, which goes on normalising with the statistics of the batch.

    data: the tf.Tensor that it normalises, quantized. range_nodes: names of the nodes of the network. Otherwise arguments
    and result as of `fold.fold_batch`.
    """
    output = live_editor.tensor(graph, norm.output)
    readers = live_editor.consumers(output)
    with live_editor.with_placement_of(graph, output):
        factor = quantize(norm.weight_name, _scale_over_channels(graph, norm, data))
        offset = _offset(graph, norm, data, norm_ops.phase(use_batch, tf.stop_gradient(factor), factor))
        quantized_offset = quantize(norm.bias_name, offset)
        _replace_gamma(graph, norm, tf.reshape(factor, [-1]), range_nodes)
        error = tf.reshape(tf.subtract(quantized_offset, offset, name=norm.folding_node('error')), [-1])
        result = norm_ops.add_to_offset(graph, norm, output, error)
        if use_batch is not None:
            normalised = result
            result = tf.cond(use_batch, lambda: tf.identity(normalised),
                             lambda: _multiply_add(norm, data, factor, quantized_offset))
    if result is not output:
        live_editor.reroute(graph, readers, result)
    return result


def _scale_over_channels(graph, norm, data):
    return norm_ops.over_channels(norm, norm_ops.scale(graph, norm).scale, data)


def _offset(graph, norm, data, factor):
    return norm_ops.over_channels(norm, norm_ops.folded_bias(graph, norm, tf.reshape(factor, [-1])), data)


def _multiply_add(norm, data, factor, offset):
    return tf.add(tf.multiply(data, factor, name=norm.scope + '/mul'), offset, name=norm.result_node)


def _replace_gamma(graph, norm, factor, range_nodes):
    """Makes the batch norm multiply by `factor` [channels] where it multiplies by gamma / sqrt(moving variance + epsilon)."""
    gamma = live_editor.tensor(graph, norm.gamma)
    readers = [(node, index) for node, index in live_editor.consumers(gamma) if node in range_nodes]
    reciprocal = graph.get_tensor_by_name(norm.folding_node('rsqrt') + ':0')
    live_editor.reroute(graph, readers, tf.divide(factor, reciprocal, name=norm.folding_node('gamma')))
