"""Differences of tensors: in blocks, at all positions, with values that are not finite."""
import numpy as np
import pytest

from vai_q_tf import fixed_point
from vai_q_tf.comparison import difference
from vai_q_tf.comparison.difference import Difference
from vai_q_tf.comparison.pairs import Pair


def result(a, b, positions, tolerance=0.0):
    """The TensorComparison of one batch; float sides have the position None."""
    bits = tuple(None if position is None else 8 for position in positions)
    found = Difference(Pair('x', ('x', 'x'), bits, positions, False), tolerance)
    found.add(0, *(np.asarray(values) for values in (a, b)))
    return found.result()


def test_blocks_add_up_to_the_whole(monkeypatch):
    a, b = np.random.RandomState(0).randint(-128, 128, (2, 5, 7, 3)).astype(np.int8)
    whole = result(a, b, (3, 3), 10)
    monkeypatch.setattr(difference, '_BLOCK', 4)
    assert result(a, b, (3, 3), 10) == whole
    steps = np.abs(a.astype(int) - b)
    assert whole.element == np.unravel_index(steps.argmax(), steps.shape)
    assert (whole.greatest, whole.mean, whole.differing) == (steps.max(), pytest.approx(steps.mean()), (steps > 10).mean())


@pytest.mark.parametrize('a, b, positions, greatest', [
    (1, 4, (2, 2), 3), (1, 3, (2, 0), 11), (1, 3, (0, 2), 0.25), (1.25, -2, (None, 1), 4.5), (1, 2.5, (1, None), 4),
    (0, 3, (fixed_point.POSITION_ZERO, 2), 3), (3, 0, (2, fixed_point.POSITION_ZERO), 3), (5, 3, (None, None), 2)])
def test_steps_are_those_of_a_if_it_has_a_position(a, b, positions, greatest):
    assert result(np.array([a]), np.array([b]), positions).greatest == greatest


def test_values_that_are_not_finite():
    for value in (np.nan, np.inf, -np.inf):
        for a, b, positions in (([value, 1.0], [1, 4], (None, 2)), ([1, 4], [value, 1.0], (2, None))):
            found = result(np.array(a), np.array(b), positions)
            assert (found.greatest, found.mean, found.differing, found.element) == (np.inf, np.inf, 0.5, (0,))


def test_shapes_that_differ_in_one_batch():
    found = Difference(Pair('x', ('x', 'x'), (8, 8), (3, 3), False), 0.0)
    for batch, sizes in enumerate(((2, 2), (2, 3), (2, 2))):
        found.add(batch, *(np.zeros(size, np.int8) for size in sizes))
    result = found.result()
    assert result.departs and result.greatest is None and (result.a_shape, result.b_shape) == ((2,), (2,))


def test_no_elements():
    empty = result(np.zeros([0, 3], np.int8), np.zeros([0, 3], np.int8), (1, 1))
    assert (empty.greatest, empty.mean, empty.differing, empty.departs) == (0, 0, 0, False)
