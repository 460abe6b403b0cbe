"""The number format in NumPy: the definition that every kernel is tested against.

A tensor with position p and b bits holds q * 2^-p, q an integer of [-2^(b-1), 2^(b-1)-1]. A position counts fractional
bits. docs/number_format.md explains it, with the results for non-finite and extreme input.
"""
import math

import numpy as np

from vai_q_tf import errors
from vai_q_tf.configuration.config_checks import MAX_BITS

POSITION_MIN = -126
POSITION_MAX = 126
POSITION_ZERO = 127  # a tensor of which nothing but zeros was seen
NO_OBSERVATION = -2**31  # in place of a position: this step was not tracked, or values stay as they are

HALF_UP = 'half_up'
HALF_AWAY = 'half_away'

HISTOGRAM_BINS = 256
HISTOGRAM_ZERO = 128  # the bin of position 0

WINDOW_MAX = 37  # positions of a window: no sum of squared errors of a block overflows

_CANDIDATES = 5
_BLOCK = 2048
_LANES = 32
_FORGOTTEN = np.float32(1e-30)
_SMALLEST_NORMAL = np.finfo(np.float32).tiny
_NEGLIGIBLE = np.float32(2.0**-60)


def rounding_of(mode):
    """The rounding of FixNeuron's `mode`: 'half_up' for 1 (activation), 'half_away' for 0 and 2 (weights, biases)."""
    if mode not in (0, 1, 2):
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Invalid parameter',
                                   'mode is {!r}; it must be 0, 1 or 2.'.format(mode))
    return HALF_UP if mode == 1 else HALF_AWAY


def limits(position, bits, narrow_range=False):
    """The smallest and largest representable value (lo, hi), as floats that float32 holds exactly.

    -2^(b-1) * 2^-p and (2^(b-1)-1) * 2^-p, or the finite multiples of 2^-p nearest to them where float32 overflows.
    `narrow_range` raises lo by one step. Both are 0 at POSITION_ZERO.
    """
    _check(position, bits)
    if position == POSITION_ZERO:
        return 0.0, 0.0
    lo, hi = _integer_limits(position, bits, narrow_range)
    return lo * 2.0**-position, hi * 2.0**-position


def quantize(x, position, bits=8, rounding=HALF_UP, narrow_range=False, keep_non_finite=True):
    """`x` at `position` as float32 of the same shape: the nearest q * 2^-p, clipped to `limits`.

    Args:
      x: array of any shape, taken as float32. Subnormals count as zeros.
      position: fractional bits, from POSITION_MIN to POSITION_ZERO; every number becomes 0 at the latter.
      bits: width b from 1 to 24, the sign included.
      rounding: 'half_up' (-1.5 -> -1, as the hardware does) or 'half_away' (-1.5 -> -2).
      narrow_range: raises lo by one step.
      keep_non_finite: whether NaN and infinities stay, as in training; in a model NaN and -inf give lo, +inf gives hi.

    Raises:
      QuantizeError: a position, width or rounding that does not exist.
    """
    _check(position, bits)
    _check_rounding(rounding)
    x = np.asarray(x, np.float32)
    if position == POSITION_ZERO:
        y = np.zeros_like(x)
    else:
        scale, step = np.float32(2.0**position), np.float32(2.0**-position)
        with np.errstate(all='ignore'):
            y = _to_integer(_flush(x) * scale, _integer_limits(position, bits, narrow_range), rounding) * step
    return np.where(np.isfinite(x), y, x) if keep_non_finite else y


def gradient(dy, x, position, bits, narrow_range=False):
    """`dy` where `x` lies in the closed range of `limits` or is NaN, 0 elsewhere, float32."""
    lo, hi = limits(position, bits, narrow_range)
    x = _flush(np.asarray(x, np.float32))
    with np.errstate(invalid='ignore'):
        outside = (x < np.float32(lo)) | (x > np.float32(hi))
    return np.where(outside, np.float32(0), np.asarray(dy, np.float32))


