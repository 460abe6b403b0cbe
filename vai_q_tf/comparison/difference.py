"""How far the values of a tensor are apart, batch after batch, in a bounded memory."""
import numpy as np

from vai_q_tf import fixed_point
from vai_q_tf.comparison.results import TensorComparison

_BLOCK = 1 << 20  # elements that are compared at once


class Difference:
    """Adds up how far the tensors of a Pair are apart, batch after batch."""

    def __init__(self, pair, tolerance):
        self._pair, self._tolerance = pair, tolerance
        known = [position for position in pair.positions if position not in (None, fixed_point.POSITION_ZERO)]
        self._position = known[0] if known else 0  # of the steps
        self._shapes, self._count, self._sum, self._differing, self._greatest, self._where = (), 0, 0., 0, 0., None

    @property
    def departs(self):
        """Whether anything is farther apart than the tolerance."""
        return self._greatest is None or self._greatest > self._tolerance

    def add(self, batch, a, b):
        self._shapes = self._shapes or (a.shape, b.shape)
        if a.shape != b.shape:
            self._greatest = None
        if self._greatest is None:
            return
        for start in range(0, a.size, _BLOCK):
            self._add_block(batch, a.shape, start, *(values.ravel()[start:start + _BLOCK] for values in (a, b)))

    def _add_block(self, batch, shape, start, *values):
        a, b = (self._in_steps(*both) for both in zip(values, self._pair.positions))
        steps = np.abs(a - b)
        steps[np.isnan(steps)] = np.inf
        place = int(steps.argmax())
        if steps[place] > self._greatest:
            self._greatest = float(steps[place])
            index = tuple(int(number) for number in np.unravel_index(start + place, shape))
            self._where = (batch, index) + tuple(float(np.ldexp(value, -self._position)) for value in (a[place], b[place]))
        self._count += steps.size
        self._sum += float(steps.sum())
        self._differing += int((steps > self._tolerance).sum())

    def _in_steps(self, values, position):
        """The values in steps, exactly: integers of a position, or floats and integers without one."""
        return np.ldexp(values.astype(np.float64), self._position - (position or 0))

    def result(self):
        """The TensorComparison."""
        pair = self._pair
        start = TensorComparison(pair.name, pair.bits[0], pair.positions[0], pair.bits[1], pair.positions[1],
                                 *(tuple(map(int, shape)) for shape in self._shapes), self.departs)
        if self._greatest is None:
            return start
        count = max(self._count, 1)
        start = start._replace(greatest=self._greatest, mean=self._sum / count, differing=self._differing / count)
        return start._replace(**dict(zip(('batch', 'element', 'a_value', 'b_value'), self._where))) if self._where else start
