"""The search for a position against that over all positions, and which positions it tries."""
import pytest

from vai_q_tf.ptq.fitting.search import least_error


def search(errors, first=0):
    """(position found, positions that were tried); errors: from position `first` on."""
    tried = []

    def error(position):
        tried.append(position)
        return errors[position - first]
    return least_error(range(first, first + len(errors)), error), tried


def test_the_least_of_errors_and_the_first_of_equal_ones():
    assert search([4, 1, 2, 2]) == (1, [0, 1, 2, 3])
    assert search([3, 3, 3]) == (0, [0, 1, 2])
    assert search([0, 0]) == (0, [0, 1])
    assert search([5], first=-7) == (-7, [-7])


def test_nothing_is_tried_after_an_error_of_more_than_twice_the_least():
    assert search([8, 2, 1, 2, 2.1, 0], first=-2) == (0, [-2, -1, 0, 1, 2])
    assert search([0, 1e-30, 0]) == (0, [0, 1])


def test_a_search_needs_a_position():
    with pytest.raises(IndexError):
        least_error([], len)
