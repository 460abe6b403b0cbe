"""Sentences on the tensors that only one side of a comparison has."""
from typing import List, Optional, Sequence, Tuple

from vai_q_tf.comparison.pairs import Pairs, in_order
from vai_q_tf.comparison.sides import Side
from vai_q_tf.wording import some_of

_NAMED = 5
_LETTERS = (('A', 'B'), ('B', 'A'))  # of a side, and of the other one


def activations(side: Side) -> List[str]:
    """The names of the tensors of a side that depend on data, in its order."""
    return [name for name, tensor in side.tensors.items() if not tensor.is_constant]


def missing_output(sides: Sequence[Side], pairs: Pairs) -> Optional[str]:
    """The last activation of a side if the other side does not have it; None if both outputs were compared."""
    for side, only in zip(sides, pairs[1:]):
        last = activations(side)[-1:] if side.has_names else []
        if last and last[0] in only:
            return last[0]
    return None


def notes_on_activations(sides: Sequence[Side], pairs: Pairs) -> List[str]:
    """Which activations of a side with names the other side lacks."""
    return [_lacking(letters, 'activations', [name for name in activations(side) if name in only], len(activations(side)))
            for side, only, letters in zip(sides, pairs[1:], _LETTERS)
            if side.has_names and not set(only).isdisjoint(activations(side))]


def notes_on_others(sides: Sequence[Side], pairs: Pairs) -> List[str]:
    """Which constants a side lacks, and which files belong to no tensor of the other side."""
    notes, is_float = [], any(side.is_float for side in sides)
    for side, only, letters in zip(sides, pairs[1:], _LETTERS):
        constants = [name for name, tensor in side.tensors.items() if tensor.is_constant]
        missing = [name for name in constants if name in only]
        if not side.has_names and only:
            notes.append('Only in {}: {}'.format(letters[0], some_of(only, _NAMED)))
        elif side.has_names and missing and not is_float:  # a float side has weights, which are not compared
            notes.append(_lacking(letters, 'weights and biases', missing, len(constants)))
    return notes


def _lacking(letters: Tuple[str, str], kind: str, missing: Sequence[str], count: int) -> str:
    owner, other = letters
    if len(missing) == count:
        return '{} has no {}; {} has {}.'.format(other, kind, owner, count)
    return '{} lacks {} of the {} {} of {}: {}'.format(other, len(missing), count, kind, owner, some_of(missing, _NAMED))


def notes_on_the_cause(sides: Sequence[Side], pairs: Pairs, first: str, is_constant: bool) -> List[str]:
    """That the cause may be earlier, if activations right before the first tensor that differs were not compared."""
    leading = in_order(*sides)[0]
    if is_constant or not leading.has_names:
        return []
    compared = {pair.name for pair in pairs.pairs}
    names = activations(leading)
    before = names[:names.index(first)]
    known = [name for name in before if name in compared][-1:]
    missing = before[before.index(known[0]) + 1:] if known else before
    if not missing:
        return []
    start = 'Nothing between {!r} and {!r}'.format(known[0], first) if known else 'Nothing before {!r}'.format(first)
    return ['{} was compared, so the cause may be in {}.'.format(start, some_of(missing, _NAMED, ' or '))]
