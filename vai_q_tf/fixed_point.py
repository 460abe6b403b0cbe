"""The number format in NumPy: the definition that every kernel is tested against.

A tensor with position p and b bits holds q * 2^-p, q an integer in [-2^(b-1), 2^(b-1)-1]. A position counts fractional
bits. docs/background/number_format.md explains the format, with the results for non-finite and extreme input.
"""
import math
from typing import NamedTuple, Tuple

import numpy as np

from vai_q_tf import errors
from vai_q_tf.configuration.config_checks import MAX_BITS

POSITION_MIN = -126
POSITION_MAX = 126
POSITION_ZERO = 127  # the tensor was observed to be all zeros
NO_OBSERVATION = -2**31  # instead of a position: this step was not tracked, or values stay float

HALF_UP = 'half_up'
HALF_AWAY = 'half_away'

WINDOW_MAX = 37  # positions; the sum of squared errors of a block overflows in no larger window

_CANDIDATES = 5
_BLOCK = 2048
_LANES = 32
_SMALLEST_NORMAL = np.finfo(np.float32).tiny
_NEGLIGIBLE = np.float32(2.0**-60)


class _Format(NamedTuple):
    """The format of a tensor, apart from its position."""
    bits: int
    rounding: str
    narrow_range: bool


def rounding_of(mode: int) -> str:
    """The rounding of FixNeuron's `mode`: 'half_up' for 1 (activations), 'half_away' for 0 and 2 (weights, biases)."""
    if mode not in (0, 1, 2):
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Invalid parameter',
                                   'mode is {!r}; it must be 0, 1 or 2.'.format(mode))
    return HALF_UP if mode == 1 else HALF_AWAY


def limits(position: int, bits: int, narrow_range: bool = False) -> Tuple[float, float]:
    """The smallest and largest representable value (lo, hi), which float32 represents exactly.

    -2^(b-1) * 2^-p and (2^(b-1)-1) * 2^-p, or the nearest finite multiples of 2^-p if float32 overflows.
    `narrow_range` raises lo by one step. Both are 0 at POSITION_ZERO.

    >>> limits(position=5, bits=8)
    (-4.0, 3.96875)
    >>> limits(position=5, bits=8, narrow_range=True)
    (-3.96875, 3.96875)
    """
    _check(position, bits)
    if position == POSITION_ZERO:
        return 0.0, 0.0
    lo, hi = _integer_limits(position, bits, narrow_range)
    return lo * 2.0**-position, hi * 2.0**-position


def quantize(x: np.ndarray, position: int, bits: int = 8, rounding: str = HALF_UP, narrow_range: bool = False,
             keep_non_finite: bool = True) -> np.ndarray:
    """`x` at `position` as float32 of the same shape: the nearest q * 2^-p, clipped to `limits`.

    >>> quantize([0.3, -1.5, 2.5, 9.0], position=0, bits=4).tolist()
    [0.0, -1.0, 3.0, 7.0]
    >>> quantize([0.3, -1.5, 2.5, 9.0], position=2, bits=4, rounding=HALF_AWAY).tolist()
    [0.25, -1.5, 1.75, 1.75]

    Args:
      x: array of any shape, converted to float32. Subnormals count as zeros.
      position: fractional bits, from POSITION_MIN to POSITION_ZERO; at the latter every number becomes 0.
      bits: width b from 1 to 24, including the sign.
      rounding: 'half_up' (-1.5 -> -1, as the hardware does) or 'half_away' (-1.5 -> -2).
      narrow_range: raises lo by one step.
      keep_non_finite: keeps NaN and infinities, as in training; in a model NaN and -inf become lo, +inf becomes hi.

    Raises:
      QuantizeError: position, bit width or rounding out of range.
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


def gradient(dy: np.ndarray, x: np.ndarray, position: int, bits: int, narrow_range: bool = False) -> np.ndarray:
    """`dy` where `x` lies in the closed range of `limits` or is NaN, 0 elsewhere, float32.

    >>> gradient([1, 2, 3], [0.5, 3.96875, 4.0], position=5, bits=8).tolist()
    [1.0, 2.0, 0.0]
    """
    lo, hi = limits(position, bits, narrow_range)
    x = _flush(np.asarray(x, np.float32))
    with np.errstate(invalid='ignore'):
        outside = (x < np.float32(lo)) | (x > np.float32(hi))
    return np.where(outside, np.float32(0), np.asarray(dy, np.float32))


def threshold_gradient(dy: np.ndarray, x: np.ndarray, position: int, bits: int, rounding: str = HALF_UP,
                       narrow_range: bool = False) -> float:
    """The gradient with respect to the log2 of the threshold that `position` belongs to, from `dy`, that to Q(x).

    Elements of x that round to an integer q in the range contribute dy * (q - x / step), all others dy times the limit; the sum
    is multiplied by step * ln 2 (TQT, arXiv 1903.08066). 0 at POSITION_ZERO; NaN if an element of x is NaN.
    The terms are exact; they are summed as in `search_position`, with float64 lanes.

    >>> threshold_gradient([1, 1], [0.25, 9], position=0, bits=4) == (-0.25 + 7) * math.log(2)
    True
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


