"""Finds the tensors that both sides of a comparison have, and puts their values in one shape."""
import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from vai_q_tf import errors
from vai_q_tf.comparison.results import shape_text
from vai_q_tf.comparison.sides import DumpSide, ModelSide, Side, source_in

_NUMBERED = re.compile(r'\d+\.')  # the start of the names that the runtime of a board writes
_TYPES = {2: 'int16', 4: 'int32 or float32'}  # {bytes of a value: types}


class Pair(NamedTuple):
    """A tensor of both sides. names: its name in each. bits, positions: of each, None for float."""
    name: str
    names: Tuple[str, str]
    bits: Tuple[Optional[int], Optional[int]]
    positions: Tuple[Optional[int], Optional[int]]
    is_constant: bool


class _Half(NamedTuple):
    """One side of a Pair."""
    name: str
    bits: Optional[int]
    position: Optional[int]


class Pairs(NamedTuple):
    """Pairs in the order of the graph, and the names of tensors that only A, or only B, has."""
    pairs: List[Pair]
    only_a: Tuple[str, ...]
    only_b: Tuple[str, ...]


def paired(a: Side, b: Side) -> Pairs:
    """The Pairs of two sides; a dump without positions gets those of the other side.

    Raises:
      QuantizeError: NOT_QUANTIZED for two float models; INVALID_INPUT without positions or a common tensor.
    """
    if a.is_float and b.is_float:
        raise errors.QuantizeError(
            errors.NOT_QUANTIZED, 'Not quantized', 'Neither {!r} nor {!r} has a FixNeuron; differences are counted in steps, '
            'so one of them has to be quantized.'.format(a.name, b.name))
    leading, other = in_order(a, b)
    if other.is_float and not leading.has_names:
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'No positions', 'The dump {!r} has no dump_results.json, so its positions are not known; '
            'compare it with the quantized model.'.format(leading.name))
    partners = _partners(leading, other)
    if not partners:
        raise _nothing_in_common(leading, other)
    pairs = [_pair(leading, name, other, partner, leading is b) for name, partner in partners.items()]
    taken = set(partners.values())
    only = (tuple(name for name in leading.tensors if name not in partners),
            () if other.is_float else tuple(name for name in other.tensors if name not in taken))
    return Pairs(pairs, *(only if leading is a else only[::-1]))


def in_order(a: Side, b: Side) -> List[Side]:
    """The side whose order the Pairs have, then the other one: a quantized model, else an index, else names."""
    return sorted((a, b), key=lambda side: (side.is_float, isinstance(side, DumpSide), not side.has_names))


def _partners(leading: Side, other: Side) -> Dict[str, str]:
    """{tensor of `leading`: the same tensor of `other`}, for those that it has."""
    if isinstance(other, ModelSide) and other.is_float:
        found = {name: source_in(other, tensor) for name, tensor in leading.tensors.items()}
    elif leading.has_names and other.has_names:
        found = {name: name if name in other.tensors else '' for name in leading.tensors}
    else:
        by_stem = {tensor.stem: name for name, tensor in other.tensors.items()}
        found = {name: by_stem.get(tensor.stem, '') for name, tensor in leading.tensors.items()}
    return {name: partner for name, partner in found.items() if partner}


def _pair(leading: Side, name: str, other: Side, partner: str, swapped: bool) -> Pair:
    tensor = leading.tensors[name]
    if isinstance(other, DumpSide):
        other.complete(partner, tensor.bits, tensor.position)
    match = None if other.is_float else other.tensors[partner]
    a, b = _Half(name, tensor.bits, tensor.position), _Half(partner, match and match.bits, match and match.position)
    if swapped:
        a, b = b, a
    return Pair(name, (a.name, b.name), (a.bits, b.bits), (a.position, b.position),
                tensor.is_constant or match is not None and match.is_constant)


