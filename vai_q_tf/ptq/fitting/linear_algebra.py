"""Products and linear equations of large matrices, by TensorFlow.

NumPy 1.18, the last one that TensorFlow 1.15 accepts, takes two to five times as long on processors that are newer than it.
"""
import functools
from typing import Callable, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.sessions import cpu_only

_LARGE = 2**20  # multiplications, below which a session takes longer to start than NumPy to compute


def matmul(a: np.ndarray, b: np.ndarray, transpose_a: bool = False, transpose_b: bool = False) -> np.ndarray:
    """The products [G, M, N] of matrices [G, M, K] and [G, K, N], each optionally transposed; both float32, or both float64."""
    if len(a) == 1 and a.size * b.shape[1 if transpose_b else 2] >= _LARGE:
        return _by_tensorflow(tf.matmul, a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    return np.matmul(np.swapaxes(a, 1, 2) if transpose_a else a, np.swapaxes(b, 1, 2) if transpose_b else b)


def solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a^-1 b, [G, K, N], of float64 a [G, K, K], whose inverses exist, and b [G, K, N]."""
    if len(a) == 1 and a.size * a.shape[1] >= _LARGE:
        return _by_tensorflow(tf.linalg.solve, a, b)
    return np.linalg.solve(a, b)


def _by_tensorflow(function: Callable[..., tf.Tensor], a: np.ndarray, b: np.ndarray, **options: bool) -> np.ndarray:
    session, inputs, output = _network(function, a.dtype, tuple(options.items()))
    return session.run(output, dict(zip(inputs, (a[0], b[0]))))[np.newaxis]


@functools.lru_cache(maxsize=None)
def _network(function: Callable[..., tf.Tensor], dtype: np.dtype, options: Tuple[Tuple[str, bool], ...]) -> Tuple[
        tf.Session, Tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A session, and in its graph two matrices and the function of them."""
    with tf.Graph().as_default() as graph:
        inputs = tf.placeholder(dtype, [None, None]), tf.placeholder(dtype, [None, None])
        output = function(*inputs, **dict(options))
    return tf.Session(graph=graph, config=cpu_only()), inputs, output
