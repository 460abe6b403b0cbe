"""Combinators for patterns of ops, matched against a GraphView from a result back to its inputs.

>>> import tensorflow.compat.v1 as tf
>>> with tf.Graph().as_default() as graph:
...     x = tf.placeholder(tf.float32, [None, 4], name='x')
...     y = tf.multiply(tf.constant(0.5, name='half'), tf.identity(x, name='copy'), name='y')
>>> view = GraphView(graph.as_graph_def())
>>> match = find(view, 'y', op('Mul', op('Placeholder', name='data'), number(0.5, name='factor'), any_order=True))
>>> match['data'], match['factor'], match.nodes
('x', 'half', ('y', 'x'))
>>> find(view, 'y', op('Mul', op('Relu'), anything(), any_order=True)) is None
True

A pattern is a function (view, tensor, match) that yields every extension of the match, so that alternatives and orders of
operands are tried by backtracking. Ops match upstream of any Identity nodes.
"""
import itertools
from types import MappingProxyType
from typing import Callable, Iterable, Iterator, Mapping, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.traits import IDENTITY_OPS
from vai_q_tf.graph.view import GraphView, node_name

# Relative difference at which a constant still counts as a number: constants may be rounded to half precision or a few digits.
_TOLERANCE = 1e-3
_MOST_ELEMENTS = 2**16

Pattern = Callable[[GraphView, str, 'Match'], Iterator['Match']]


class Match:
    """An immutable match.

    Attributes:
      tensors: {name: tensor} of the named parts of the pattern.
      nodes: the nodes that ops of the pattern matched.
    """

    def __init__(self, tensors: Mapping[str, str], nodes: Iterable[str]) -> None:
        self.tensors = MappingProxyType(dict(tensors))
        self.nodes = tuple(nodes)

    def __getitem__(self, name: str) -> str:
        return self.tensors[name]

    def get(self, name: str) -> str:
        """The tensor called `name`, '' if that part of the pattern was not matched."""
        return self.tensors.get(name, '')

    def bind(self, tensor: str, name: Optional[str] = None, nodes: Iterable[str] = ()) -> 'Match':
        """This match extended by `nodes` and, if `name` is given, by the tensor under that name."""
        tensors = dict(self.tensors)
        if name is not None:
            tensors[name] = tensor
        return Match(tensors, self.nodes + tuple(nodes))


def find(view: GraphView, tensor: str, pattern: Pattern) -> Optional[Match]:
    """The first match of the pattern with `tensor` as its result, or None."""
    return next(pattern(view, tensor, Match({}, ())), None)


def anything(name: Optional[str] = None, where: Optional[Callable[[GraphView, str], bool]] = None) -> Pattern:
    """Any tensor for which `where(view, tensor)` holds, called `name` in the match."""
    def pattern(view: GraphView, tensor: str, match: Match) -> Iterator[Match]:
        if where is None or where(view, tensor):
            yield match.bind(tensor, name)
    return pattern


def same(name: str) -> Pattern:
    """The tensor that an earlier part of the pattern called `name`, Identity nodes aside."""
    def pattern(view: GraphView, tensor: str, match: Match) -> Iterator[Match]:
        if view.skip_identity(tensor) == view.skip_identity(match[name]):
            yield match
    return pattern


def is_number(value: Optional[np.ndarray], number: float) -> bool:
    """Whether `value` has elements, all within 0.1 % of `number`.

    >>> is_number(np.float32([0.1667, 1 / 6]), 1 / 6), is_number(np.float32(0.167), 1 / 6), is_number(None, 1 / 6)
    (True, False, False)
    """
    return value is not None and value.size > 0 and bool(
        np.all(np.abs(value.astype(np.float64) - number) <= _TOLERANCE * abs(number)))


def number(expected: Optional[float] = None, name: Optional[str] = None) -> Pattern:
    """A float32 Const, called `name`, whose elements all are the number `expected`; None: any Const of one element."""
    def pattern(view: GraphView, tensor: str, match: Match) -> Iterator[Match]:
        size = _size(view, tensor)
        if size and (size == 1 if expected is None else is_number(small_constant(view, tensor), expected)):
            yield match.bind(tensor, name)
    return pattern


def small_constant(view: GraphView, tensor: str) -> Optional[np.ndarray]:
    """The value of a float32 Const of 1 to 65536 elements, Identity nodes aside; None if it is unknown or for other tensors."""
    return view.value(view.skip_identity(tensor)) if 1 <= _size(view, tensor) <= _MOST_ELEMENTS else None


def _size(view: GraphView, tensor: str) -> int:
    """The number of elements of a float32 Const, Identity nodes aside; 0 for other tensors."""
    tensor = view.skip_identity(tensor)
    is_constant = view.op(tensor) == 'Const' and view.dtype(tensor) == tf.float32
    return int(np.prod(view.shape(tensor), dtype=np.int64)) if is_constant else 0


def op(types: str, *inputs: Pattern, name: Optional[str] = None, any_order: bool = False) -> Pattern:
    """An op of one of the types ('Add|AddV2') whose inputs match `inputs`, called `name`; without `inputs`, any inputs.

    any_order: also tries every other order of the operands.
    """
    op_types = frozenset(types.split('|'))

    def pattern(view: GraphView, tensor: str, match: Match) -> Iterator[Match]:
        if op_types.isdisjoint(IDENTITY_OPS):
            tensor = view.skip_identity(tensor)
        if view.op(tensor) not in op_types:
            return
        match = match.bind(tensor, name, (node_name(tensor),))
        operands = view.inputs(tensor)
        if not inputs:
            yield match
        elif len(operands) == len(inputs):
            for order in itertools.permutations(operands) if any_order else (operands,):
                yield from _all(view, order, inputs, match)
    return pattern


def named(name: str, pattern: Pattern) -> Pattern:
    """`pattern`, whose result is called `name`."""
    def with_name(view: GraphView, tensor: str, match: Match) -> Iterator[Match]:
        for extended in pattern(view, tensor, match):
            yield extended.bind(tensor, name)
    return with_name


def either(*patterns: Pattern) -> Pattern:
    """Any of the patterns; earlier ones have priority."""
    def pattern(view: GraphView, tensor: str, match: Match) -> Iterator[Match]:
        for alternative in patterns:
            yield from alternative(view, tensor, match)
    return pattern


def optional(wrap: Callable[[Pattern], Pattern], pattern: Pattern) -> Pattern:
    """`wrap(pattern)` or `pattern` itself."""
    return either(wrap(pattern), pattern)


def _all(view: GraphView, tensors: Sequence[str], patterns: Sequence[Pattern], match: Match) -> Iterator[Match]:
    if not patterns:
        yield match
        return
    for extended in patterns[0](view, tensors[0], match):
        yield from _all(view, tensors[1:], patterns[1:], extended)
