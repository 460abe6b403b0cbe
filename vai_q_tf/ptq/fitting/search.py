"""The search for the position of a constant by an error that takes long to compute."""

_HOPELESS = 2  # times the least error


def least_error(positions, error):
    """The position with the least `error`, a function; the first of equal ones.

    positions: from the one at which nothing is clipped to finer ones. The error falls with the step until values are clipped,
    and grows from there on, so positions after one of more than twice the least error are not tried.
    """
    best, least = positions[0], error(positions[0])
    for position in positions[1:]:
        found = error(position)
        if found > _HOPELESS * least:
            break
        if found < least:
            best, least = position, found
    return best
