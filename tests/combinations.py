"""Parameters of tests that have several: `make test-slow` tries all combinations, `make test` a few of them."""
import itertools

import pytest


def each_value_once(*axes):
    """The pytest params of a product. Those that are not slow have each value, and are as few as that allows."""
    count = max(map(len, axes))
    return _params(axes, {tuple(number % len(axis) for axis in axes) for number in range(count)})


def each_pair_once(first, second, third):
    """The pytest params of the product of three. Those that are not slow have each pair of `first` and `second` once.

    Each value of `third` is among them, and each pair of it with a value of another where it is no longer than they are.
    """
    usual = {(row, column, (row + column) % len(third)) for row in range(len(first)) for column in range(len(second))}
    return _params((first, second, third), usual)


def _params(axes, usual):
    for indices in itertools.product(*(range(len(axis)) for axis in axes)):
        values = [list(axis)[index] for axis, index in zip(axes, indices)]
        yield pytest.param(*values, marks=[] if indices in usual else pytest.mark.slow)
