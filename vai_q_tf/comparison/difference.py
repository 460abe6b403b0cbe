"""Measures how far the values of a tensor are apart, batch after batch, in bounded memory."""
from typing import NamedTuple, Optional, Tuple

import numpy as np

from vai_q_tf import fixed_point
from vai_q_tf.comparison.pairs import Pair
from vai_q_tf.comparison.results import TensorComparison

_BLOCK = 1 << 20  # elements that are compared at a time
_Shape = Tuple[int, ...]


class _Place(NamedTuple):
    """The place of the greatest difference and its values."""
    batch: int
    element: Tuple[int, ...]
    a_value: float
    b_value: float


class Difference:
    """Accumulates how far the tensors of a Pair are apart."""

    def __init__(self, pair: Pair, tolerance: float) -> None:
        self._pair, self._tolerance = pair, tolerance
        known = [position for position in pair.positions if position is not None and position != fixed_point.POSITION_ZERO]
        self._position = known[0] if known else 0  # of the steps
        self._shapes: Optional[Tuple[_Shape, _Shape]] = None
        self._have_one_shape, self._count, self._sum, self._differing, self._greatest = True, 0, 0., 0, 0.
        self._place: Optional[_Place] = None

    @property
    def departs(self) -> bool:
        """Whether any elements are farther apart than the tolerance, or shapes differ."""
        return not self._have_one_shape or self._greatest > self._tolerance

    def add(self, batch: int, a: np.ndarray, b: np.ndarray) -> None:
        """Adds a batch: integers of a side with a position, else values."""
        self._shapes = self._shapes or (a.shape, b.shape)
        self._have_one_shape = self._have_one_shape and a.shape == b.shape
        if self._have_one_shape:
            for start in range(0, a.size, _BLOCK):
                self._add_block(batch, a.shape, start, *(values.ravel()[start:start + _BLOCK] for values in (a, b)))

    def _add_block(self, batch: int, shape: _Shape, start: int, *values: np.ndarray) -> None:
        a, b = (self.in_steps(value, side) for side, value in enumerate(values))
        steps = np.abs(a - b)
        steps[np.isnan(steps)] = np.inf
        place = int(steps.argmax())
        if steps[place] > self._greatest:
            self._greatest = float(steps[place])
            element = tuple(int(number) for number in np.unravel_index(start + place, shape))
            self._place = _Place(batch, element, *(float(np.ldexp(value, -self._position)) for value in (a[place], b[place])))
        self._count += steps.size
        self._sum += float(steps.sum())
        self._differing += int((steps > self._tolerance).sum())

    def in_steps(self, values: np.ndarray, side: int) -> np.ndarray:
        """The values of side 0 or 1 in steps, exactly: integers with a position, or floats and integers without one."""
        position = self._pair.positions[side]
        return np.ldexp(values.astype(np.float64), self._position - (position or 0))

    def result(self) -> TensorComparison:
        """The TensorComparison of all batches."""
        pair, count = self._pair, max(self._count, 1)
        a_shape, b_shape = self._shapes or ((), ())
        result = TensorComparison(pair.name, pair.bits[0], pair.positions[0], pair.bits[1], pair.positions[1], a_shape, b_shape,
                                  self.departs)
        if not self._have_one_shape:
            return result
        result = result._replace(greatest=self._greatest, mean=self._sum / count, differing=self._differing / count)
        return result._replace(**self._place._asdict()) if self._place else result
