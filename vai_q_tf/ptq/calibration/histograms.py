"""Positions by percentile and by entropy, from counts over all calibration data. NumPy only; `counting` makes the counts.

Both kinds of counts are of float32 elements, by their exponents, so that they suit every position whatever the first batch
was, and those of several batches add up to those of one large batch. Zeros fit every position and decide nothing: they do not
count, nor do subnormals, which are zeros to the quantizer, NaN and infinities.

* Counts of positions, [256] as in `vote`: entry p + 128 has the elements whose greatest position without overflow, in the sense
  of method 0, is p. Entry 255 has what does not count.
* Counts of magnitudes, [MAGNITUDES]: entry i has the elements whose exponent field and first SUBBITS bits of fraction are i,
  so each octave has 2^SUBBITS bins of equal width.
"""
from fractions import Fraction

import numpy as np

from vai_q_tf.fixed_point import HISTOGRAM_BINS, HISTOGRAM_ZERO, POSITION_MAX, POSITION_MIN, POSITION_ZERO

SUBBITS = 7
MAGNITUDES = HISTOGRAM_BINS << SUBBITS

_EXPONENT_OF_ONE = 127  # in the exponent field of float32
_COUNTED = slice(1 << SUBBITS, (HISTOGRAM_BINS - 1) << SUBBITS)  # neither zero nor subnormal, neither NaN nor infinity


def percentile_position(counts, percentile):
    """The greatest position at which at most 100 - `percentile` percent of the elements leave the range, in fractional bits.

    An element leaves the range as in method 0, by more than half a step; so at 100 it is the position of method 0 of all data.
    POSITION_ZERO if nothing counts.

    Args:
      counts: of positions, integers [256].
      percentile: above 50 and at most 100; decimals are taken as they are written.
    """
    counted = [int(count) for count in counts[:POSITION_ZERO + HISTOGRAM_ZERO]]
    most = sum(counted) * (100 - Fraction(repr(percentile))) / 100
    left = 0
    for index, count in enumerate(counted):
        left += count
        if left > most:
            return index - HISTOGRAM_ZERO
    return POSITION_ZERO


def entropy_position(counts, bits):
    """The position with the least `divergence`, the smallest of equal ones, in fractional bits.

    Candidates are the greatest position at which nothing is clipped, and those above it at which at most half of the elements
    are. POSITION_ZERO if nothing counts.

    Args:
      counts: of magnitudes, integers [MAGNITUDES].
      bits: width, the sign included.
    """
    occupied = np.flatnonzero(counts[_COUNTED]) + _COUNTED.start
    if not occupied.size:
        return POSITION_ZERO
    counts, (lower, upper) = np.asarray(counts, np.float64)[occupied], magnitudes(occupied)
    limit = 2.0**(bits - 1) - 0.5
    first = int(np.clip(np.ceil(np.log2(limit / lower[-1])) - 1, POSITION_MIN, POSITION_MAX))
    divergences = []
    for position in range(first, POSITION_MAX + 1):
        if divergences and 2 * counts[lower < limit * 2.0**-position].sum() < counts.sum():
            break
        divergences.append(divergence(counts, lower, upper, position, bits))
    return first + int(np.argmin(divergences))


def magnitudes(indices):
    """(lower, upper) limits of bins of magnitudes, float64; a bin has its lower one."""
    exponent, part = np.divmod(np.stack([indices, indices + 1]), 1 << SUBBITS)
    return np.ldexp(1.0 + part / 2.0**SUBBITS, exponent - _EXPONENT_OF_ONE)


def divergence(counts, lower, upper, position, bits):
    """The Kullback-Leibler divergence, in nats, of what quantization makes of a distribution of magnitudes.

    The scheme that TensorRT is known for (Migacz, 8-bit Inference with TensorRT, 2017): before, clipped magnitudes count in the
    last bin of the range; after, there are none, and each level is spread evenly over the occupied bins that round to it.
    Here levels are those of a position, which rounds to nearest, and the range is that of positive values. Where the last
    bin is empty it counts as one element after quantization, or a single outlier would be infinitely bad.

    Args:
      counts, lower, upper: of the occupied bins, in rising order, float64. A bin is where its lower limit is.
      position: fractional bits. bits: width, the sign included.
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