def _nothing_in_common(leading: Side, other: Side) -> errors.QuantizeError:
    name = next((name for name, tensor in leading.tensors.items() if not tensor.is_constant), min(leading.tensors))
    others = sorted(other.floats if isinstance(other, ModelSide) and other.is_float else other.tensors)
    return errors.QuantizeError(
        errors.INVALID_INPUT, 'Nothing in common', 'No tensor is in both: {!r} has {!r}, {!r} has {!r}. {}.'.format(
            leading.name, name, other.name, others[0] if others else 'nothing',
            'They are of different networks, or nodes were renamed in one of them' if other.has_names else
            _names_of_files(leading.tensors[name].stem, others)))


def _names_of_files(stem: str, others: Sequence[str]) -> str:
    found = 'Files are found by the names of FixNeurons with _ for /, such as {!r}'.format(stem + '.bin')
    numbered = next(filter(_NUMBERED.match, others), '')
    return found + ('. Remove the number of the image from names such as {!r}'.format(numbered + '.bin') if numbered else '')


def in_shape(pair: Pair, a: np.ndarray, b: np.ndarray, sides: Sequence[Side],
             batch: int) -> Tuple[np.ndarray, np.ndarray]:
    """The values of A and B in their shapes; a dump without shapes has those of the other side.

    Raises:
      QuantizeError: INVALID_INPUT for a file of another size, and for a dump with another batch.
    """
    a_side, b_side = sides
    if isinstance(a_side, DumpSide) and not a_side.has_names and b_side.has_names:
        a = _reshaped(a, b.shape, pair, a_side.path(pair.names[0], batch), b_side)
    if isinstance(b_side, DumpSide) and not b_side.has_names:
        b = _reshaped(b, a.shape, pair, b_side.path(pair.names[1], batch), a_side)
    has_dump = any(isinstance(side, DumpSide) for side in sides)
    if has_dump and not pair.is_constant and a.ndim == b.ndim and a.shape[1:] == b.shape[1:] and a.shape != b.shape:
        raise _other_batches(pair, repr(a_side.name), a.shape[0], b_side, b.shape[0])
    return a, b


def _reshaped(values: np.ndarray, shape: Tuple[int, ...], pair: Pair, path: str, other: Side) -> np.ndarray:
    """The values of the file `path` in the shape that they have in the side `other`."""
    if values.size == np.prod(shape, dtype=np.int64):
        return values.reshape(shape)
    one = int(np.prod(shape[1:], dtype=np.int64))
    if len(shape) > 1 and one and values.size and values.size % one == 0 and not pair.is_constant:
        raise _other_batches(pair, 'the file {!r}'.format(path), values.size // one, other, shape[0],
                             _other_type(values, shape, path))
    raise errors.QuantizeError(
        errors.INVALID_INPUT, 'Wrong size', '{!r} has {} values; {!r} in {!r} has {}, in the shape {}. The file is cut off, or '
        'of another network.{}'.format(path, values.size, pair.name, other.name, int(np.prod(shape)), shape_text(shape),
                               _other_type(values, shape, path)))


def _other_type(values: np.ndarray, shape: Tuple[int, ...], path: str) -> str:
    """A sentence on the type that a binary file of that size may have, with a space before it; '' if it has none."""
    types = _TYPES.get(values.dtype.itemsize * values.size / max(int(np.prod(shape, dtype=np.int64)), 1))
    if not types or not path.endswith('.bin') or values.size <= np.prod(shape, dtype=np.int64):
        return ''
    name = values.dtype.newbyteorder('=').name
    return ' Or the file has values of type {0}: it is read as {1}, the type of this tensor; convert it to {1}.'.format(
        types, name)


def _other_batches(pair: Pair, what: str, size: int, other: Side, other_size: int, more: str = '') -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.INVALID_INPUT, 'Different batches', 'For {!r} {} has a batch of {}, {!r} one of {}. Compare dumps of the same '
        'batches, and give input_fn the data that a dump was made from.{}'.format(
            pair.name, what, size, other.name, other_size, more))