def scaled(x: np.ndarray, scale: np.ndarray, inner: int = 1) -> np.ndarray:
    """`x` times the scale of its channel, float32; subnormal operands and results count as zeros.

    Element i of the flat x belongs to channel (i // inner) % C. `scale` is an array [C]; the size of x is a multiple of
    C * inner.

    >>> scaled([[1, 2], [3, 4]], [10, 0.5]).tolist()
    [[10.0, 1.0], [30.0, 2.0]]
    >>> scaled([[1, 2], [3, 4]], [10, 0.5], inner=2).tolist()
    [[10.0, 20.0], [1.5, 2.0]]
    """
    x, scale = np.asarray(x, np.float32), np.asarray(scale, np.float32)
    factors = _flush(scale)[np.arange(x.size) // inner % max(scale.size, 1)].reshape(x.shape)
    with np.errstate(all='ignore'):
        return _flush(_flush(x) * factors)


def scaled_quantize(x: np.ndarray, scale: np.ndarray, rescale: np.ndarray, position: int, bits: int = 8,
                    rounding: str = HALF_AWAY, inner: int = 1, narrow_range: bool = False) -> np.ndarray:
    """Q(x * scale) * rescale, the products those of `scaled`."""
    return scaled(quantize(scaled(x, scale, inner), position, bits, rounding, narrow_range), rescale, inner)


def scaled_gradient(dy: np.ndarray, x: np.ndarray, scale: np.ndarray, factor: np.ndarray, position: int, bits: int,
                    inner: int = 1, narrow_range: bool = False) -> np.ndarray:
    """`dy` times `factor` where x * scale lies in the closed range of `limits` or is NaN, 0 elsewhere."""
    return gradient(scaled(dy, factor, inner), scaled(x, scale, inner), position, bits, narrow_range)


def search_position(x: np.ndarray, bits: int = 8, method: int = 1, mode: int = 1, narrow_range: bool = False,
                    tie: float = 1.0) -> int:
    """The position, in fractional bits, that represents `x` best.

    Method 0 (non-overflow): the largest p at which no element leaves the range by more than half a step. Method 1
    (min-diffs): of that p and the four above, the one with the smallest sum of squared errors. Method 2: as 1, but in
    mode 2 the sum of sqrt(|error| / (|x| + 1e-9)). The smallest p of equal ones; with a `tie` above 1, the search continues
    to finer ones, one by one, while the error is at most `tie` times the least. Only finite elements count, and
    subnormals count as zeros; POSITION_ZERO if nothing else is there.

    Element errors are float32 in units of the step; blocks of 2048 elements are summed in 32 float32 lanes, lanes and
    blocks in float64 in order, so that every implementation decides alike. In squared errors an element below 2^-60
    steps of the first candidate counts as a zero.

    >>> x = np.linspace(-1, 1, 101)
    >>> search_position(x, method=0), search_position(x, method=1)  # 1.0 fits at 6; 7 clips it, and halves all other errors
    (6, 7)
    >>> search_position([0.0, 0.0]) == POSITION_ZERO
    True

    Raises:
      QuantizeError: bit width, method, mode or tie out of range.
    """
    _check(0, bits)
    number_format = _Format(bits, rounding_of(mode), narrow_range)
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
    error_sum = _relative_error_sum if method == 2 and mode == 2 else _squared_error_sum
    totals = [error_sum(x, first, position, number_format)
              for position in range(first, min(first + _CANDIDATES, POSITION_MAX + 1))]
    best = int(np.argmin(totals))
    most = totals[best] * tie
    while tie > 1 and best + 1 < len(totals) and totals[best + 1] <= most:
        best += 1
    return first + best


def position_errors(x: np.ndarray, bits: int = 8, mode: int = 1, below: int = 0, above: int = 4,
                    narrow_range: bool = False) -> Tuple[int, np.ndarray]:
    """The squared quantization error of `x` at each position of a window: (first, errors float64 [below + above + 1]).

    errors[i] is the sum of (Q(x) - x)^2 at position first + i; errors past POSITION_MAX repeat the one there. `first`
    is `below` less than the position of method 0, but not less than POSITION_MIN. If only zeros count, it is
    POSITION_ZERO and every error 0. Elements count and are summed as in `search_position`, with `first` as the first
    candidate.

    >>> first, losses = position_errors([3.0, 0.25], bits=3, above=2)  # q goes from -4 to 3
    >>> first, losses.tolist()  # 0.25 becomes 0, 0.5, 0.25; 3 becomes 3, 1.5, 0.75
    (0, [0.0625, 2.3125, 5.0625])

    Args:
      below, above: how far the window reaches from the position of method 0; together less than WINDOW_MAX.
      x, bits, mode, narrow_range: as in `search_position`.

    Raises:
      QuantizeError: bit width, mode or window out of range.
    """
    _check(0, bits)
    number_format = _Format(bits, rounding_of(mode), narrow_range)
    if below < 0 or above < 0 or below + above >= WINDOW_MAX:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Invalid parameter',
                                   'The window reaches {!r} below and {!r} above; neither can be negative, both '
                                   'together at most {}.'.format(below, above, WINDOW_MAX - 1))
    x = _observed(x)
    center = _non_overflow_position(x, bits)
    if center == POSITION_ZERO:
        return center, np.zeros(below + above + 1)
    first = max(center - below, POSITION_MIN)
    sums = [_squared_error_sum(x, first, position, number_format) * 4.0**-first
            for position in range(first, min(first + below + above, POSITION_MAX) + 1)]
    return first, np.array(sums + sums[-1:] * (below + above + 1 - len(sums)))


