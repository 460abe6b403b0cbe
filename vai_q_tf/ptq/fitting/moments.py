"""Centred second moments of the samples of a layer.

A layer is G independent linear maps of K inputs: one map for a convolution (K = taps times channels) or a matmul, one per
channel for a depthwise convolution. Its samples are an array [G, S, K].
"""
from typing import NamedTuple

import numpy as np

from vai_q_tf.ptq.fitting.linear_algebra import matmul

_CHUNK = 2048  # samples that are summed in float32; chunks are summed in float64


class Moments(NamedTuple):
    """Moments of samples x and y, float64.

    samples: how many. mean_x [G, K], mean_y [G, N]: means. xx [G, K, K], xy [G, K, N]: mean products of centred values.
    yy [G, N]: mean squares of centred y.
    """
    samples: int
    mean_x: np.ndarray
    mean_y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray


def covariance(x: np.ndarray) -> np.ndarray:
    """E[x~ x~^T] with x~ = x - E[x], float64 [G, K, K], of float32 samples `x` [G, S, K]; exactly 0 for a constant input.

    Raises:
      ValueError: there is no sample, or a sample or its square is not finite.
    """
    return moments(x, x[:, :, :0]).xx


def moments(x: np.ndarray, y: np.ndarray) -> Moments:
    """The Moments of float32 samples `x` [G, S, K] and `y` [G, S, N].

    Raises:
      ValueError: there is no sample, or a sample or the square of one of `x` is not finite.
    """
    groups, count, inputs = x.shape
    if not count:
        raise ValueError('There are no samples.')
    with np.errstate(over='ignore', invalid='ignore'):
        x_mean, y_mean = _mean(x), _mean(y)
        x_origin, y_origin = x_mean.astype(np.float32), y_mean.astype(np.float32)
        xx = np.zeros((groups, inputs, inputs))
        xy = np.zeros((groups, inputs, y.shape[2]))
        yy = np.zeros((groups, y.shape[2]))
        for start in range(0, count, _CHUNK):
            chunk = slice(start, start + _CHUNK)
            u, v = x[:, chunk] - x_origin, y[:, chunk] - y_origin
            xx += matmul(u, u, transpose_a=True)
            xy += matmul(u, v, transpose_a=True)
            yy += np.square(v, dtype=np.float64).sum(axis=1)
    if not all(np.isfinite(total).all() for total in (xx, xy, yy)):
        raise ValueError('A sample or its square is not finite.')
    return Moments(count, x_mean[:, 0], y_mean[:, 0], xx / count, xy / count, yy / count)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean [G, 1, K] over the samples of [G, S, K], float64; exactly its value for a constant."""
    origin, total = values[:, :1], np.zeros((len(values), 1, values.shape[2]))
    for start in range(0, values.shape[1], _CHUNK):
        differences = values[:, start:start + _CHUNK] - origin
        total += np.matmul(np.ones((1, differences.shape[1]), np.float32), differences)  # twice as fast as a sum
    return origin + total / values.shape[1]


def pooled(a: Moments, b: Moments) -> Moments:
    """The Moments of all samples of `a` and `b`."""
    samples = a.samples + b.samples
    of_a, of_b = a.samples / samples, b.samples / samples
    x, y = b.mean_x - a.mean_x, b.mean_y - a.mean_y
    between = of_a * of_b
    return Moments(samples, of_a * a.mean_x + of_b * b.mean_x, of_a * a.mean_y + of_b * b.mean_y,
                   of_a * a.xx + of_b * b.xx + between * x[:, :, None] * x[:, None],
                   of_a * a.xy + of_b * b.xy + between * x[:, :, None] * y[:, None],
                   of_a * a.yy + of_b * b.yy + between * np.square(y))


def mean_variance(xx: np.ndarray) -> np.ndarray:
    """The mean variance of the inputs, [G], from covariances [G, K, K]."""
    return np.einsum('gkk->gk', xx).mean(axis=1)
