"""Bias correction: adds the mean error of each channel to its bias, layer by layer.

Each layer is corrected on the outputs of the corrected layers before it. Formulas: Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction" (arXiv 1906.04721), section 4.2, with measured means.
"""
from typing import Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from vai_q_tf.fixed_point import limits, search_position
from vai_q_tf.plan.quant_plan import QuantTensor
from vai_q_tf.ptq.fitting.layers import Layer, activate
from vai_q_tf.ptq.fitting.positions import LegalPositions, least_error
from vai_q_tf.ptq.fitting.state import quantized_constant
from vai_q_tf.types import Positions

_ROWS = 1024  # values of each channel by which the position of a bias is chosen
_FINER = 8  # how many positions above that of the range of the bias are tried


class Summary(NamedTuple):
    """A digest of the result of a layer. mean: float64 [channels]. rows: a sample of its values, [rows, channels]."""
    mean: np.ndarray
    rows: np.ndarray


def summarise(values: Sequence[np.ndarray], axis: int) -> Summary:
    """The Summary of arrays with the channels on `axis`. Arrays of the same shapes are sampled at the same places."""
    flat = [np.moveaxis(value, axis, -1) for value in values]
    flat = [value.reshape(-1, value.shape[-1]) for value in flat]
    count = sum(map(len, flat))
    chosen = np.sort(np.random.RandomState(0).permutation(count)[:_ROWS])
    starts = np.cumsum([0] + [len(value) for value in flat])
    rows = [value[chosen[(chosen >= start) & (chosen < start + len(value))] - start] for start, value in zip(starts, flat)]
    return Summary(sum(value.sum(0, dtype=np.float64) for value in flat) / count, np.concatenate(rows))


def correct_bias(layer: Layer, bias: np.ndarray, goal: Summary, actual: Summary, positions: Positions,
                 legal: LegalPositions, tensors: Mapping[str, QuantTensor]) -> Tuple[np.ndarray, int]:
    """The corrected bias of a layer, and the position with the least error after the activation function.

    Channels with values that are not finite are not corrected.

    Args:
      layer: a Layer with a bias; its activation function is that of the quantized network.
      bias: the quantized value with which `actual` was computed, float32.
      goal: the mean of `layer.result` and a sample of it after the activation function, in the float network.
      actual: Summary of `layer.result` in the quantized network.
      positions: {quantized tensor: position}. tensors: {quantized tensor: QuantTensor}.

    Returns:
      (float32 array like `bias`, position in fractional bits).
    """
    assert layer.bias is not None
    record: QuantTensor = layer.bias
    correction = goal.mean - actual.mean
    correction[~np.isfinite(correction)] = 0
    corrected = (bias + correction.reshape(bias.shape)).astype(np.float32)
    unbiased = actual.rows - bias.reshape(-1)
    output = tensors[layer.output]
    low, high = limits(positions[layer.output], output.bits, output.narrow_range)

    def error(position: int) -> float:
        rounded = quantized_constant(record, corrected, position).reshape(-1)
        given = np.minimum(np.maximum(activate(unbiased + rounded, layer.activation), low), high)
        return float(np.square(given - goal.rows).sum(dtype=np.float64))

    first = search_position(corrected, record.bits, method=0)
    candidates = legal.allowed(positions, record.name, first, _FINER)
    now = positions[record.name]
    found = least_error(candidates, error) if candidates else now
    return corrected, min(found, now, key=lambda position: (error(position), position))
