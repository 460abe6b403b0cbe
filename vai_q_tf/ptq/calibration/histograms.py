"""Positions by percentile and by entropy, from counts over all calibration data. NumPy only; the ops in `counting` count.

Float32 elements are counted by their exponents, so the bins need no range in advance and suit every position, and the counts
of several batches add up to those of one large batch. Zeros fit every position, so they are not counted; nor are subnormals,
which the quantizer takes for zeros, NaN and infinities.

* Counts of positions, [256] as in `vote`: entry p + 128 counts the elements whose greatest position without overflow, in the
  sense of method 0, is p. Entry 255 has those that are not counted.
* Counts of magnitudes, [MAGNITUDES]: entry i counts the elements whose exponent field and first SUBBITS bits of fraction are i,
  so each octave has 2^SUBBITS bins of equal width.
"""
from fractions import Fraction
from typing import List

import numpy as np

from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN, POSITION_ZERO
from vai_q_tf.position_histogram import HISTOGRAM_BINS, HISTOGRAM_ZERO

SUBBITS = 7
MAGNITUDES = HISTOGRAM_BINS << SUBBITS

_EXPONENT_OF_ONE = 127  # in the exponent field of float32
_COUNTED = slice(1 << SUBBITS, (HISTOGRAM_BINS - 1) << SUBBITS)  # neither zero nor subnormal, neither NaN nor infinity


def percentile_position(counts: np.ndarray, percentile: float) -> int:
    """The greatest position at which at most 100 - `percentile` percent of the elements leave the range, in fractional bits.

    As in method 0, an element leaves the range by more than half a step; so 100 gives the position of method 0 for all data.
    POSITION_ZERO if no element is counted.

    Args:
      counts: of positions, integers [256].
      percentile: above 50 and at most 100, taken as the decimal that it is written as.
    """
    counted = [int(count) for count in counts[:POSITION_ZERO + HISTOGRAM_ZERO]]
    most = sum(counted) * (100 - Fraction(repr(percentile))) / 100
    left = 0
    for index, count in enumerate(counted):
        left += count
        if left > most:
            return index - HISTOGRAM_ZERO
    return POSITION_ZERO


def entropy_position(counts: np.ndarray, bits: int) -> int:
    """The position with the least `divergence`, the smallest of equal ones, in fractional bits.

    Candidates are the greatest position without clipping, and those above it that clip at most half of the elements.
    POSITION_ZERO if no element is counted.

    Args:
      counts: of magnitudes, integers [MAGNITUDES].
      bits: width, including the sign.
    """
    occupied = np.flatnonzero(counts[_COUNTED]) + _COUNTED.start
    if not occupied.size:
        return POSITION_ZERO
    counts, (lower, upper) = np.asarray(counts, np.float64)[occupied], magnitudes(occupied)
    limit = 2.0**(bits - 1) - 0.5
    first = int(np.clip(np.ceil(np.log2(limit / lower[-1])) - 1, POSITION_MIN, POSITION_MAX))
    divergences: List[float] = []
    for position in range(first, POSITION_MAX + 1):
        if divergences and 2 * counts[lower < limit * 2.0**-position].sum() < counts.sum():
            break
        divergences.append(divergence(counts, lower, upper, position, bits))
    return first + int(np.argmin(divergences))


def magnitudes(indices: np.ndarray) -> np.ndarray:
    """The limits of bins of magnitudes, float64 [2, bins]: lower ones, which belong to the bin, and upper ones."""
    exponent, part = np.divmod(np.stack([indices, indices + 1]), 1 << SUBBITS)
    return np.ldexp(1.0 + part / 2.0**SUBBITS, exponent - _EXPONENT_OF_ONE)


def divergence(counts: np.ndarray, lower: np.ndarray, upper: np.ndarray, position: int, bits: int) -> float:
    """The Kullback-Leibler divergence, in nats, of a distribution of magnitudes before and after quantization.

    The scheme of TensorRT (Migacz, 8-bit Inference with TensorRT, 2017): before quantization, clipped magnitudes count in the
    last bin of the range; after it, they are left out, and each level is spread evenly over the occupied bins that round to it.
    Here the levels are those of a position, which rounds to nearest, and the range is that of positive values. An empty last
    bin counts as one element after quantization; with none a single outlier would make the divergence infinite.

    Args:
      counts, lower, upper: of the occupied bins, in rising order, float64. The lower limit decides in which level a bin is.
      position: fractional bits. bits: width, including the sign.
    """
    limit = (2.0**(bits - 1) - 0.5) * 2.0**-position
    inside = lower < limit
    before, clipped = counts[inside], counts[~inside].sum()
    lower, upper = lower[inside], upper[inside]
    _, level = np.unique(np.floor(lower * 2.0**position + 0.5), return_inverse=True)
    after = (np.bincount(level, before) / np.bincount(level, upper - lower))[level] * (upper - lower)
    if clipped and before.size and upper[-1] >= limit:
        before[-1] += clipped
    elif clipped:
        before, after = np.append(before, clipped), np.append(after, 1.0)
    before, after = before / before.sum(), after / after.sum()
    return float((before * np.log(before / after)).sum())
