"""The ops that count the elements of a tensor in a batch, for `histograms`."""
from typing import Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN, POSITION_ZERO
from vai_q_tf.position_histogram import HISTOGRAM_BINS, HISTOGRAM_ZERO
from vai_q_tf.ptq.calibration.histograms import MAGNITUDES, SUBBITS

_FRACTION_BITS = 23  # of float32; above them is the exponent, so the bits rise with the magnitude
_LEAST_NORMAL, _INFINITY = 1 << _FRACTION_BITS, 255 << _FRACTION_BITS


def count_positions(x: tf.Tensor, bits: int) -> tf.Tensor:
    """Counts of positions of a float32 tensor at a bit width, int32 [256]; see `histograms`.

    Multiplying a limit by 2^-p subtracts p from its exponent. So the greatest position at which an element is within the limit
    is the difference of their bits without the bits of the fraction, rounded down.
    """
    half = 2.0**(bits - 1)
    values, magnitude = _bits_of(x)
    limit = tf.where_v2(values < 0, _limit(half + 0.5), _limit(half - 0.5))
    positions = tf.clip_by_value(tf.bitwise.right_shift(limit - magnitude, _FRACTION_BITS), POSITION_MIN, POSITION_MAX)
    counted = tf.logical_and(magnitude >= _LEAST_NORMAL, magnitude < _INFINITY)
    return _count(tf.where_v2(counted, positions, POSITION_ZERO) + HISTOGRAM_ZERO, HISTOGRAM_BINS)


def count_magnitudes(x: tf.Tensor) -> tf.Tensor:
    """Counts of magnitudes of a float32 tensor, int32 [MAGNITUDES]; see `histograms`."""
    _, magnitude = _bits_of(x)
    return _count(tf.bitwise.right_shift(magnitude, _FRACTION_BITS - SUBBITS), MAGNITUDES)


def _bits_of(x: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """The bits of float32 elements and of their magnitudes, both int32 [n]; the former is negative if the sign bit is set."""
    values = tf.bitcast(tf.reshape(x, [-1]), tf.int32)
    return values, tf.bitwise.bitwise_and(values, 0x7fffffff)


def _limit(value: float) -> int:
    """The bits of the greatest float32 up to the end of a range; 2^23 + 0.5, which float32 lacks, rounds to 2^23."""
    return int(np.float32(value).view(np.int32))


def _count(indices: tf.Tensor, size: int) -> tf.Tensor:
    return tf.raw_ops.Bincount(arr=indices, size=size, weights=tf.zeros([0], tf.int32))
