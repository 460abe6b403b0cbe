"""Folds a batch norm into the convolution before it, in a live graph.

With scale = gamma / sqrt(moving variance + epsilon), the evaluation network is

    conv(x, Q(weights * scale)) + Q(beta + (bias - moving mean) * scale)

`fold_moving` builds just that. `fold_batch` trains with the statistics of the batch and the same quantized weights, with the
one convolution that is there: it convolves with Q(weights * scale) / scale, which has the magnitude of the float weights, and
leaves the batch norm to normalise the result and to feed its moving averages. The rounding error of the folded bias is added
to beta, so training sees it too. From `freeze_bn_step` on the same nodes compute the evaluation network, bit for bit.

Two choices of `fold_batch` while it uses batch statistics: scale is a constant to the gradient, because the normalisation
removes it again; and a channel whose scale is zero takes the largest one of the layer instead, or it would convolve with zeros
and its gamma would never move. Where all are zero (a gamma that starts at zero) they take 1 / sqrt(variance + epsilon).
"""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor, traits
from vai_q_tf.qat.norms import norm_ops

_TINY_SCALE = 1e-20  # 1 / scale is still finite


def fold_moving(graph, norm, quantize):
    """Replaces `norm` by its folded form on moving statistics.

    Args:
      graph: the live tf.Graph.
      norm: a BatchNorm of the plan.
      quantize: a `rewrite.Quantizer`.

    Returns:
      The tf.Tensor that took the place of `norm.output` for all that read it.
    """
    compute = graph.get_operation_by_name(norm.compute)
    output = live_editor.tensor(graph, norm.output)
    readers = live_editor.consumers(output)
    with live_editor.with_placement_of(graph, output):
        scale = norm_ops.scale(graph, norm).scale
        weights = quantize(norm.weight_name, _scaled_weights(graph, norm, scale))
        bias = quantize(norm.bias_name, norm_ops.folded_bias(graph, norm, scale, _conv_bias(graph, norm)))
        folded = live_editor.copy_with_input(compute, traits.trait(compute.type).weight, weights, norm.compute + '_Fold')
        result = tf.nn.bias_add(folded.outputs[0], bias, data_format=norm.data_format, name=norm.result_node)
    live_editor.reroute(graph, readers, result)
    return result


def fold_batch(graph, norm, quantize, use_batch=None):
    """Quantizes the weights and bias of `norm`, which goes on normalising with the statistics of the batch.

    Args:
      graph, norm, quantize: as in `fold_moving`.
      use_batch: scalar bool tensor, false once the moving statistics are to be used; None: never.

    Returns:
      The tf.Tensor that all readers of `norm.output` now read; `norm.output` itself where nothing had to change.
    """
    compute = graph.get_operation_by_name(norm.compute)
    output = live_editor.tensor(graph, norm.output)
    readers = live_editor.consumers(output)

    def phase(batch, frozen):
        return norm_ops.phase(use_batch, batch, frozen)

    with live_editor.with_placement_of(graph, output):
        reciprocal, scale = norm_ops.scale(graph, norm)
        nonzero = _without_zeros(scale, reciprocal) if norm.gamma else scale
        conv_bias = _conv_bias(graph, norm)
        weights_scale = phase(tf.stop_gradient(nonzero), scale)
        rescale = phase(tf.stop_gradient(tf.math.reciprocal(nonzero)), tf.ones_like(scale))
        # One op for Q(W * s) / s; what it stands for is there by name, and costs nothing where nobody fetches it.
        _scaled_weights(graph, norm, weights_scale)
        tf.identity(_along_channels(graph, norm, rescale), name=norm.folding_node('unscale'))
        weights = quantize.scaled(norm.weight_name, live_editor.tensor(graph, norm.weights), weights_scale, rescale,
                                  _elements_of_channel(graph, norm))
        live_editor.reroute(graph, [(norm.compute, traits.trait(compute.type).weight)], weights)

        folded_bias = norm_ops.folded_bias(
            graph, norm, phase(tf.stop_gradient(scale), scale),
            None if conv_bias is None else phase(tf.stop_gradient(conv_bias), conv_bias))
        bias = quantize(norm.bias_name, folded_bias)
        result = norm_ops.add_to_offset(graph, norm, output, tf.subtract(bias, folded_bias, name=norm.folding_node('error')))
        if use_batch is not None:
            normalised = result
            result = tf.cond(
                use_batch, lambda: tf.identity(normalised),
                lambda: tf.nn.bias_add(compute.outputs[0], bias, data_format=norm.data_format), name=norm.result_node)
    if result is not output:
        live_editor.reroute(graph, readers, result)
    return result


def _without_zeros(scale, reciprocal):
    """`scale` with its largest magnitude in place of zeros; `reciprocal` where all are zeros."""
    size = tf.abs(scale)
    largest = tf.reduce_max(size)
    typical = tf.raw_ops.Select(condition=largest < _TINY_SCALE, x=reciprocal, y=tf.fill(tf.shape(scale), largest))
    return tf.raw_ops.Select(condition=size < _TINY_SCALE, x=typical, y=scale)


def _conv_bias(graph, norm):
    return live_editor.tensor(graph, norm.conv_bias) if norm.conv_bias else None


def _channel_axes(compute):
    """The axes of the weights of a compute op that make up its output channels."""
    if compute.type == 'MatMul' and compute.get_attr('transpose_b'):
        return (0,)
    return traits.trait(compute.type).channel_axes


def _elements_of_channel(graph, norm):
    """How many consecutive weights belong to one output channel."""
    axes = _channel_axes(graph.get_operation_by_name(norm.compute))
    return int(np.prod(live_editor.tensor(graph, norm.weights).shape.as_list()[axes[-1] + 1:], dtype=int))


def _along_channels(graph, norm, vector):
    """`vector` [channels] shaped to multiply the weights of the compute op by output channel."""
    weights = live_editor.tensor(graph, norm.weights).shape.as_list()
    axes = _channel_axes(graph.get_operation_by_name(norm.compute))
    shape = [weights[axis] if axis in axes else 1 for axis in range(axes[0], len(weights))]
    if len(shape) == 1:
        return vector
    return tf.reshape(vector, tf.constant(shape, tf.int32, name=norm.folding_node('shape')),
                      name=norm.folding_node('reshape'))


def _scaled_weights(graph, norm, scale):
    return tf.multiply(_along_channels(graph, norm, scale), live_editor.tensor(graph, norm.weights),
                       name=norm.folding_node('mul_1'))
