"""The training form of what is folded into a weighted op in the evaluation network: conv(x, Q(weights * scale)) + Q(bias).

`scale` and `bias` are what the factors and terms after the op come to with moving statistics. Training uses the statistics of
the batch and the same quantized weights, with the one convolution that is there: it convolves with Q(weights * scale) / scale,
which has the magnitude of the float weights, and leaves the batch norm to normalise the result and to feed its moving averages.
The rounding error of the bias is added to the result, so training sees it too. From `freeze_bn_step` on the same nodes compute
the evaluation network, bit for bit.

Two choices while batch statistics are used: scale is a constant to the gradient, because the normalisation removes it again;
and a channel whose scale is zero takes the largest one of the layer instead, or it would convolve with zeros and its gamma
would never move. Where all are zero (a gamma that starts at zero) they take 1 / sqrt(variance + epsilon).
"""
import functools

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.traits import trait
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.folding.fold_batch_norms import bias_add_of
from vai_q_tf.qat.norms import statistics

_TINY_SCALE = 1e-20  # 1 / scale is still finite
_MOVES = ('BatchToSpaceND', 'Reshape', 'Squeeze')


def quantizes(network, product):
    """The names of the quantized tensors that `on_batch` makes."""
    compute, index = network.view.consumers(product)[0]
    readers = [(compute, index), (bias_add_of(network.view, compute)[0], 1)]
    return tuple(record.name for record in map(network.record, readers) if record)


def on_batch(network, product, fold, norms, use_batch=None):
    """Gives a chain that has a batch norm in it its training form.

    Args:
      network: the LiveNetwork.
      product: the node of the folded weights. fold: its Fold.
      norms: the TrainingNorms in the chain, in order.
      use_batch: scalar bool tensor, false once the moving statistics are to be used; None: never.

    Returns:
      [(inputs to re-point, tf.Tensor)].
    """
    view = network.view
    compute, index = view.consumers(product)[0]
    bias_add, anchor = bias_add_of(view, compute)
    end = network.live(fold.result)
    weights, bias_record = network.record((compute, index)), network.record((bias_add, 1))
    if not weights:
        network.results[bias_add] = _as_before_moves(network, fold, end, anchor)
        return []
    with live_editor.with_placement_of(network.graph, end, grouped=True):
        network.note_quantized(weights, _quantized_weights(network, weights, fold, norms, use_batch))
        factors = {node_name(factor): statistics.constant_at_first(use_batch, network.parameter(factor))
                   for factor in _factors(network, fold)}
        bias = network.parameter(view.inputs(bias_add)[1], factors)
        quantized_bias = network.quantizer.quantize(network, bias_record, lambda: bias)
        network.note_quantized(bias_record, quantized_bias)
        channels_last = view.attr(bias_add, 'data_format').s != b'NCHW'
        behind = fold.nodes[fold.nodes.index(node_name(norms[-1].output)) + 1:]
        last = norms[-1] if all(network.clean.op(node) in _MOVES for node in behind) else None
        result, inputs = statistics.add_to_result(network, last, end, tf.subtract(quantized_bias, bias), channels_last)
        result = _as_before_moves(network, fold, result, anchor)
        if use_batch is not None:
            def frozen(convolved):
                data_format = view.attr(bias_add, 'data_format').s.decode()
                return tf.nn.bias_add(convolved, quantized_bias, data_format=data_format)

            result, more = _with_frozen(network, fold, last, result, network.live(anchor), use_batch, frozen)
            inputs += more
    network.results[bias_add] = result
    return inputs + [([(network.live_name(compute), index)], network.quantized(weights))]


def _with_frozen(network, fold, norm, result, convolved, use_batch, frozen):
    """(the result of both phases, [(inputs to re-point, tf.Tensor)]).

    Args:
      norm, result: as `statistics.add_to_result` takes and gives them.
      convolved: the tf.Tensor that the chain begins with. frozen: function from that to the evaluation network's result.
    """
    fused = norm and norm.node and network.operation(norm.node)
    if not fused or fold.moves or fused.outputs[0] is not result:
        return statistics.phase(use_batch, result, frozen(convolved)), []
    normalised = fused.inputs[0]  # convolved, or the sum of that and a bias
    of_batch, of_evaluation = ops.split_phases(normalised, use_batch)
    if normalised is not convolved:
        _, of_evaluation = ops.split_phases(convolved, use_batch)
    result = ops.join_phases(result, frozen(of_evaluation), use_batch)
    result.set_shape(convolved.shape)
    return result, [([(fused.name, 0)], of_batch)]


def _factors(network, fold):
    """The factors and biases of the Fold that depend on variables; others are evaluated."""
    return [factor for factor in fold.factors if node_name(factor) in network.view]


def _as_before_moves(network, fold, result, anchor):
    """`result` in the shape of the tensor `anchor`, where the chain moves values after that."""
    return tf.reshape(result, tf.shape(network.live(anchor))) if fold.moves else result


def _quantized_weights(network, record, fold, norms, use_batch):
    weights, scale = network.parameter(fold.weights), network.parameter(fold.scale)
    reciprocal = _reciprocal(network, fold, scale)
    nonzero = _without_zeros(scale, reciprocal) if any(norm.gamma for norm in norms) else scale
    weights_scale = statistics.phase(use_batch, tf.stop_gradient(nonzero), scale)
    rescale = statistics.phase(use_batch, tf.stop_gradient(tf.math.reciprocal(nonzero)), tf.ones_like(scale))
    inner = _elements_of_channel(network, record, network.view.shape(fold.weights))
    return network.quantizer.scaled(network, record, weights, weights_scale, rescale, inner)


def _reciprocal(network, fold, scale):
    found = [statistics.reciprocal_of(network.view, factor) for factor in _factors(network, fold)]
    tensors = [network.parameter(tensor) for tensor in found if tensor]
    return functools.reduce(tf.multiply, [tf.reshape(tensor, [-1]) for tensor in tensors]) if tensors else tf.ones_like(scale)


def _without_zeros(scale, reciprocal):
    """`scale` with its largest magnitude in place of zeros; `reciprocal` where all are zeros."""
    size = tf.abs(scale)
    largest = tf.reduce_max(size)
    typical = tf.raw_ops.Select(condition=largest < _TINY_SCALE, x=reciprocal, y=tf.fill(tf.shape(scale), largest))
    return tf.raw_ops.Select(condition=size < _TINY_SCALE, x=typical, y=scale)


def _elements_of_channel(network, record, shape):
    """How many consecutive weights belong to one output channel."""
    compute = record.consumers[0][0]
    transposed = network.view.op(compute) == 'MatMul' and network.view.attr(compute, 'transpose_b').b
    last = 0 if transposed else trait(network.view.op(compute)).channel_axes[-1]
    return int(np.prod(shape[last + 1:], dtype=int))