def threshold_gradient(dy, x, position, bits, rounding=HALF_UP, narrow_range=False):
    """The gradient to the log2 of the threshold whose position this is, given `dy`, that to Q(x); a float.

    The sum of dy * (q - x / step) over the elements that round to an integer q of the range, and of dy times the limit over
    those that round to one beyond it, times step * ln 2 (TQT, arXiv 1903.08066). 0 at POSITION_ZERO; NaN where one of x is.
    The terms are exact; they are summed as in `search_position`, with float64 lanes.
    """
    _check(position, bits)
    if position == POSITION_ZERO:
        return 0.0
    lo, hi = _integer_limits(position, bits, narrow_range)
    with np.errstate(all='ignore'):
        t = _flush(_flush(np.asarray(x, np.float32).ravel()) * np.float32(2.0**position))
        q = _to_integer(t, (lo - 1, hi + 1), rounding)
        slope = np.where(np.isnan(t), t, np.where(q < lo, lo, np.where(q > hi, hi, q - t)))
        terms = _flush(np.asarray(dy, np.float32).ravel()).astype(np.float64) * slope
        return float(_sum_of_blocks(terms)) * 2.0**-position * math.log(2)


def scaled(x, scale, inner=1):
    """`x` times the scale of its channel, float32; subnormals count as zeros on the way in and out.

    Element i of the flat x belongs to channel (i // inner) % C. `scale` is an array [C], x has a multiple of C * inner
    elements.
    """
    x, scale = np.asarray(x, np.float32), np.asarray(scale, np.float32)
    factors = _flush(scale)[np.arange(x.size) // inner % max(scale.size, 1)].reshape(x.shape)
    with np.errstate(all='ignore'):
        return _flush(_flush(x) * factors)


def scaled_quantize(x, scale, rescale, position, bits=8, rounding=HALF_AWAY, inner=1, narrow_range=False):
    """Q(x * scale) * rescale: `quantize` between two products as `scaled` makes them."""
    return scaled(quantize(scaled(x, scale, inner), position, bits, rounding, narrow_range), rescale, inner)


def scaled_gradient(dy, x, scale, factor, position, bits, inner=1, narrow_range=False):
    """`dy` times `factor` where x * scale lies in the closed range of `limits` or is NaN, 0 elsewhere."""
    return gradient(scaled(dy, factor, inner), scaled(x, scale, inner), position, bits, narrow_range)


def search_position(x, bits=8, method=1, mode=1, narrow_range=False, tie=1.0):
    """The position, in fractional bits, that represents `x` best.

    Method 0 (non-overflow): the largest p at which no element leaves the range by more than half a step. Method 1
    (min-diffs): of that p and the four above, the one with the smallest sum of squared errors. Method 2: as 1, but in
    mode 2 the sum of sqrt(|error| / (|x| + 1e-9)). The smallest p of equal ones; if `tie` is above 1, then on to finer
    ones, one after another, while the error is at most `tie` times the least. Only finite elements count, and
    subnormals count as zeros; POSITION_ZERO if nothing else is there.

    Element errors are float32 in units of the step; blocks of 2048 elements are summed in 32 float32 lanes, lanes and
    blocks in float64 in order, so that every implementation decides alike. In squared errors an element below 2^-60
    steps of the first candidate counts as a zero.

    Raises:
      QuantizeError: a width, method, mode or tie that does not exist.
    """
    _check(0, bits)
    rounding = rounding_of(mode)
    if method not in (0, 1, 2):
        raise errors.QuantizeError(errors.INVALID_METHOD, 'Invalid parameter',
                                   'method is {!r}; it must be 0, 1 or 2.'.format(method))
    tie = np.float32(tie)
    if not tie >= 1:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Invalid parameter',
                                   'tie is {}; it must be at least 1.'.format(tie))
    x = _observed(x)
    first = _non_overflow_position(x, bits)
    if first == POSITION_ZERO or method == 0:
        return first
    totals = [_error_sum(x, first, position, bits, rounding, narrow_range, relative=method == 2 and mode == 2)
              for position in range(first, min(first + _CANDIDATES, POSITION_MAX + 1))]
    best = int(np.argmin(totals))
    most = totals[best] * tie
    while tie > 1 and best + 1 < len(totals) and totals[best + 1] <= most:
        best += 1
    return first + best


