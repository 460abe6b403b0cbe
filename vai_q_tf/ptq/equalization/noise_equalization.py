"""Equalization by a noise model: scales the channels between two layers for the least noise after the second one.

Scaling a channel by t before the activation function between two layers, and by 1/t in the weights of the second one, reduces
the noise of the first layer's weights and of its quantized result by t, and amplifies that of the second layer's rounded
weights, which multiply the channel, by t. The best t depends on the positions of both weight tensors, so all pairs of positions
are tried. The position of the result stays, and no channel is scaled beyond its limits. A relu6 between the layers clips at
other values of a channel that is scaled down; the change is measured and has a cost.
"""
from typing import Dict, List, Mapping, NamedTuple

import numpy as np

from vai_q_tf.fixed_point import search_position
from vai_q_tf.ptq.equalization.channels import FACTORS, Channels, Clip
from vai_q_tf.ptq.fitting.layers import Layer
from vai_q_tf.types import Positions

_SWEEPS = 2
_HEADROOM = 3.0  # a channel is scaled up only if values this much larger than all seen stay within the limit
_CLIP_WEIGHT = 30  # the cost of a change by clipping, relative to noise of the same power
_FINER = 4  # how many positions above that of the range of the weights are tried
_LARGEST = 16  # clipping is computed for so many of the largest weights of a channel
_NEUTRAL = int(np.flatnonzero(FACTORS == 1)[0])


class Pair(NamedTuple):
    """Two layers: the second one reads nothing but the result of the first, scaled channel by channel.

    relu6: the Relu6 between them, its tensor, '' if there is none.
    """
    head: Layer
    tail: Layer
    relu6: str


def equalize(pairs: List[Pair], maps: Dict[str, np.ndarray], channels: Mapping[str, Channels], clips: Mapping[str, Clip],
             output_positions: Positions) -> Dict[str, np.ndarray]:
    """{weighted op: the factor on each channel of its result}, for the heads of pairs.

    Args:
      pairs: in graph order.
      maps: {weighted op: float64 [groups, products, channels of a group]}, the weights; they are scaled in place.
      channels: {tensor: Channels} of the sources and results of all layers of pairs.
      clips: {tensor: Clip} of the results of the heads.
      output_positions: {weighted op: position in fractional bits of its quantized result}, which stays.
    """
    equalizer = _Equalizer(pairs, maps, channels, clips, output_positions)
    for _ in range(_SWEEPS):
        for pair in pairs:
            equalizer.equalize(pair)
    return equalizer.scales


