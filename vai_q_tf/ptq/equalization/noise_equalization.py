"""Equalization by a noise model: channels between two layers get the scales that leave the least noise after the second layer.

A channel that is scaled by t before the activation function between two layers, and by 1/t in the weights of the second one,
carries t times as much signal past the noise of the first layer's weights and of its quantized result, and t times as much past
the rounded weights of the second, which multiply it. What t is best depends on the positions of both weight tensors, so all
pairs of positions are tried. Where a relu6 is between the layers, it clips elsewhere, which is measured and costs.
"""
from typing import NamedTuple

import numpy as np

from vai_q_tf.fixed_point import search_position
from vai_q_tf.ptq.equalization.channels import SCALES

_SWEEPS = 2
_CLIP_WEIGHT = 30  # how much more a change by clipping counts than noise of the same power
_FINER = 4  # how many positions above that of the range of the weights are tried
_LARGEST = 16  # how many of the largest weights of a channel are looked at for clipping
_ONE = int(np.flatnonzero(SCALES == 1)[0])


class Pair(NamedTuple):
    """Two layers: all that the second reads is what the first gives, scaled channel by channel.

    head, tail: the Layers. relu6: whether there is a relu6 between them.
    """
    head: object
    tail: object
    relu6: bool


def equalize(pairs, maps, channels, output_positions):
    """{layer name: index into SCALES for each channel of its result}, for the heads of pairs.

    Args:
      pairs: list of Pair in graph order.
      maps: {layer name: float64 [groups, products, channels of a group]}, the weights; they are scaled in place.
      channels: {tensor: Channels} of the sources and results of all layers of pairs.
      output_positions: {layer name: position in fractional bits of its quantized result}.
    """
    scales = {pair.head.node: np.full(_channels(maps[pair.head.node]), _ONE) for pair in pairs}
    following = {pair.head.node: pair for pair in pairs}
    before = {pair.tail.node: pair.head.node for pair in pairs}
    for _ in range(_SWEEPS):
        for pair in pairs:
            chosen = _best_scales(pair, maps, channels, output_positions, scales, before, following)
            _scale(pair, maps, SCALES[chosen] / SCALES[scales[pair.head.node]])
            scales[pair.head.node] = chosen
    return scales


def _channels(maps):
    return maps.shape[0] * maps.shape[2]


def _scale(pair, maps, factors):
    """Multiplies what gives a channel by its factor, and divides what reads it."""
    head, tail = maps[pair.head.node], maps[pair.tail.node]
    head *= factors.reshape(head.shape[0], 1, head.shape[2])
    if pair.tail.depthwise:
        tail /= factors[:, None, None]
    else:
        tail /= np.tile(factors, tail.shape[1] // len(factors))[None, :, None]


def _best_scales(pair, maps, channels, output_positions, scales, before, following):
    """The index into SCALES for each channel of the head's result."""
    head, tail = maps[pair.head.node], maps[pair.tail.node]
    current = SCALES[scales[pair.head.node]]
    found = channels[pair.head.result]
    inputs = _input_variance(pair.head, maps, channels, scales, before)
    signal = channels[pair.tail.source].variance  # unscaled
    importance = _importance(pair.tail, maps, following)
    gain = _energy_by_input(pair.tail, tail * np.sqrt(importance), len(current)) * current**2  # of the unscaled channel
    relative = SCALES[:, None] / current  # what the weights at hand would be multiplied by
    noise = 4.0**-output_positions[pair.head.node] / 12
    fixed = noise * gain / SCALES[:, None]**2 + _CLIP_WEIGHT * pair.relu6 * found.clipping * gain

    largest_head = _largest(head.transpose(1, 0, 2).reshape(head.shape[1], -1))
    largest_tail = _largest(_by_input(pair.tail, tail, len(current)))
    mean_importance = importance.mean() if importance.ndim == 1 else importance.mean((1, 2))
    fan_out = tail.shape[2] * (tail.shape[1] if pair.tail.depthwise else tail.shape[1] // len(current)) * mean_importance
    head_costs = [fixed + (inputs.sum(0) * 4.0**-position / 12 + inputs.mean(0) * _clipped(
        largest_head, relative, position, pair.head)) * gain / SCALES[:, None]**2 for position in _positions(head, pair.head)]
    tail_costs = [signal * SCALES[:, None]**2 * (fan_out * 4.0**-position / 12 + mean_importance * _clipped(
        largest_tail, 1 / relative, position, pair.tail)) for position in _positions(tail, pair.tail)]
    costs = [one + other for one in head_costs for other in tail_costs]
    best = min(costs, key=lambda cost: cost.min(0).sum()).argmin(0)
    return np.where(found.constant | (gain == 0), _ONE, best)


def _positions(maps, layer):
    first = search_position(maps, layer.weight.bits, method=0, mode=layer.weight.mode)
    return range(first - 1, first + _FINER + 1)


def _clipped(largest, factors, position, layer):
    """The energy that the largest weights [n, channels], scaled by factors [scales, channels], lose at a position."""
    limit = (2**(layer.weight.bits - 1) - 0.5) * 2.0**-position
    return np.square(np.maximum(largest[None] * factors[:, None] - limit, 0)).sum(1)


def _largest(weights):
    """The largest magnitudes of each column, [at most _LARGEST, channels]."""
    return -np.sort(-np.abs(weights), axis=0)[:_LARGEST]


def _by_input(layer, maps, inputs):
    """Weights as [those that read it, input channels]."""
    if layer.depthwise:
        return maps.reshape(len(maps), -1).T
    return maps[0].reshape(-1, inputs, maps.shape[2]).transpose(0, 2, 1).reshape(-1, inputs)


def _energy_by_input(layer, maps, inputs):
    return np.square(_by_input(layer, maps, inputs)).sum(0)


def _importance(layer, maps, following):
    """What the layer after the tail makes of each channel of the tail's result, to multiply squares of its maps with."""
    pair = following.get(layer.node)
    count = _channels(maps[layer.node])
    energy = np.ones(count) if pair is None else _energy_by_input(pair.tail, maps[pair.tail.node], count)
    return energy.reshape(len(maps[layer.node]), 1, -1) if layer.depthwise else energy


def _input_variance(layer, maps, channels, scales, before):
    """The variances of what each channel of a layer sums, [products, channels of the result or 1]."""
    variance = channels[layer.source].variance
    if layer.node in before:
        variance = variance * SCALES[scales[before[layer.node]]]**2
    groups, products, outputs = maps[layer.node].shape
    if layer.depthwise:
        return np.repeat(np.tile(variance, (products, 1)), outputs, axis=1)
    return np.tile(variance, products // len(variance))[:, None]

