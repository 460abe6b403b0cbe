"""Combinations of parameters: `make test-slow` runs all of them, `make test` a few."""
import itertools

import pytest


def each_value_once(*axes):
    """The pytest params of a product; as few as possible that contain each value are not slow."""
    count = max(map(len, axes))
    return _params(axes, {tuple(number % len(axis) for axis in axes) for number in range(count)})


def each_pair_once(first, second, third):
    """The pytest params of a product of three; those that are not slow have each pair of `first` and `second` once.

    They have each value of `third`, and, if `third` is no longer than the others, each of its pairs with a value of another.
    """
    usual = {(row, column, (row + column) % len(third)) for row in range(len(first)) for column in range(len(second))}
    return _params((first, second, third), usual)


def _params(axes, usual):
    for indices in itertools.product(*(range(len(axis)) for axis in axes)):
        values = [list(axis)[index] for axis, index in zip(axes, indices)]
        yield pytest.param(*values, marks=[] if indices in usual else pytest.mark.slow)