class _Equalizer:
    """Scales pairs one by one. Attributes: scales: {head: factor on each channel} so far."""

    def __init__(self, pairs: List[Pair], maps: Dict[str, np.ndarray], channels: Mapping[str, Channels],
                 clips: Mapping[str, Clip], output_positions: Positions) -> None:
        self._maps, self._channels, self._clips, self._output_positions = maps, channels, clips, output_positions
        self._pair_of_head = {pair.head.node: pair for pair in pairs}
        self._head_of_tail = {pair.tail.node: pair.head.node for pair in pairs}
        self.scales = {pair.head.node: np.ones(_count_channels(maps[pair.head.node])) for pair in pairs}

    def equalize(self, pair: Pair) -> None:
        chosen, current = self._best_scales(pair), self.scales[pair.head.node]
        _scale(self._maps[pair.head.node], self._maps[pair.tail.node], pair.tail, chosen / current)
        self.scales[pair.head.node] = chosen

    def _best_scales(self, pair: Pair) -> np.ndarray:
        """The factor on each channel of the head's result."""
        found, importance = self._channels[pair.head.result], self._importance(pair.tail)
        current, scales = self.scales[pair.head.node], self._clips[pair.head.result].scales
        gain = current**2 * _energy_by_input(  # of the unscaled channel
            pair.tail, self._maps[pair.tail.node] * np.sqrt(importance), len(current))
        noise = 4.0**-self._output_positions[pair.head.node] / 12
        fixed = noise * gain / scales[:, None]**2 + _CLIP_WEIGHT * found.clipping * gain
        relative = scales[:, None] / current  # factors on the weights as they are
        head_costs, tail_costs = self._head_costs(pair, relative, gain), self._tail_costs(pair, relative, importance)
        costs = [fixed + one + other for one in head_costs for other in tail_costs]
        costs = [np.where(self._is_safe(pair), cost, np.inf) for cost in costs]
        best = min(costs, key=lambda cost: cost.min(0).sum()).argmin(0)
        return scales[np.where(found.range.constant | (gain == 0), _NEUTRAL, best)]

    def _is_safe(self, pair: Pair) -> np.ndarray:
        """Whether values stay within the limit at each scale, or it is at most neutral; bool [scales, channels or 1].

        After a relu6 that is on all data, else with headroom on the data that were seen.
        """
        found, clip = self._channels[pair.head.result], self._clips[pair.head.result]
        not_raised = (FACTORS <= 1)[:, None]
        if clip.relu6:
            return not_raised
        largest = _HEADROOM * np.maximum(found.range.high, 0 if pair.head.activation else -found.range.low)
        return not_raised | (largest * clip.scales[:, None] <= clip.limit)

    def _head_costs(self, pair: Pair, relative: np.ndarray, gain: np.ndarray) -> List[np.ndarray]:
        """The noise of the head's weights, [scales, channels], at each position tried."""
        maps, inputs = self._maps[pair.head.node], self._input_variance(pair.head)
        largest = _largest(maps.transpose(1, 0, 2).reshape(maps.shape[1], -1))
        return [(inputs.sum(0) * 4.0**-position / 12 + inputs.mean(0) * _clipped(largest, relative, position, pair.head))
                * gain / self._clips[pair.head.result].scales[:, None]**2 for position in _positions(maps, pair.head)]

    def _tail_costs(self, pair: Pair, relative: np.ndarray, importance: np.ndarray) -> List[np.ndarray]:
        """The noise of the tail's weights, [scales, channels], at each position tried."""
        maps, inputs = self._maps[pair.tail.node], relative.shape[1]
        signal = self._channels[pair.tail.source].variance  # unscaled
        largest = _largest(_by_input(pair.tail, maps, inputs))
        importance = importance.mean() if importance.ndim == 1 else importance.mean((1, 2))
        fan_out = maps.shape[2] * (maps.shape[1] if pair.tail.depthwise else maps.shape[1] // inputs) * importance
        scales = self._clips[pair.head.result].scales[:, None]
        return [signal * scales**2 * (fan_out * 4.0**-position / 12 + importance * _clipped(
            largest, 1 / relative, position, pair.tail)) for position in _positions(maps, pair.tail)]

    def _importance(self, layer: Layer) -> np.ndarray:
        """The energy of the weights that the layer after a tail multiplies each channel of its result by, to scale the squares
        of its maps; ones if no pair follows."""
        pair, maps = self._pair_of_head.get(layer.node), self._maps[layer.node]
        count = _count_channels(maps)
        energy = np.ones(count) if pair is None else _energy_by_input(pair.tail, self._maps[pair.tail.node], count)
        return energy.reshape(len(maps), 1, -1) if layer.depthwise else energy

    def _input_variance(self, layer: Layer) -> np.ndarray:
        """The variances of the inputs that each channel of a layer sums, [products, channels of the result or 1]."""
        variance = self._channels[layer.source].variance
        if layer.node in self._head_of_tail:
            variance = variance * self.scales[self._head_of_tail[layer.node]]**2
        _, products, outputs = self._maps[layer.node].shape
        if layer.depthwise:
            return np.repeat(np.tile(variance, (products, 1)), outputs, axis=1)
        return np.tile(variance, products // len(variance))[:, None]


def _count_channels(maps: np.ndarray) -> int:
    """How many channels the result has."""
    return maps.shape[0] * maps.shape[2]


def _scale(head: np.ndarray, tail: np.ndarray, tail_layer: Layer, factors: np.ndarray) -> None:
    """Multiplies the head's channels by their factors, and divides the weights of the tail that read them, in place."""
    head *= factors.reshape(head.shape[0], 1, head.shape[2])
    if tail_layer.depthwise:
        tail /= factors[:, None, None]
    else:
        tail /= np.tile(factors, tail.shape[1] // len(factors))[None, :, None]


def _positions(maps: np.ndarray, layer: Layer) -> range:
    first = search_position(maps, layer.weight.bits, method=0, mode=layer.weight.mode)
    return range(first - 1, first + _FINER + 1)


def _clipped(largest: np.ndarray, factors: np.ndarray, position: int, layer: Layer) -> np.ndarray:
    """The energy that clipping takes from weights [n, channels], scaled by factors [scales, channels], at a position."""
    limit = (2**(layer.weight.bits - 1) - 0.5) * 2.0**-position
    return np.square(np.maximum(largest[None] * factors[:, None] - limit, 0)).sum(1)


def _largest(weights: np.ndarray) -> np.ndarray:
    """The largest magnitudes of each column, [at most _LARGEST, channels]."""
    return -np.sort(-np.abs(weights), axis=0)[:_LARGEST]


def _by_input(layer: Layer, maps: np.ndarray, inputs: int) -> np.ndarray:
    """Weights as [readers of the channel, input channels]."""
    if layer.depthwise:
        return maps.reshape(len(maps), -1).T
    return maps[0].reshape(-1, inputs, maps.shape[2]).transpose(0, 2, 1).reshape(-1, inputs)


def _energy_by_input(layer: Layer, maps: np.ndarray, inputs: int) -> np.ndarray:
    return np.square(_by_input(layer, maps, inputs)).sum(0)
