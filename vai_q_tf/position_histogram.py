"""Histograms of positions: the votes of training steps, and the updates of learned positions, in NumPy.

A row of the table of votes is float32 [256]; bin i counts the votes for position i - 128. This is the definition that the ops
are tested against.
"""
import math
from typing import Tuple

import numpy as np

from vai_q_tf import errors
from vai_q_tf.fixed_point import NO_OBSERVATION, POSITION_MAX, POSITION_MIN, POSITION_ZERO, check_position

HISTOGRAM_BINS = 256
HISTOGRAM_ZERO = 128  # the bin of position 0

_FORGOTTEN = np.float32(1e-30)
_SMALLEST_NORMAL, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
# A row that `learn` has updated keeps two other numbers in the bins of the positions -128 and 127.
_STEPS_BIN, _SIZE_BIN = 0, HISTOGRAM_BINS - 1
_STEPS_MAX = 1000.0
_STEPS_UNIT = 4096


def vote(histogram: np.ndarray, position: int, decay: float) -> np.ndarray:
    """A new histogram of positions after one more step, float32 [256]; bin i counts position i - 128.

    Every count is multiplied by `decay` (below 1e-30 it becomes 0), then the bin of `position` gains 1. A step that was
    not tracked (NO_OBSERVATION) changes nothing, nor does an all-zero tensor (POSITION_ZERO) after other votes.

    >>> histogram = np.zeros(HISTOGRAM_BINS)
    >>> for position in (5, 5, 7):
    ...     histogram = vote(histogram, position, decay=0.5)
    >>> histogram[HISTOGRAM_ZERO + 5], histogram[HISTOGRAM_ZERO + 7], mode_position(histogram)
    (0.75, 1.0, 7)
    """
    histogram = np.array(histogram, np.float32)
    if position == NO_OBSERVATION or position == POSITION_ZERO and histogram[:POSITION_ZERO + HISTOGRAM_ZERO].any():
        return histogram
    check_position(position)
    histogram *= np.float32(decay)
    histogram[histogram < _FORGOTTEN] = 0
    histogram[position + HISTOGRAM_ZERO] += 1
    return histogram


def learn(histogram: np.ndarray, gradient: float, rate: float) -> np.ndarray:
    """A new histogram after a step of the threshold against its `gradient` (see `threshold_gradient`), float32 [256].

    The mean of the two votes of a learned row is b - 3/2 - log2(threshold), so that they elect b - 1 - ceil(log2(threshold)).
    It begins at the position that the histogram elects and moves by rate * tanh(gradient / root mean square of the gradients).
    When it reaches another position it starts again there, in the middle of the interval. Bin 255 keeps the root mean square of
    about the last 1000 gradients, bin 0 the number of steps, up to these 1000, in units of 1/4096. Nothing changes if the
    gradient is not finite or no position is elected.

    >>> histogram = vote(np.zeros(HISTOGRAM_BINS), 5, decay=0.98)
    >>> learned = learn(histogram, gradient=3.0, rate=0.01)
    >>> learned[HISTOGRAM_ZERO + 5:HISTOGRAM_ZERO + 7].round(5).tolist() == np.float32([0.99238, 0.00762]).tolist()
    True
    >>> is_learned(histogram), is_learned(learned)
    (False, True)
    """
    old = np.array(histogram, np.float32)
    if not math.isfinite(gradient) or not old[:_SIZE_BIN].any():
        return old
    steps, size = _gradient_size(old, gradient)
    elected = mode_position(old)
    mean = elected + (_offset(old, elected) if is_learned(old) else 0.0)
    if size:
        mean += float(np.float32(rate)) * math.tanh(gradient / size)
    new = _two_votes(_restarted(mean, elected))
    new[_STEPS_BIN] = steps / _STEPS_UNIT
    new[_SIZE_BIN] = min(size, _LARGEST) if size >= _SMALLEST_NORMAL else 0
    return new


def is_learned(histograms: np.ndarray) -> np.ndarray:
    """Which of the histograms [.., 256], an array or tensor, `learn` has updated."""
    return histograms[..., _STEPS_BIN] > 0


def learned_threshold(histogram: np.ndarray, bits: int) -> float:
    """The threshold of a histogram that `learn` has updated, in the units of the tensor.

    >>> learned = learn(vote(np.zeros(HISTOGRAM_BINS), 5, decay=0.98), gradient=0.0, rate=0.01)
    >>> learned_threshold(learned, bits=8) == 2**1.5  # position 5 covers thresholds from 2 to 4; in the middle on a log scale
    True
    """
    elected = mode_position(histogram)
    return 2.0 ** (bits - 1.5 - elected - _offset(histogram, elected))


def mode_position(histogram: np.ndarray) -> int:
    """The most frequent position of a histogram, the smallest of ties; POSITION_ZERO only if nothing else was counted.

    Raises:
      QuantizeError: the histogram is empty.
    """
    counts = np.asarray(histogram, np.float32)[:POSITION_ZERO + HISTOGRAM_ZERO]
    if counts.max() > 0:
        return int(counts.argmax()) - HISTOGRAM_ZERO
    if histogram[POSITION_ZERO + HISTOGRAM_ZERO] > 0:
        return POSITION_ZERO
    raise errors.QuantizeError(errors.MISSING_QUANTIZE_INFO, 'Not found', 'The histogram of positions is empty.')


def _gradient_size(row: np.ndarray, gradient: float) -> Tuple[float, float]:
    """(steps up to 1000, root mean square of their gradients) of a row of votes after one more step."""
    steps = min(float(row[_STEPS_BIN]) * _STEPS_UNIT + 1, _STEPS_MAX)
    size = float(row[_SIZE_BIN]) if is_learned(row) else 0.0
    return steps, math.sqrt(size * size + (gradient * gradient - size * size) / steps)


def _offset(row: np.ndarray, elected: int) -> float:
    """The mean of the votes for the position `elected` and its two neighbours, relative to it."""
    around = np.array(row, float)[elected + HISTOGRAM_ZERO - 1:elected + HISTOGRAM_ZERO + 2]
    below, votes, above = around * [elected > POSITION_MIN, 1, elected < POSITION_MAX]
    return (above - below) / (below + votes + above)


def _restarted(mean: float, elected: int) -> float:
    """`mean`, or the position nearest to it if that is another one than `elected`, within the range of positions."""
    nearest = math.floor(mean + 0.5)
    return min(max(mean if nearest == elected else float(nearest), float(POSITION_MIN)), float(POSITION_MAX))


def _two_votes(mean: float) -> np.ndarray:
    """A row of votes for two adjacent positions with this mean, one in all."""
    lower = math.floor(mean)
    upper = np.float32(mean - lower)
    if upper == 0.5:  # the tie would elect the lower one
        upper = np.nextafter(upper, np.float32(1))
    row = np.zeros(HISTOGRAM_BINS, np.float32)
    row[[lower + HISTOGRAM_ZERO, lower + HISTOGRAM_ZERO + 1]] = 1 - upper, upper
    return row
