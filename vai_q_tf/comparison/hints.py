"""Hints at the cause of a difference, if the values leave no doubt about it."""
from typing import List, Optional, Sequence

import numpy as np

from vai_q_tf.comparison.difference import Difference
from vai_q_tf.comparison.pairs import Pair
from vai_q_tf.comparison.sides import DumpSide, Side

_BLOCK = 1 << 20  # the elements that are looked at for a factor
_POWERS = tuple(power for power in range(-7, 8) if power)
_SIZE = 4  # steps: the least |A| and |B| that tell one factor from another, and the least difference that is large
_NEARLY_ALL, _ENOUGH = 0.98, 8  # share, and number of elements
_MANY = 16  # elements at other places
_LARGE_SHARE = 0.01  # of the elements


def hints_on_values(difference: Difference, pair: Pair, a: np.ndarray, b: np.ndarray) -> List[str]:
    """Whether B is A times a power of two, or has the same values in another order; a, b: as `Difference.add` takes them."""
    if a.shape != b.shape:
        return []
    have_one_position = len(set(pair.positions)) == 1
    power = _power(*(difference.in_steps(values.ravel()[:_BLOCK], side) for side, values in enumerate((a, b))))
    if power is not None:
        end = ': the positions of the two sides seem to differ by {}'.format(abs(power)) if have_one_position else ''
        return ['B is A times {} in {!r}{}.'.format(2**power if power > 0 else '1/{}'.format(2**-power), pair.name, end)]
    if have_one_position and _are_reordered(a, b):
        return ['B has the values of A in another order in {!r}{}.'.format(
            pair.name, ', as between NHWC and NCHW' if _are_transposed(a, b) or _are_transposed(b, a) else '')]
    return []


def _power(a: np.ndarray, b: np.ndarray) -> Optional[int]:
    """The power of two that nearly all values of A are multiplied by in B, apart from rounding and saturation; else None."""
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return None
    return next((power for power in _POWERS if _is_scaled(a, b, power)), None)


def _is_scaled(a: np.ndarray, b: np.ndarray, power: int) -> bool:
    low, high = b.min(), b.max()
    scaled, most = a * 2.0**power, 2.0**(power - 1) if power > 0 else 0.99  # A is rounded, or B is, perhaps down
    fits = (np.abs(scaled - b) <= most) | ((b == high) & (scaled > high)) | ((b == low) & (scaled < low))
    significant = np.minimum(np.abs(a), np.abs(scaled)) >= _SIZE
    inside = significant & (low < b) & (b < high)
    return bool((fits & inside).sum() >= _ENOUGH and fits[significant].mean() >= _NEARLY_ALL and fits.mean() >= _NEARLY_ALL)


def _are_reordered(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a != b).sum() >= _MANY and np.array_equal(np.sort(a, axis=None), np.sort(b, axis=None)))


def _are_transposed(a: np.ndarray, b: np.ndarray) -> bool:
    return a.ndim == 4 and any(np.array_equal(a.transpose(order).ravel(), b.ravel()) for order in ((0, 3, 1, 2), (0, 2, 3, 1)))


def hints_on_order(sides: Sequence[Side], pairs: Sequence[Pair], differences: Sequence[Difference]) -> List[str]:
    """Whether all activations after the first tensor that differs much are equal again, although a dump is involved."""
    first = next((place for place, difference in enumerate(differences) if difference.departs), None)
    if first is None or pairs[first].is_constant or not any(isinstance(side, DumpSide) for side in sides):
        return []
    later = [difference for pair, difference in zip(pairs[first + 1:], differences[first + 1:]) if not pair.is_constant]
    result = differences[first].result()
    is_large = (result.greatest or 0) >= _SIZE and (result.differing or 0) >= _LARGE_SHARE  # the next op does not hide it
    if not later or not is_large or any(difference.departs for difference in later):
        return []
    return ['{} after {!r} {}: if computed from it, its file is wrong, not the computation.'.format(
        'The activation' if len(later) == 1 else 'All {} activations'.format(len(later)), pairs[first].name,
        'is equal' if len(later) == 1 else 'are equal')]
