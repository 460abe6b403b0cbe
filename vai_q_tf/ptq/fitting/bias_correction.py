"""Bias correction: layer by layer, the mean error of each channel goes into its bias.

A layer is corrected on the inputs that it will get, which the layers before it, corrected already, give. Formulas: Nagel et
al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv 1906.04721), section 4.2, with measured
means.
"""
from typing import NamedTuple

import numpy as np

from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN, limits, search_position
from vai_q_tf.ptq.fitting.layers import activate
from vai_q_tf.ptq.fitting.search import least_error
from vai_q_tf.ptq.fitting.state import quantized_constant

_ROWS = 1024  # values of each channel by which the position of a bias is chosen
_FINER = 8  # how many positions above the one of its range are tried


class Summary(NamedTuple):
    """What is kept of the result of a layer. mean: float64 [channels]. rows: some of its places, [rows, channels]."""
    mean: np.ndarray
    rows: np.ndarray

    def scaled(self, factors):
        """That of a result whose channels are multiplied by factors [channels]."""
        return Summary(self.mean * factors, (self.rows * factors).astype(np.float32))


def summarise(values, axis):
    """The Summary of a list of arrays with the channels on `axis`; the same places of arrays of the same shapes."""
    flat = [np.moveaxis(value, axis, -1) for value in values]
    flat = [value.reshape(-1, value.shape[-1]) for value in flat]
    count = sum(map(len, flat))
    chosen = np.sort(np.random.RandomState(0).permutation(count)[:_ROWS])
    starts = np.cumsum([0] + [len(value) for value in flat])
    rows = [value[chosen[(chosen >= start) & (chosen < start + len(value))] - start] for start, value in zip(starts, flat)]
    return Summary(sum(value.sum(0, dtype=np.float64) for value in flat) / count, np.concatenate(rows))


def correct_bias(layer, bias, expected, actual, positions, legal, tensors):
    """The corrected bias of a layer, and the position at which it loses least after the activation function.

    Channels that have values that are not finite are not corrected.

    Args:
      layer: a Layer with a bias. bias: its quantized value, float32, as `actual` was computed with it.
      expected, actual: Summary of `layer.result` in the float and in the quantized network.
      positions: {name: position}. legal: LegalPositions. tensors: {name: QuantTensor}.

    Returns:
      (float32 array like `bias`, position in fractional bits).
    """
    correction = expected.mean - actual.mean
    correction[~np.isfinite(correction)] = 0
    corrected = (bias + correction.reshape(bias.shape)).astype(np.float32)
    unbiased = actual.rows - bias.reshape(-1)
    output = tensors[layer.output]
    low, high = limits(positions[layer.output], output.bits, output.narrow_range)
    goal = activate(expected.rows, layer.activation)

    def error(position):
        rounded = quantized_constant(layer.bias, corrected, position).reshape(-1)
        given = np.minimum(np.maximum(activate(unbiased + rounded, layer.activation), low), high)
        return float(np.square(given - goal).sum(dtype=np.float64))

    first = search_position(corrected, layer.bias.bits, method=0)
    candidates = [position for position in range(max(first, POSITION_MIN), min(first + _FINER, POSITION_MAX) + 1)
                  if legal.allows(positions, layer.bias.name, position)]
    now = positions[layer.bias.name]
    found = least_error(candidates, error) if candidates else now
    return corrected, min(found, now, key=lambda position: (error(position), position))

