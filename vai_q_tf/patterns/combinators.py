"""Patterns of ops, put together from small parts and matched against the tensors of a GraphView, from result to inputs.

    scaled = op('Mul', anything('x'), op('Const', name='factor'), any_order=True)
    match = find(view, 'net/mul', scaled)
    match['x'], match['factor'], match.nodes

A pattern is a function (view, tensor, match) that yields every extended match, so alternatives and operand orders are
tried by backtracking. Identity nodes before an op are looked through.
"""
import itertools
from types import MappingProxyType

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.traits import IDENTITY_OPS
from vai_q_tf.graph.view import node_name

# How far a constant may be from the number that a pattern has, relatively: as far as half precision and few digits take it.
_TOLERANCE = 1e-3
_MOST_ELEMENTS = 2**16


class Match:
    """What matched: named tensors and the nodes of the ops of the pattern. Immutable."""

    def __init__(self, tensors=(), nodes=()):
        self.tensors = MappingProxyType(dict(tensors))
        self.nodes = tuple(nodes)

    def __getitem__(self, name):
        return self.tensors[name]

    def get(self, name, default=''):
        """The tensor called `name`, `default` where that part of the pattern did not take part."""
        return self.tensors.get(name, default)

    def bind(self, tensor, name=None, nodes=()):
        """This match with one more named tensor and the nodes."""
        tensors = dict(self.tensors)
        if name is not None:
            tensors[name] = tensor
        return Match(tensors, self.nodes + tuple(nodes))


def find(view, tensor, pattern):
    """The first match of the pattern with `tensor` as its result, or None."""
    return next(pattern(view, tensor, Match()), None)


def anything(name=None, where=None):
    """Any tensor, called `name` in the match, for which `where(view, tensor)` holds."""
    def pattern(view, tensor, match):
        if where is None or where(view, tensor):
            yield match.bind(tensor, name)
    return pattern


def same(name):
    """The tensor that an earlier part of the pattern called `name`, Identity nodes aside."""
    def pattern(view, tensor, match):
        if view.skip_identity(tensor) == view.skip_identity(match[name]):
            yield match
    return pattern


def is_number(value, number):
    """Whether `value`, an ndarray or None, has elements, and all are `number`, or as near as 0.1 % of it."""
    return value is not None and value.size > 0 and bool(
        np.all(np.abs(value.astype(np.float64) - number) <= _TOLERANCE * abs(number)))


def number(expected=None, name=None):
    """A float32 Const, called `name`, all of whose elements are the number `expected`; without one, any of one element."""
    def pattern(view, tensor, match):
        size = _size(view, tensor)
        if size and (size == 1 if expected is None else is_number(small_constant(view, tensor), expected)):
            yield match.bind(tensor, name)
    return pattern


def small_constant(view, tensor):
    """The value of a float32 Const of 1 to 65536 elements as an ndarray, Identity nodes aside; None for other tensors, and for
    an unknown value."""
    return view.value(view.skip_identity(tensor)) if 1 <= _size(view, tensor) <= _MOST_ELEMENTS else None


def _size(view, tensor):
    """How many elements a float32 Const has, Identity nodes aside; 0 for other tensors."""
    tensor = view.skip_identity(tensor)
    is_constant = view.op(tensor) == 'Const' and view.dtype(tensor) == tf.float32
    return int(np.prod(view.shape(tensor), dtype=np.int64)) if is_constant else 0


def op(types, *inputs, name=None, any_order=False):
    """An op of one of the types ('Add|AddV2') whose inputs match `inputs`; without `inputs` they are not looked at.

    With `any_order` the operands may come in every order. The result is called `name`.
    """
    types = frozenset(types.split('|'))

    def pattern(view, tensor, match):
        if types.isdisjoint(IDENTITY_OPS):
            tensor = view.skip_identity(tensor)
        if view.op(tensor) not in types:
            return
        match = match.bind(tensor, name, (node_name(tensor),))
        operands = view.inputs(tensor)
        if not inputs:
            yield match
        elif len(operands) == len(inputs):
            for order in itertools.permutations(operands) if any_order else (operands,):
                yield from _all(view, order, inputs, match)
    return pattern


def named(name, pattern):
    """`pattern`, whose result is called `name`."""
    def with_name(view, tensor, match):
        for extended in pattern(view, tensor, match):
            yield extended.bind(tensor, name)
    return with_name


def either(*patterns):
    """Any of the patterns, the first that fits first."""
    def pattern(view, tensor, match):
        for alternative in patterns:
            yield from alternative(view, tensor, match)
    return pattern


def optional(wrap, pattern):
    """`wrap(pattern)` or `pattern` itself."""
    return either(wrap(pattern), pattern)


def _all(view, tensors, patterns, match):
    if not patterns:
        yield match
        return
    for extended in patterns[0](view, tensors[0], match):
        yield from _all(view, tensors[1:], patterns[1:], extended)
