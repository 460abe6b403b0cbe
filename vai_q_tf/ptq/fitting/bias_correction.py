"""Bias correction: layer by layer, the mean error of each channel goes into its bias.

A layer is corrected on the inputs that it will get, which the layers before it, corrected already, give. Formulas: Nagel et
al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv 1906.04721), section 4.2, with measured
means.
"""
import numpy as np

from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN, limits, search_position
from vai_q_tf.ptq.fitting.layers import activate
from vai_q_tf.ptq.fitting.state import quantized_constant

_SAMPLES = 2048  # values of each channel by which the position of a bias is chosen
_FINER = 8  # how many positions above the one of its range are tried


def mean_error(expected, actual, axis):
    """The mean of expected - actual for each index of `axis`, over lists of arrays; float64 [channels]."""
    total, count = 0.0, 0
    for one, other in zip(expected, actual):
        difference = np.moveaxis(np.subtract(one, other, dtype=np.float32), axis, -1)
        difference = difference.reshape(-1, difference.shape[-1])
        total, count = total + difference.sum(0, dtype=np.float64), count + len(difference)
    return total / count


def correct_bias(layer, bias, expected, actual, positions, legal, tensors):
    """The corrected bias of a layer, and the position at which it loses least after the activation function.

    Channels that have values that are not finite are not corrected.

    Args:
      layer: a Layer with a bias. bias: its quantized value, float32, as `actual` was computed with it.
      expected, actual: lists of arrays, `layer.result` in the float and in the quantized network.
      positions: {name: position}. legal: LegalPositions. tensors: {name: QuantTensor}.

    Returns:
      (float32 array like `bias`, position in fractional bits).
    """
    correction = mean_error(expected, actual, layer.channel_axis)
    correction[~np.isfinite(correction)] = 0
    corrected = (bias + correction.reshape(bias.shape)).astype(np.float32)
    offsets = (corrected - bias).reshape(-1)
    sampled, targets = (_samples(values, layer.channel_axis) for values in (actual, expected))
    output = tensors[layer.output]
    low, high = limits(positions[layer.output], output.bits, output.narrow_range)
    goal = activate(targets, layer.activation)

    def error(position):
        rounded = quantized_constant(layer.bias, corrected, position).reshape(-1)
        given = np.clip(activate(sampled + offsets + (rounded - corrected.reshape(-1)), layer.activation), low, high)
        return float(np.square(given - goal, dtype=np.float64).sum())

    first = search_position(corrected, layer.bias.bits, method=0)
    candidates = [position for position in range(max(first, POSITION_MIN), min(first + _FINER, POSITION_MAX) + 1)
                  if legal.allows(positions, layer.bias.name, position)]
    return corrected, min(candidates + [positions[layer.bias.name]], key=lambda position: (error(position), position))


def _samples(values, axis):
    """Some rows of all arrays, [rows, channels]; the same ones for arrays of the same shapes."""
    rows = [np.moveaxis(value, axis, -1) for value in values]
    rows = np.concatenate([value.reshape(-1, value.shape[-1]) for value in rows])
    return rows[np.random.RandomState(0).permutation(len(rows))[:_SAMPLES]]