def position_errors(x, bits=8, mode=1, below=0, above=4, narrow_range=False):
    """What `x` loses at each position of a window: (first, errors), an int and float64 [below + above + 1].

    errors[i] is the sum of (Q(x) - x)^2 at position first + i; errors past POSITION_MAX repeat the one there. `first`
    is `below` less than the position of method 0, but not less than POSITION_MIN. If only zeros count, it is
    POSITION_ZERO and every error 0. Elements count and are summed as in `search_position`, with `first` as the first
    candidate.

    Args:
      below, above: how far the window reaches from the position of method 0; together less than WINDOW_MAX.
      x, bits, mode, narrow_range: as in `search_position`.

    Raises:
      QuantizeError: a width, mode or window that does not exist.
    """
    _check(0, bits)
    rounding = rounding_of(mode)
    if below < 0 or above < 0 or below + above >= WINDOW_MAX:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Invalid parameter',
                                   'The window reaches {!r} below and {!r} above; neither can be negative, both '
                                   'together at most {}.'.format(below, above, WINDOW_MAX - 1))
    x = _observed(x)
    center = _non_overflow_position(x, bits)
    if center == POSITION_ZERO:
        return center, np.zeros(below + above + 1)
    first = max(center - below, POSITION_MIN)
    sums = [_error_sum(x, first, position, bits, rounding, narrow_range, relative=False) * 4.0**-first
            for position in range(first, min(first + below + above, POSITION_MAX) + 1)]
    return first, np.array(sums + sums[-1:] * (below + above + 1 - len(sums)))


def vote(histogram, position, decay):
    """A new histogram of positions after one more step, float32 [256]; bin i counts position i - 128.

    Every count is multiplied by `decay` (below 1e-30 it becomes 0), then the bin of `position` gains 1. A step that was
    not tracked (NO_OBSERVATION) changes nothing, nor does one of nothing but zeros (POSITION_ZERO) after other votes.
    """
    histogram = np.array(histogram, np.float32)
    if position == NO_OBSERVATION or position == POSITION_ZERO and histogram[:POSITION_ZERO + HISTOGRAM_ZERO].any():
        return histogram
    _check(position, 1)
    histogram *= np.float32(decay)
    histogram[histogram < _FORGOTTEN] = 0
    histogram[position + HISTOGRAM_ZERO] += 1
    return histogram


def learn(histogram, gradient, rate):
    """A new histogram after a step of the threshold along its `gradient`, as of `threshold_gradient`; float32 [256].

    The mean of the two votes of a learned row is b - 3/2 - log2(threshold), so that they elect b - 1 - ceil(log2(threshold)).
    It begins at what the histogram elects, moves by rate * tanh(gradient / root mean square of the gradients), and once
    it has come to another position begins anew there, in the middle of the interval. Bin 255 keeps the root mean square,
    of the last 1000 steps or so; bin 0 counts steps up to these, in 1/4096. A gradient that is not finite changes nothing,
    nor does any where no position is elected.
    """
    old = np.array(histogram, np.float32)
    if not math.isfinite(gradient) or not old[:-1].any():
        return old
    elected = mode_position(old)
    steps, size, mean = min(float(old[0]) * 4096 + 1, 1000.0), float(old[-1]), float(elected)
    if not old[0]:
        steps, size = 1.0, 0.0
    else:
        around = old[elected + HISTOGRAM_ZERO - 1:elected + HISTOGRAM_ZERO + 2].astype(float)
        below, votes, above = around * [elected > POSITION_MIN, 1, elected < POSITION_MAX]
        mean += (above - below) / (below + votes + above)
    size = math.sqrt(size * size + (gradient * gradient - size * size) / steps)
    if size:
        mean += float(np.float32(rate)) * math.tanh(gradient / size)
    nearest = math.floor(mean + 0.5)
    mean = min(max(mean if nearest == elected else float(nearest), float(POSITION_MIN)), float(POSITION_MAX))
    lower = math.floor(mean)
    upper = np.float32(mean - lower)
    if upper == 0.5:
        upper = np.nextafter(upper, np.float32(1))
    new = np.zeros_like(old)
    new[[lower + HISTOGRAM_ZERO, lower + HISTOGRAM_ZERO + 1]] = 1 - upper, upper
    new[[0, -1]] = steps / 4096, _flush(np.float32(min(size, float(np.finfo(np.float32).max))))
    return new


def is_learned(histograms):
    """Which of the histograms [.., 256], an array or tensor, `learn` has updated."""
    return histograms[..., 0] > 0


def learned_threshold(histogram, bits):
    """The threshold that `learn` has come to, in the units of the tensor; the histogram is one that it has updated."""
    elected = mode_position(histogram)
    below, votes, above = np.array(histogram, float)[elected + HISTOGRAM_ZERO - 1:elected + HISTOGRAM_ZERO + 2] * [
        elected > POSITION_MIN, 1, elected < POSITION_MAX]
    return 2.0 ** (bits - 1.5 - elected - (above - below) / (below + votes + above))


