"""The training form of a batch norm that is folded into a weighted op: in the evaluation network it is

    conv(x, Q(weights * scale)) + Q(bias)

`scale` and `bias` are the product and the sum of the factors and terms after the op with moving statistics. Training uses the
statistics of the batch and the same quantized weights with a single convolution, by Q(weights * scale) / scale, which has the
magnitude of the float weights. The batch norm still normalises the result and feeds its moving averages. The rounding error of
the bias is added to the result, so training sees it too. From `freeze_bn_step` on the same nodes compute the evaluation
network, bit for bit.

Two choices while batch statistics are used: scale is a constant to the gradient, because the normalisation removes it again;
and a channel whose scale is zero takes the largest one of the layer instead, or it would convolve with zeros and its gamma
would never move. If all are zero (a gamma that starts at zero) they take 1 / sqrt(variance + epsilon).

Tests: tests/qat/norms/test_training_forms.py.
"""
import functools
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.traits import trait
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.folding.fold_batch_norms import Fold, bias_add_of
from vai_q_tf.patterns.batch_norm import TrainingNorm
from vai_q_tf.plan.quant_plan import QuantTensor
from vai_q_tf.qat.live.live_network import LiveNetwork, Reroute
from vai_q_tf.qat.norms import statistics
from vai_q_tf.types import NodeInput

_MOVES = ('BatchToSpaceND', 'Reshape', 'Squeeze')


class _Chain(NamedTuple):
    """A weighted op with a folded chain in the optimised graph.

    weights: its input for the weights. bias_add: the BiasAdd after it. anchor: the tensor that this reads.
    """
    weights: NodeInput
    bias_add: str
    anchor: str


class _Bias(NamedTuple):
    """A folded bias [channels] before and after it is quantized."""
    exact: tf.Tensor
    quantized: tf.Tensor
    data_format: str

    def added_to(self, value: tf.Tensor) -> tf.Tensor:
        """`value` plus the quantized bias, same as in the evaluation network."""
        return tf.nn.bias_add(value, self.quantized, data_format=self.data_format)


def quantizes(network: LiveNetwork, product: str) -> Tuple[str, ...]:
    """The names of the quantized tensors that `add_on_batch` creates."""
    chain = _chain(network, product)
    return tuple(record.name for record in map(network.record, [chain.weights, (chain.bias_add, 1)]) if record)


def add_on_batch(network: LiveNetwork, product: str, fold: Fold, norms: Sequence[TrainingNorm],
                 use_batch: Optional[tf.Tensor] = None) -> List[Reroute]:
    """Adds the training form of a chain that contains batch norms.

    Args:
      network: the LiveNetwork.
      product: the node of the folded weights. fold: its Fold.
      norms: the TrainingNorms in the chain, in order.
      use_batch: scalar bool tensor, false once the moving statistics are to be used; None: never.
    """
    chain, end = _chain(network, product), network.live(fold.result)
    weights = network.record(chain.weights)
    if not weights:
        network.results[chain.bias_add] = _as_before_moves(network, fold, end, chain.anchor)
        return []
    with live_editor.with_placement_of(network.graph, end, grouped=True):
        factors = _quantize_weights(network, weights, fold, use_batch)
        bias = _quantized_bias(network, chain.bias_add, factors)
        norm = _norm_of_result(network, fold, norms)
        result, reroutes = statistics.add_to_result(
            network, norm, end, tf.subtract(bias.quantized, bias.exact), bias.data_format != 'NCHW')
        result = _as_before_moves(network, fold, result, chain.anchor)
        if use_batch is not None:
            result, more = _with_frozen(network, fold, norm, result, network.live(chain.anchor), use_batch, bias.added_to)
            reroutes += more
    network.results[chain.bias_add] = result
    compute, index = chain.weights
    return reroutes + [Reroute([(network.live_name(compute), index)], network.quantized(weights))]


def _chain(network: LiveNetwork, product: str) -> _Chain:
    weights = network.view.consumers(product)[0]
    bias_add, anchor = bias_add_of(network.view, weights[0]) or ('', '')  # folding always leaves a BiasAdd
    return _Chain(weights, bias_add, anchor)


def _norm_of_result(network: LiveNetwork, fold: Fold, norms: Sequence[TrainingNorm]) -> Optional[TrainingNorm]:
    """The batch norm whose values are the result of the chain, moved or not; None if other nodes change them."""
    after = fold.nodes[fold.nodes.index(node_name(norms[-1].output)) + 1:]
    return norms[-1] if all(network.clean.op(node) in _MOVES for node in after) else None


