"""Dead channels: zeroes the weights of channels that never change, if they would set the range of the whole tensor.

Folding a batch norm divides by the standard deviation of each channel. If that was almost zero, the folded weights may be
thousands of times as large as those of other channels, which one position for the weight tensor would round to zero.
"""
from typing import Dict, Iterable, Mapping, Optional

import numpy as np

from vai_q_tf.graph.view import GraphView
from vai_q_tf.ptq.equalization.ranges import Range
from vai_q_tf.ptq.fitting.layers import Layer, activate
from vai_q_tf.types import Values


def silence_dead_channels(view: GraphView, layers: Iterable[Layer], arrays: Values,
                          ranges: Mapping[str, Range]) -> Dict[str, np.ndarray]:
    """{Const: array}: new weights and biases of channels that are constant on the data.

    The result of the network on that data does not change by more than the thousandth that `Range.constant` allows. Channels
    change only if their weights exceed those of all live channels.

    * An output channel that is constant gets zero weights, and the constant as its bias.
    * An input channel that is constant gets zero weights in layers that `reads_channels_alone`; its contribution moves into the
      bias.

    Args:
      view: GraphView of the float network. arrays: {Const: array} of the weights and biases of its layers.
      ranges: {tensor: Range} of the float network, of `layer.result` of all layers and of `layer.source` of those that
        `reads_channels_alone`.
    """
    changed: Dict[str, np.ndarray] = {}
    for layer in layers:
        weights, bias = arrays[layer.weight.tensor], arrays[layer.bias.tensor].copy() if layer.bias else None
        maps, offsets = layer.grouped(weights).copy(), None if bias is None else bias.reshape(-1)  # a view of bias
        result = ranges[layer.result]
        result = Range(*(activate(each, layer.activation) for each in result))
        touched = _silence_outputs(maps, offsets, result)
        if reads_channels_alone(view, layer):
            touched = _silence_inputs(maps[0], offsets, ranges[layer.source]) or touched
        if touched:
            changed.update(zip(layer.constants, (layer.ungrouped(maps, weights.shape), bias)))
    return changed


def reads_channels_alone(view: GraphView, layer: Layer) -> bool:
    """Whether each value of the result reads each input channel exactly once.

    With more taps, or with padding, results at the borders also read zeros instead of the constant of a dead channel.
    """
    if layer.op == 'MatMul':
        return not view.attr(layer.node, 'transpose_a').b
    return (layer.op == 'Conv2D' and (view.shape(layer.weight.tensor) or [])[:2] == [1, 1]
            and view.attr(layer.node, 'padding').s != b'EXPLICIT')


def _silence_outputs(maps: np.ndarray, bias: Optional[np.ndarray], found: Range) -> bool:
    """Zeroes dead channels of maps [groups, products, channels] and sets their bias, in place; whether there were any."""
    dead = _dominant(np.abs(maps).max(1).reshape(-1), found, bias)
    if bias is not None:
        bias[dead] = found.high[dead]
    np.swapaxes(maps, 1, 2)[dead.reshape(maps.shape[0], -1)] = 0
    return dead.any()


def _silence_inputs(matrix: np.ndarray, bias: Optional[np.ndarray], found: Range) -> bool:
    """The same for input channels of a matrix [inputs, outputs]; adds their contribution to the bias."""
    dead = _dominant(np.abs(matrix).max(1), found, bias)
    if bias is not None:
        bias += found.high[dead].dot(matrix[dead])
    matrix[dead] = 0
    return dead.any()


def _dominant(sizes: np.ndarray, found: Range, bias: Optional[np.ndarray]) -> np.ndarray:
    """Which constant channels have larger weights than all live ones; without a bias only channels of zeros."""
    dead = found.constant & ((found.high == 0) | (bias is not None))
    return dead & (sizes > sizes[~found.constant].max(initial=0))