def check_position(position: int) -> None:
    """Raises a QuantizeError INVALID_INPUT if there is no such position."""
    if not POSITION_MIN <= position <= POSITION_ZERO:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Invalid parameter',
                                   'the position is {!r}; it must be from {} to {}.'.format(
                                       position, POSITION_MIN, POSITION_ZERO))


def _check(position: int, bits: int) -> None:
    check_position(position)
    if not 1 <= bits <= MAX_BITS:
        raise errors.QuantizeError(errors.INVALID_BITWIDTH, 'Invalid parameter',
                                   'the bit width is {!r}; it must be from 1 to {}.'.format(bits, MAX_BITS))


def _check_rounding(rounding: str) -> None:
    if rounding not in (HALF_UP, HALF_AWAY):
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Invalid parameter',
                                   'rounding is {!r}; it must be {!r} or {!r}.'.format(rounding, HALF_UP, HALF_AWAY))


def _integer_limits(position: int, bits: int, narrow_range: bool) -> Tuple[np.float32, np.float32]:
    lo, hi = -2.0**(bits - 1), 2.0**(bits - 1) - 1
    finite = 2.0**(128 + position) - 1 if 128 + position < MAX_BITS else hi + 1
    return np.float32(max(lo + bool(narrow_range), -finite)), np.float32(min(hi, finite))


def _observed(x: np.ndarray) -> np.ndarray:
    """The elements as a flat array, with zeros for those that do not count."""
    x = _flush(np.asarray(x, np.float32).ravel())
    return np.where(np.isfinite(x), x, np.float32(0))


def _flush(x: np.ndarray) -> np.ndarray:
    """`x` with zeros for subnormals."""
    with np.errstate(invalid='ignore'):
        return np.where(np.abs(x) < _SMALLEST_NORMAL, np.copysign(np.float32(0), x), x)


def _to_integer(t: np.ndarray, integer_limits: Tuple[np.float32, np.float32], rounding: str) -> np.ndarray:
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


def _non_overflow_position(x: np.ndarray, bits: int) -> int:
    half = 2.0**(bits - 1)
    size = max(float(x.min(initial=0)) / (-half - 0.5), float(x.max(initial=0)) / (half - 0.5))
    if size == 0:
        return POSITION_ZERO
    fraction, exponent = np.frexp(size)  # size = fraction * 2^exponent, 0.5 <= fraction < 1
    position = 1 - exponent if fraction == 0.5 else -exponent
    return int(np.clip(position, POSITION_MIN, POSITION_MAX))


def _squared_error_sum(x: np.ndarray, first: int, position: int, number_format: _Format) -> float:
    """The sum of squared errors at `position`, in the square of the step of `first`."""
    with np.errstate(all='ignore'):
        t = _flush(x * np.float32(2.0**first))
        t = np.where(np.abs(t) >= _NEGLIGIBLE, t, np.float32(0)) * np.float32(2.0**(position - first))
        error = _rounding_error(t, position, number_format)
        error = error * error
    return _sum_of_blocks(error) * 4.0**(first - position)


def _relative_error_sum(x: np.ndarray, first: int, position: int, number_format: _Format) -> float:
    """The sum of sqrt(|error| / (|x| + 1e-9)) at `position`."""
    with np.errstate(all='ignore'):
        t = _flush(x * np.float32(2.0**first)) * np.float32(2.0**(position - first))
        epsilon = max(np.float32(1e-9) * np.float32(2.0**position), _SMALLEST_NORMAL)
        error = np.sqrt(np.abs(_rounding_error(t, position, number_format)) / (np.abs(t) + epsilon))
    return _sum_of_blocks(error)


def _rounding_error(t: np.ndarray, position: int, number_format: _Format) -> np.ndarray:
    bits, rounding, narrow_range = number_format
    return _to_integer(t, _integer_limits(position, bits, narrow_range), rounding) - t


def _sum_of_blocks(values: np.ndarray) -> float:
    """The sum of the values in float64; lanes are summed in the type of the values."""
    blocks = np.pad(values, (0, -values.size % _BLOCK), 'constant').reshape(-1, _BLOCK // _LANES, _LANES)
    lanes = np.zeros((blocks.shape[0], _LANES), values.dtype)
    for row in range(blocks.shape[1]):
        lanes += blocks[:, row]
    return np.cumsum(np.append(0.0, np.cumsum(lanes, axis=1, dtype=np.float64)[:, -1]))[-1]
