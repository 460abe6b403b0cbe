"""Rounding that minimises the error of a layer's output instead of the error of its weights."""
from typing import Tuple

import numpy as np

from vai_q_tf import fixed_point
from vai_q_tf.ptq.fitting import moments
from vai_q_tf.ptq.fitting.linear_algebra import matmul
from vai_q_tf.ptq.fitting.positions import least_error

_DAMPING = 0.01
_BLOCK = 64
_SWEEPS, _SWEEPS_OF_GROUPS = 2, 6


def quadratic_error(delta: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """delta^T H delta for each column, [G, N]: the variance that `delta` [G, K, N] adds to each output.

    covariance: H, of the inputs, [G, K, K].
    """
    return np.maximum((delta * matmul(covariance, delta)).sum(axis=1, dtype=np.float64), 0)


def best_position(weights: np.ndarray, covariance: np.ndarray, bits: int, first: int, last: int) -> int:
    """The position, from `first` to `last`, whose plain rounding has the least quadratic error over all groups and columns.

    The smallest of equal ones. Halves round away from zero, values out of range are clipped.

    Args:
      weights: float64 [G, K, N].
      covariance: float64 [G, K, K], of the inputs.
      bits: width, from 1 to 24, including the sign.
      first, last: fractional bits; nothing is clipped at `first`, see `least_error`.

    Raises:
      ValueError: a weight or covariance is not finite.
    """
    _check_finite(weights, covariance)
    covariance = (covariance / (_diagonal(covariance).max() or 1)).astype(np.float32)
    return least_error(range(first, last + 1), lambda position: quadratic_error(
        ((_rounded(weights, position, bits) - weights) * 2.0**last).astype(np.float32), covariance).sum())


def round_with_feedback(weights: np.ndarray, covariance: np.ndarray, position: int, bits: int, samples: int) -> np.ndarray:
    """`weights` rounded to q * 2^-position so that their output errors cancel; float64 [G, K, N].

    Inputs are processed from the largest variance to the smallest. Each weight compensates, by least squares, the errors of
    those before it, and is then rounded (GPTQ, arXiv 2210.17323). Then, in sweeps over all inputs, each moves by one step if
    that lowers the quadratic error. A column that ends up no better than plainly rounded, halves away from zero, is rounded
    plainly. The error is that of H + (.01 + K / samples) D I, with D the mean of H's diagonal: the damping keeps few samples
    from deciding.

    Args:
      weights, covariance: as in `best_position`; the covariance is H.
      position: fractional bits, at most POSITION_ZERO, which makes every weight 0.
      bits: the width b; q is from -2^(b-1) to 2^(b-1) - 1.
      samples: how many the covariance was computed from.

    Raises:
      ValueError: a weight or covariance is not finite.
    """
    _check_finite(weights, covariance)
    if position == fixed_point.POSITION_ZERO:
        return np.zeros_like(weights)
    step = 2.0**-position
    limits = _integer_limits(position, bits)
    order = np.argsort(-_diagonal(covariance), axis=1, kind='stable')
    t = np.take_along_axis(weights, order[:, :, None], axis=1) / step
    damped = _damped(covariance, order, samples)
    q = _feed_back(t, damped, limits)
    damped = damped.astype(np.float32)  # exact enough to compare errors, in half the time
    for _ in range(_SWEEPS if len(weights) == 1 else _SWEEPS_OF_GROUPS):
        q = _sweep(q, t, damped, limits)
    plain_q = _nearest(t, limits)
    better = np.less(*(quadratic_error((found - t).astype(np.float32), damped) for found in (q, plain_q)))
    rounded = np.empty_like(q)
    np.put_along_axis(rounded, order[:, :, None], np.where(better[:, None], q, plain_q) * step, axis=1)
    return rounded


def _check_finite(weights: np.ndarray, covariance: np.ndarray) -> None:
    if not (np.isfinite(weights).all() and np.isfinite(covariance).all()):
        raise ValueError('A weight or a covariance is not finite.')


def _damped(covariance: np.ndarray, order: np.ndarray, samples: int) -> np.ndarray:
    """The damped covariance in units of D, which makes it independent of the inputs' scale, with rows and columns in `order`
    [G, K]. A multiple of I if all inputs are constant."""
    variance = moments.mean_variance(covariance)
    damped = covariance[np.arange(len(order))[:, None, None], order[:, :, None], order[:, None]]
    damped /= np.where(variance > 0, variance, 1)[:, None, None]
    _diagonal(damped)[:] += _DAMPING + covariance.shape[1] / samples
    return damped


def _diagonal(matrices: np.ndarray) -> np.ndarray:
    """A view [G, K] of the diagonals of [G, K, K]."""
    return np.einsum('gkk->gk', matrices)


def _feed_back(t: np.ndarray, h: np.ndarray, limits: Tuple[float, float]) -> np.ndarray:
    """Integers q [G, K, N] near `t` by error feedback.

    H = U U^T with U upper triangular, so delta^T H delta = sum over i of (sum over j <= i of U_ji delta_j)^2, and each row
    i of delta can be chosen to make its square small, given the rows before. U is the Cholesky factor of H with rows and
    columns in reverse; dividing column i by U_ii equals the inverse in the paper's formula.
    """
    upper = np.linalg.cholesky(h[:, ::-1, ::-1])[:, ::-1, ::-1]
    carried = np.swapaxes(upper / _diagonal(upper)[:, None], 1, 2)  # [i, j]: what row j of delta adds to row i
    q, delta = np.empty_like(t), np.empty_like(t)
    for start in range(0, t.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        targets = t[:, block] - matmul(carried[:, block, :start], delta[:, :start])
        for i in range(start, start + targets.shape[1]):
            row = slice(i, i + 1)
            target = targets[:, i - start:i - start + 1] - np.matmul(carried[:, row, start:i], delta[:, start:i])
            q[:, row] = _nearest(target, limits)
            delta[:, row] = q[:, row] - t[:, row]
    return q


def _sweep(q: np.ndarray, t: np.ndarray, h: np.ndarray, limits: Tuple[float, float]) -> np.ndarray:
    """q after one sweep of coordinate descent: each row in turn moves by the -1, 0 or 1 that has the least error."""
    q, moves = q.copy(), np.zeros(q.shape, np.float32)
    lo, hi = limits
    for start in range(0, q.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        gradients = matmul(h[:, block], (q - t).astype(np.float32))
        for i in range(start, start + gradients.shape[1]):
            row = slice(i, i + 1)
            gradient = gradients[:, i - start:i - start + 1] + np.matmul(h[:, row, start:i], moves[:, start:i])
            move = np.where(2 * np.abs(gradient) > h[:, row, row], -np.sign(gradient), 0)
            moved = q[:, row] + move
            moves[:, row] = np.where((moved >= lo) & (moved <= hi), move, 0)
            q[:, row] += moves[:, row]
    return q


def _rounded(weights: np.ndarray, position: int, bits: int) -> np.ndarray:
    """Rounded to the nearest multiple of the step; 0 at POSITION_ZERO."""
    if position == fixed_point.POSITION_ZERO:
        return np.zeros_like(weights)
    return _nearest(weights * 2.0**position, _integer_limits(position, bits)) * 2.0**-position


def _integer_limits(position: int, bits: int) -> Tuple[float, float]:
    lo, hi = fixed_point.limits(position, bits)
    return lo * 2.0**position, hi * 2.0**position


def _nearest(t: np.ndarray, limits: Tuple[float, float]) -> np.ndarray:
    """The nearest integer within the limits, halves away from zero. (Adding 0.5 would round 0.49999999999999994 to 1.)"""
    t = np.minimum(np.maximum(t, limits[0]), limits[1])  # np.clip takes twice as long
    whole = np.trunc(t)
    return whole + np.where(np.abs(t - whole) >= 0.5, np.sign(t), 0)
