"""A Comparison as text, for people and for programs."""
from vai_q_tf.comparison.results import shape_text
from vai_q_tf.terminal.json_text import json_text
from vai_q_tf.terminal.table import table
from vai_q_tf.wording import percent, some_of

REPORT = 'compare.json'
_NAMED = 5


def to_text(comparison):
    """The text, of several lines: a sentence on the first tensor that departs, what A and B are, and the table of tensors."""
    lines = [_answer(comparison), 'A is {}, B is {}; {}.'.format(
        comparison.a, comparison.b, '1 batch' if comparison.batches == 1 else '{} batches'.format(comparison.batches))]
    lines += comparison.notes
    lines += [_only(side, names) for side, names in (('A', comparison.only_a), ('B', comparison.only_b)) if names]
    lines += ['', 'In steps of {}, |A - B|:'.format('the quantized side' if _is_float(comparison) else 'A')]
    rows = [('', 'Greatest', 'Mean', 'Differ', 'Batch, element', 'A', 'B', 'Bits', 'Position', 'Tensor')]
    return '\n'.join(lines + table(rows + [_row(tensor) for tensor in comparison.tensors]))


def to_json(comparison):
    """The Comparison as a JSON text with the names of its fields, and `first`, the name of the first tensor that departs.

    null stands for no such tensor, and for a number that is not finite.
    """
    return json_text(dict(comparison._asdict(), first=comparison.first.name if comparison.first else None))


def _answer(comparison):
    first, count = comparison.first, len(comparison.tensors)
    if first is None:
        within = 'are equal' if not comparison.tolerance else 'agree within {:g} {}'.format(
            comparison.tolerance, 'step' if comparison.tolerance == 1 else 'steps')
        missing = ' that both sides have' if comparison.only_a or comparison.only_b else ''
        return 'All {} tensors{} {}'.format(count, missing, within)
    where = 'The first tensor that departs is {!r}: '.format(first.name)
    if first.greatest is None:
        return where + 'its shape is {} in A, {} in B'.format(shape_text(first.a_shape), shape_text(first.b_shape))
    position = '' if None in (first.a_position, first.b_position) or first.a_position == first.b_position else \
        '; its position is {} in A, {} in B'.format(first.a_position, first.b_position)
    return where + 'up to {} {}, {} of its elements differ{}'.format(
        _steps(first.greatest), 'step' if first.greatest == 1 else 'steps', percent(first.differing), position)


def _is_float(comparison):
    return any(None in (tensor.a_position, tensor.b_position) and tensor.a_position != tensor.b_position
               for tensor in comparison.tensors)


def _only(side, names):
    return 'Only in {}: {}'.format(side, some_of(names, _NAMED))


def _row(tensor):
    start = ('departs' if tensor.departs else '',)
    end = (_both(tensor.a_bits, tensor.b_bits), _both(tensor.a_position, tensor.b_position), tensor.name)
    if tensor.greatest is None:
        return start + ('', '', '', 'other shapes', shape_text(tensor.a_shape), shape_text(tensor.b_shape)) + end
    place = '{}, {}'.format(tensor.batch, shape_text(tensor.element)) if tensor.element is not None else ''
    values = ['{:.6g}'.format(value) if value is not None else '' for value in (tensor.a_value, tensor.b_value)]
    return start + (_steps(tensor.greatest), '{:.3g}'.format(tensor.mean), percent(tensor.differing), place, *values) + end


def _both(a, b):
    """One number where A and B have the same one, '?' where no side tells it, or both; a float side has 'float'."""
    if a == b:
        return '?' if a is None else str(a)
    a, b = ('float' if number is None else str(number) for number in (a, b))
    return '{} / {}'.format(a, b)


def _steps(number):
    return ('{:.0f}' if number % 1 == 0 or 100 <= number < float('inf') else '{:.3g}').format(number)
