"""The search for the position of a constant by an error that is expensive to compute."""
from typing import Callable, Sequence

_HOPELESS = 2  # times the least error


def least_error(positions: Sequence[int], error: Callable[[int], float]) -> int:
    """The position with the least error, the first of equal ones.

    positions: from one at which nothing is clipped to finer ones. The error falls with the step until values are clipped, and
    rises from there on, so positions after one with more than twice the least error are not tried.
    """
    best, least = positions[0], error(positions[0])
    for position in positions[1:]:
        found = error(position)
        if found > _HOPELESS * least:
            break
        if found < least:
            best, least = position, found
    return best
