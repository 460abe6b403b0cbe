"""The scales of weights in NumPy: samples, and the definition."""
import numpy as np


def sample(size, share_of_zeros):
    """float32 [size] twice: scales, a share of them zeros, and their replacements if all are."""
    random = np.random.RandomState(size)
    scale = random.standard_t(2, size) * (random.uniform(size=size) >= share_of_zeros)
    return scale.astype(np.float32), random.uniform(1, 2, size).astype(np.float32)


def nonzero(scale, typical):
    """`scale` with its largest magnitude in place of zeros; `typical` if all are zeros."""
    magnitude = np.abs(scale)
    largest = magnitude.max(initial=0)
    zero = magnitude < np.float32(1e-20)
    return np.where(zero, typical if zero.all() else largest, scale).astype(np.float32)
