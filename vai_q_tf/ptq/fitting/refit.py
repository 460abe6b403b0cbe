"""Weights that compensate the errors of their inputs: ridge regression of the residual, with a cross-validated ridge."""
from typing import List, Tuple

import numpy as np

from vai_q_tf.ptq.fitting import moments
from vai_q_tf.ptq.fitting.linear_algebra import matmul, solve

UNCHANGED = 1e4  # the ridge of weights that stay as they are
RIDGES = tuple(10.0**(1 - i / 2) for i in range(7))  # 10 ... .01, in mean variances of an input

_NEAR_TIE = 1.01
_OUTPUTS = 128  # the ridge is chosen by so many outputs, or up to twice as many


def refit(weights: np.ndarray, x: np.ndarray, y: np.ndarray, images: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weights [G, K, N] that map the inputs `x` to `y` best, the ridge of each group [G], and the covariance of `x`
    [G, K, K]; all float64.

    The weights are weights + (H + ridge * D * I)^-1 E[x~ r~], with r = y - x weights, H = E[x~ x~^T] and D the mean of H's
    diagonal; ~ subtracts the mean over the samples, which the bias compensates. The ridge of a group, out of RIDGES and
    UNCHANGED, is the largest whose cross-validated squared error is within 1% of the least: one half of the images is fitted,
    including a bias, and the other half predicted, and vice versa. With a single image all is UNCHANGED. The weight of an input
    that is constant does not change.

    Args:
      weights: float64 [G, K, N], G maps of K inputs to N outputs.
      x: float32 [G, S, K], sampled quantized inputs.
      y: float32 [G, S, N], the results of the float layer at the same places, without its bias.
      images: integers [S], the image of each sample. Sorted by number, the images are divided into two halves.

    Raises:
      ValueError: there is no sample, or a weight, a sample or the square of one of `x` is not finite.
    """
    groups = len(weights)
    with np.errstate(over='ignore', invalid='ignore'):
        residual = y - matmul(x, weights.astype(np.float32))
    distinct = np.unique(images)
    if len(distinct) < 2:
        return weights.copy(), np.full(groups, UNCHANGED), moments.moments(x, residual).xx
    in_first = images < distinct[len(distinct) // 2]
    first, second = (moments.moments(x[:, half], residual[:, half]) for half in (in_first, ~in_first))
    ridge = _cross_validated_ridge(*map(_some_outputs, (first, second)))
    both = moments.pooled(first, second)
    changed = ridge < UNCHANGED
    refitted = weights.copy()
    refitted[changed] += _solve(both.xx[changed], both.xy[changed], ridge[changed])
    return refitted, ridge, both.xx


def _some_outputs(found: moments.Moments) -> moments.Moments:
    """The Moments of evenly spaced outputs, which suffice to choose the ridge."""
    step = max(1, found.xy.shape[2] // _OUTPUTS)
    return found._replace(mean_y=found.mean_y[:, ::step], xy=found.xy[:, :, ::step], yy=found.yy[:, ::step])


def _cross_validated_ridge(first: moments.Moments, second: moments.Moments) -> np.ndarray:
    """The ridge of each group, [G]. Tries them from the largest to the smallest until the error rises in all groups."""
    ridges: List[float] = []
    errors: List[np.ndarray] = []
    for ridge in (UNCHANGED,) + RIDGES:
        ridges.append(ridge)
        errors.append(second.samples * _prediction_error(_change(first, ridge), first, second) +
                      first.samples * _prediction_error(_change(second, ridge), second, first))
        if (errors[-1] > _NEAR_TIE * np.min(errors, axis=0)).all():
            break
    good = np.array(errors) <= _NEAR_TIE * np.min(errors, axis=0)
    return np.array(ridges)[np.argmax(good, axis=0)]


def _change(half: moments.Moments, ridge: float) -> np.ndarray:
    """The change of the weights [G, K, N] that is fitted with one ridge for all groups."""
    if ridge == UNCHANGED:
        return np.zeros_like(half.xy)
    return _solve(half.xx, half.xy, np.full(len(half.xx), ridge))


def _prediction_error(change: np.ndarray, fitted: moments.Moments, unseen: moments.Moments) -> np.ndarray:
    """The mean squared error [G] on `unseen` with the `change` of weights, and the bias, that were fitted to `fitted`."""
    bias_error = (unseen.mean_y - fitted.mean_y) - np.einsum('gk,gkn->gn', unseen.mean_x - fitted.mean_x, change)
    explained = np.einsum('gkn,gkn->g', change, 2 * unseen.xy - matmul(unseen.xx, change))
    return np.maximum(unseen.yy.sum(axis=1) - explained, 0) + np.square(bias_error).sum(axis=1)


def _solve(xx: np.ndarray, xy: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """(xx + ridge * D * I)^-1 xy, [G, K, N]; `ridge` is [G]."""
    variance = moments.mean_variance(xx)
    penalty = ridge * np.where(variance > 0, variance, 1)
    penalised = xx.copy()
    np.einsum('gkk->gk', penalised)[:] += penalty[:, None]
    return solve(penalised, xy)