def _quantized_bias(network: LiveNetwork, bias_add: str, factors: Mapping[str, tf.Tensor]) -> _Bias:
    bias = network.parameter_with(network.view.inputs(bias_add)[1], factors)
    quantized = network.quantize(network.quantized_record((bias_add, 1)), bias)
    return _Bias(bias, quantized, network.view.attr(bias_add, 'data_format').s.decode())


def _with_frozen(network: LiveNetwork, fold: Fold, norm: Optional[TrainingNorm], result: tf.Tensor, convolved: tf.Tensor,
                 use_batch: tf.Tensor, frozen: Callable[[tf.Tensor], tf.Tensor]) -> Tuple[tf.Tensor, List[Reroute]]:
    """(the result of both phases, Reroutes).

    Args:
      norm, result: an argument and the result of `statistics.add_to_result`.
      convolved: the tf.Tensor at the start of the chain. frozen: the result of the evaluation network, given that.
    """
    fused = network.operation(norm.node) if norm and norm.node else None
    if not fused or fused.outputs[0] is not result:
        return statistics.phase(use_batch, result, frozen(convolved)), []
    normalised = fused.inputs[0]  # convolved, or the sum of that and a bias
    of_batch, of_evaluation = ops.split_phases(normalised, use_batch)
    if normalised is not convolved:
        _, of_evaluation = ops.split_phases(convolved, use_batch)
    with tf.control_dependencies([fused]):  # were both ready at once, TensorFlow would move the norm to another thread
        of_evaluation = frozen(of_evaluation)
    result = ops.join_phases(result, of_evaluation, use_batch)
    result.set_shape(convolved.shape)
    return result, [Reroute([(fused.name, 0)], of_batch)]


def _factors(network: LiveNetwork, fold: Fold) -> List[str]:
    """The factors and biases of the Fold that depend on variables; the passes evaluate others."""
    return [factor for factor in fold.factors if node_name(factor) in network.view]


def _as_before_moves(network: LiveNetwork, fold: Fold, result: tf.Tensor, anchor: str) -> tf.Tensor:
    """`result` in the shape of the tensor `anchor` if the chain moves values after that."""
    return tf.reshape(result, tf.shape(network.live(anchor))) if fold.moves else result


def _quantize_weights(network: LiveNetwork, record: QuantTensor, fold: Fold,
                      use_batch: Optional[tf.Tensor]) -> Dict[str, tf.Tensor]:
    """Quantizes the folded weights; returns {node of a factor: its value, a constant to the gradient at first}."""
    def factor_of(tensor: str) -> tf.Tensor:
        return tf.stop_gradient(network.parameter(tensor)) if use_batch is None else network.parameter(tensor)

    scale = factor_of(fold.scale)
    factors = {node_name(factor): factor_of(factor) for factor in _factors(network, fold)}
    scales = ops.folding_scales(scale, _reciprocal(network, fold, scale), use_batch, list(factors.values()))
    inner = _elements_of_channel(network, record, network.view.shape(fold.weights) or ())
    network.quantize_scaled(record, network.parameter(fold.weights), scales.weights, scales.rescale, inner, use_batch)
    return dict(zip(factors, scales.factors))


def _reciprocal(network: LiveNetwork, fold: Fold, scale: tf.Tensor) -> tf.Tensor:
    """The product of 1 / sqrt(variance + epsilon) of the norms [channels]; ones without a norm."""
    found = [statistics.reciprocal_of(network.view, factor) for factor in _factors(network, fold)]
    tensors = [network.parameter(tensor) for tensor in found if tensor]
    return functools.reduce(tf.multiply, [tf.reshape(tensor, [-1]) for tensor in tensors]) if tensors else tf.ones_like(scale)


def _elements_of_channel(network: LiveNetwork, record: QuantTensor, shape: Sequence[int]) -> int:
    """The number of consecutive weights that belong to one output channel."""
    compute = record.consumers[0][0]
    transposed = network.view.op(compute) == 'MatMul' and network.view.attr(compute, 'transpose_b').b
    last = 0 if transposed else trait(network.view.op(compute)).channel_axes[-1]
    return int(np.prod(shape[last + 1:], dtype=int))