def mode_position(histogram):
    """The most frequent position of a histogram, the smallest of ties.

    POSITION_ZERO only if nothing else was counted.

    Raises:
      QuantizeError: the histogram is empty.
    """
    counts = np.asarray(histogram, np.float32)[:POSITION_ZERO + HISTOGRAM_ZERO]
    if counts.max() > 0:
        return int(counts.argmax()) - HISTOGRAM_ZERO
    if histogram[POSITION_ZERO + HISTOGRAM_ZERO] > 0:
        return POSITION_ZERO
    raise errors.QuantizeError(errors.MISSING_QUANTIZE_INFO, 'Not found', 'The histogram of positions is empty.')


def _check(position, bits):
    if not POSITION_MIN <= position <= POSITION_ZERO:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Invalid parameter',
                                   'the position is {!r}; it must be from {} to {}.'.format(
                                       position, POSITION_MIN, POSITION_ZERO))
    if not 1 <= bits <= MAX_BITS:
        raise errors.QuantizeError(errors.INVALID_BITWIDTH, 'Invalid parameter',
                                   'the bit width is {!r}; it must be from 1 to {}.'.format(bits, MAX_BITS))


def _check_rounding(rounding):
    if rounding not in (HALF_UP, HALF_AWAY):
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Invalid parameter',
                                   'rounding is {!r}; it must be {!r} or {!r}.'.format(rounding, HALF_UP, HALF_AWAY))


def _integer_limits(position, bits, narrow_range):
    lo, hi = -2.0**(bits - 1), 2.0**(bits - 1) - 1
    finite = 2.0**(128 + position) - 1 if 128 + position < MAX_BITS else hi + 1
    return np.float32(max(lo + bool(narrow_range), -finite)), np.float32(min(hi, finite))


def _observed(x):
    """The elements that count, as a flat array; the others are zeros."""
    x = _flush(np.asarray(x, np.float32).ravel())
    return np.where(np.isfinite(x), x, np.float32(0))


def _flush(x):
    with np.errstate(invalid='ignore'):
        return np.where(np.abs(x) < _SMALLEST_NORMAL, np.copysign(np.float32(0), x), x)


def _to_integer(t, integer_limits, rounding):
    """t, clipped and rounded. Adding 0.5 would round 0.49999997 to 1, so the fraction is compared instead."""
    lo, hi = integer_limits
    t = np.where(t > lo, t, lo)  # NaN compares false and becomes lo
    t = np.where(hi < t, hi, t)
    whole = np.floor(np.abs(t))
    fraction = np.abs(t) - whole
    away = fraction >= 0.5
    if rounding == HALF_UP:
        away &= (fraction > 0.5) | (t > 0)
    return np.copysign(whole + away.astype(np.float32), t)


def _non_overflow_position(x, bits):
    half = 2.0**(bits - 1)
    size = max(float(x.min(initial=0)) / (-half - 0.5), float(x.max(initial=0)) / (half - 0.5))
    if size == 0:
        return POSITION_ZERO
    fraction, exponent = np.frexp(size)  # size = fraction * 2^exponent, 0.5 <= fraction < 1
    position = 1 - exponent if fraction == 0.5 else -exponent
    return int(np.clip(position, POSITION_MIN, POSITION_MAX))


def _error_sum(x, first, position, bits, rounding, narrow_range, relative):
    """In the square of the step of `first`, or a plain number if `relative`."""
    with np.errstate(all='ignore'):
        t = _flush(x * np.float32(2.0**first))
        t = np.where(relative | (np.abs(t) >= _NEGLIGIBLE), t, np.float32(0)) * np.float32(2.0**(position - first))
        error = _to_integer(t, _integer_limits(position, bits, narrow_range), rounding) - t
        if relative:
            epsilon = max(np.float32(1e-9) * np.float32(2.0**position), _SMALLEST_NORMAL)
            error = np.sqrt(np.abs(error) / (np.abs(t) + epsilon))
        else:
            error = error * error
    return _sum_of_blocks(error) * (1.0 if relative else 4.0**(first - position))


def _sum_of_blocks(values):
    """Their sum in float64, that of a lane in the type of the values."""
    blocks = np.pad(values, (0, -values.size % _BLOCK), 'constant').reshape(-1, _BLOCK // _LANES, _LANES)
    lanes = np.zeros((blocks.shape[0], _LANES), values.dtype)
    for row in range(blocks.shape[1]):
        lanes += blocks[:, row]
    return np.cumsum(np.append(0.0, np.cumsum(lanes, axis=1, dtype=np.float64)[:, -1]))[-1]
