"""Dead channels: channels that never change give up the weights that would set the range of their whole tensor.

A batch norm whose channel had a variance of almost zero divides by its root, so what is folded into the weights may be
thousands of times the other channels'. With one position for a weight tensor they would leave nothing of the rest.
"""
import numpy as np

from vai_q_tf.ptq.fitting.layers import activate


def silence_dead_channels(view, layers, arrays, channels):
    """{Const: array}: what replaces weights and biases of channels that are constant on the data.

    The result of the network on that data stays what it is, up to the thousandth that `Channels.constant` allows. A channel is
    touched only where its weights exceed those of all live channels.

    * An output channel that is constant gets the weights 0, and that constant as its bias.
    * An input channel that is constant gets the weights 0 in layers that `reads_channels_alone` names; what it gave goes into
      the bias.

    Args:
      view: GraphView of the float network. layers: list of its Layers. arrays: {Const: array} of their weights and biases.
      channels: {tensor: Channels} of the float network: of `layer.result` of each layer, and of `layer.source` where it
        `reads_channels_alone`.
    """
    changed = {}
    for layer in layers:
        weights, bias = arrays[layer.weight.tensor], arrays[layer.bias.tensor] if layer.bias else None
        maps, offsets = layer.grouped(weights).copy(), None if bias is None else bias.reshape(-1).copy()
        result = channels[layer.result]
        result = result._replace(low=activate(result.low, layer.activation), high=activate(result.high, layer.activation))
        touched = _silence_outputs(maps, offsets, result)
        if reads_channels_alone(view, layer):
            touched = _silence_inputs(maps[0], offsets, channels[layer.source]) or touched
        if touched:
            changed[layer.weight.tensor] = layer.ungrouped(maps, weights.shape)
        if touched and bias is not None:
            changed[layer.bias.tensor] = offsets.reshape(bias.shape)
    return changed


def reads_channels_alone(view, layer):
    """Whether each value of the result reads each input channel once: with more taps, or with a border of zeros, those at the
    borders see something else than a constant."""
    if layer.op == 'MatMul':
        return not view.attr(layer.node, 'transpose_a').b
    return (layer.op == 'Conv2D' and view.shape(layer.weight.tensor)[:2] == [1, 1]
            and view.attr(layer.node, 'padding').s != b'EXPLICIT')


def _silence_outputs(maps, bias, found):
    """Changes maps [groups, products, channels] and bias in place; returns whether there was something to do."""
    dead = _dominant(np.abs(maps).max(1).reshape(-1), found, bias)
    if bias is not None:
        bias[dead] = found.high[dead]
    np.swapaxes(maps, 1, 2)[dead.reshape(maps.shape[0], -1)] = 0
    return dead.any()


def _silence_inputs(matrix, bias, found):
    dead = _dominant(np.abs(matrix).max(1), found, bias)
    if bias is not None:
        bias += found.high[dead].dot(matrix[dead])
    matrix[dead] = 0
    return dead.any()


def _dominant(sizes, found, bias):
    """Which constant channels have larger weights than all live ones; without a bias those of zeros only."""
    dead = found.constant & ((found.high == 0) | (bias is not None))
    return dead & (sizes > sizes[~found.constant].max(initial=0))
