"""Which tensor of one side is which of the other, and their values in one shape."""
from typing import NamedTuple, Optional, Tuple

import numpy as np

from vai_q_tf import errors
from vai_q_tf.comparison.results import shape_text
from vai_q_tf.comparison.sides import source_in


class Pair(NamedTuple):
    """A tensor of both sides. names: what each calls it. bits, positions: of each, None for float."""
    name: str
    names: Tuple[str, ...]
    bits: Tuple[Optional[int], ...]
    positions: Tuple[Optional[int], ...]
    is_constant: bool


def paired(a, b):
    """(Pairs in the order of the graph, (names that only A has, those that only B has))."""
    if a.is_float and b.is_float:
        raise errors.QuantizeError(
            errors.NOT_QUANTIZED, 'Not quantized', 'Neither {!r} nor {!r} has a FixNeuron; differences are told in steps, so '
            'one of them has to be quantized.'.format(a.name, b.name))
    # The order is that of a quantized model, else that of an index, else that of names.
    leading, other = sorted((a, b), key=lambda side: (side.is_float, side.is_dump, not side.has_names))
    if other.is_float and not leading.has_names:
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'No positions', 'The dump {!r} has no dump_results.json, so its positions are not known; '
            'compare it with the quantized model.'.format(leading.name))
    by_key = {tensor.stem: name for name, tensor in other.tensors.items()} if not other.is_float else {}
    pairs, taken = [], set()
    for name, tensor in leading.tensors.items():
        if other.is_float:
            partner = source_in(other, tensor)
        elif leading.has_names and other.has_names:
            partner = name if name in other.tensors else ''
        else:
            partner = by_key.get(tensor.stem, '')
        if partner:
            taken.add(partner)
            pairs.append(_pair(leading, name, other, partner, leading is b))
    paired = {pair.name for pair in pairs}
    only = (tuple(name for name in leading.tensors if name not in paired),
            () if other.is_float else tuple(name for name in other.tensors if name not in taken))
    if not pairs:
        raise _nothing_in_common(leading, other)
    return pairs, only if leading is a else only[::-1]


def _pair(leading, name, other, partner, swapped):
    tensor = leading.tensors[name]
    if other.is_dump:
        other.complete(partner, tensor.bits, tensor.position)
    match = None if other.is_float else other.tensors[partner]
    both = [(name, tensor.bits, tensor.position), (partner, match and match.bits, match and match.position)]
    return Pair(name, *zip(*(both[::-1] if swapped else both)), tensor.is_constant or match is not None and match.is_constant)


def _nothing_in_common(leading, other):
    names = sorted(leading.tensors)
    others = sorted(other.floats) if other.is_float else sorted(other.tensors)
    return errors.QuantizeError(
        errors.INVALID_INPUT, 'Nothing in common', 'No tensor is in both: {!r} has {!r}, {!r} has {!r}. {}.'.format(
            leading.name, names[0], other.name, others[0] if others else 'nothing',
            'They are of different networks, or nodes were renamed in one of them' if other.has_names else
            'Files are found by the names of FixNeurons with _ for /, such as {!r}'.format(leading.tensors[names[0]].stem)))


def in_shape(pair, both, sides, batch):
    """The values of both sides in their shapes; a dump that does not tell shapes has those of the other side."""
    for number, (side, other) in enumerate(zip(sides, sides[::-1])):
        if not side.has_names and (other.has_names or number):
            values, shape = both[number], both[1 - number].shape
            if values.size == np.prod(shape, dtype=np.int64):
                both[number] = values.reshape(shape)
                continue
            path = side.path(pair.names[number], batch)
            one = int(np.prod(shape[1:], dtype=np.int64))
            if len(shape) > 1 and one and values.size and values.size % one == 0 and not pair.is_constant:
                raise _other_batches(pair, 'the file {!r}'.format(path), values.size // one, other, shape[0])
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'Wrong size', '{!r} has {} values; {!r} in {!r} has {}, in the shape {}. The file is cut '
                'off, or of another network.'.format(path, values.size, pair.name, other.name, int(np.prod(shape)),
                                                     shape_text(shape)))
    a, b = both
    if any(side.is_dump for side in sides) and not pair.is_constant and a.ndim == b.ndim and a.shape[1:] == b.shape[1:] \
            and a.shape != b.shape:
        raise _other_batches(pair, repr(sides[0].name), a.shape[0], sides[1], b.shape[0])
    return both


def _other_batches(pair, what, size, other, other_size):
    return errors.QuantizeError(
        errors.INVALID_INPUT, 'Different batches', 'For {!r} {} has a batch of {}, {!r} one of {}. Compare dumps of the same '
        'batches, and give input_fn the data that a dump was made from.'.format(pair.name, what, size, other.name, other_size))
