"""A Comparison as text and as JSON."""
from typing import Optional, Sequence, Tuple

from vai_q_tf.comparison.results import Comparison, TensorComparison, shape_text
from vai_q_tf.terminal.json_text import json_text
from vai_q_tf.terminal.table import table
from vai_q_tf.wording import percent, some_of

REPORT = 'compare.json'
_NAMED = 5


def to_text(comparison: Comparison) -> str:
    """A sentence on the first tensor that differs, the sides, notes, and the table of tensors, in several lines."""
    lines = [_answer(comparison), 'A is {}, B is {}; {}.'.format(
        comparison.a, comparison.b, '1 batch' if comparison.batches == 1 else '{} batches'.format(comparison.batches))]
    lines += comparison.notes
    lines += [_only(side, names) for side, names in (('A', comparison.only_a), ('B', comparison.only_b)) if names]
    lines += ['', 'In steps of {}, |A - B|:'.format('the quantized side' if _is_float(comparison) else 'A')]
    rows = [('', 'Greatest', 'Mean', 'Differ', 'Batch, element', 'A', 'B', 'Bits', 'Position', 'Tensor')]
    return '\n'.join(lines + table(rows + [_row(tensor) for tensor in comparison.tensors]))


def to_json(comparison: Comparison) -> str:
    """The Comparison as JSON, with its field names as keys, and `first`, the name of the first tensor that differs or null.

    Numbers that are not finite are null.
    """
    return json_text(dict(comparison._asdict(), first=comparison.first.name if comparison.first else None))


def _answer(comparison: Comparison) -> str:
    first, count = comparison.first, len(comparison.tensors)
    if first is None:
        within = 'are equal' if not comparison.tolerance else 'agree within {:g} {}'.format(
            comparison.tolerance, 'step' if comparison.tolerance == 1 else 'steps')
        missing = ' that both sides have' if comparison.only_a or comparison.only_b else ''
        return 'All {} tensors{} {}'.format(count, missing, within)
    start = 'The first tensor that differs is {!r}: '.format(first.name)
    if first.greatest is None or first.differing is None:
        return start + 'its shape is {} in A, {} in B'.format(shape_text(first.a_shape), shape_text(first.b_shape))
    position = '' if None in (first.a_position, first.b_position) or first.a_position == first.b_position else \
        '; its position is {} in A, {} in B'.format(first.a_position, first.b_position)
    return start + 'up to {} {}, {} of its elements differ{}'.format(
        _steps(first.greatest), 'step' if first.greatest == 1 else 'steps', percent(first.differing), position)


def _is_float(comparison: Comparison) -> bool:
    return any(None in (tensor.a_position, tensor.b_position) and tensor.a_position != tensor.b_position
               for tensor in comparison.tensors)


def _only(side: str, names: Sequence[str]) -> str:
    return 'Only in {}: {}'.format(side, some_of(names, _NAMED))


def _row(tensor: TensorComparison) -> Tuple[str, ...]:
    start = ('differs' if tensor.departs else '',)
    end = (_both(tensor.a_bits, tensor.b_bits), _both(tensor.a_position, tensor.b_position), tensor.name)
    if tensor.greatest is None or tensor.mean is None or tensor.differing is None:  # all are, if the shapes differ
        return start + ('', '', '', 'other shapes', shape_text(tensor.a_shape), shape_text(tensor.b_shape)) + end
    place = '{}, {}'.format(tensor.batch, shape_text(tensor.element)) if tensor.element is not None else ''
    values = ['{:.6g}'.format(value) if value is not None else '' for value in (tensor.a_value, tensor.b_value)]
    return start + (_steps(tensor.greatest), '{:.3g}'.format(tensor.mean), percent(tensor.differing), place, *values) + end


def _both(a: Optional[int], b: Optional[int]) -> str:
    """One number if A and B have the same one, '?' if neither side has one, else both; a float side has 'float'."""
    if a == b:
        return '?' if a is None else str(a)
    return ' / '.join('float' if number is None else str(number) for number in (a, b))


def _steps(number: float) -> str:
    return ('{:.0f}' if number % 1 == 0 or 100 <= number < float('inf') else '{:.3g}').format(number)
