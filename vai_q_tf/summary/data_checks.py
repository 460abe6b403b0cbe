"""Calibration data that look wrong, judged by the values that the input nodes were fed, and positions that fit no values."""
from typing import Callable, Iterator, Sequence

import numpy as np

from vai_q_tf import fixed_point
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.summary.results import InputSummary
from vai_q_tf.types import Positions
from vai_q_tf.wording import some_of

_MOST_SATURATED = 0.05  # of the values
_MOST_CLIPPED = 0.1  # of the weights of a tensor
_LEAST_SPAN = 1 / 16  # greatest minus least value, relative to the largest magnitude
_MOST_APART = 32.0  # the factor up to which standard deviations of batches may differ


def input_warnings(given: InputSummary, deviations: Sequence[float]) -> Iterator[str]:
    """Yields sentences on the data of an input node; deviations: the standard deviation in each batch."""
    fed = 'input {!r} is fed with values from {:.4g} to {:.4g}'.format(given.name, given.low, given.high)
    if given.low == given.high:
        if given.low:  # calibration itself warns of zeros
            yield 'All values of the input {!r} are {:.4g}, in all batches. Check the results of input_fn.'.format(
                given.name, given.low)
        return
    largest = max(abs(given.low), abs(given.high))
    if given.high - given.low < largest * _LEAST_SPAN:
        yield ('The {}: they are all at one end, so most integers represent values that do not occur. Subtract their mean, '
               'before training as in input_fn.'.format(fed))
    # A value at the upper end, such as 1.0 at position 7, loses at most one step.
    if given.saturated > _MOST_SATURATED and largest > 2.0**(given.bits - 1 - given.position):
        yield ('The {}, and {:.1%} of them are out of range at its position {}. Let input_fn leave out values that do not '
               'occur in use. If they do occur, --positions_by percentile --percentile 100 clips none of them.'.format(
                   fed, given.saturated, given.position))
    yield from _uneven_batches(given.name, np.array(deviations))


def _uneven_batches(name: str, deviations: np.ndarray) -> Iterator[str]:
    """On batches whose values vary much more, or less, than those of the others."""
    usual = np.median(deviations)
    steps = np.flatnonzero((deviations > usual * _MOST_APART) | (deviations * _MOST_APART < usual))
    if steps.size:
        yield ('In {} of {} batches, the first of them in step {}, the values of the input {!r} have a standard deviation of '
               '{:.3g}; usually it is {:.3g}. Let input_fn prepare all steps in the same way.'.format(
                   steps.size, deviations.size, steps[0], name, deviations[steps[0]], usual))


def odd_positions(plan: QuantPlan, positions: Positions) -> str:
    """A sentence on the activations with an unusual range, '' if there are none."""
    odd = []
    for tensor in plan.tensors:
        if tensor.role in ('input', 'activation'):
            largest = 2.0**(tensor.bits - 1 - positions[tensor.name])
            if not 2.0**-12 <= largest <= 2.0**16:
                odd.append('{} ({})'.format(tensor.name, positions[tensor.name]))
    return 'Odd positions, of values that are very large or very small: ' + some_of(odd) if odd else ''


def clipped_weights(plan: QuantPlan, positions: Positions, value: Callable[[str], np.ndarray]) -> str:
    """A sentence on the weights of which many are out of range, '' if there are none; value: that of a constant."""
    clipped = []
    for tensor in plan.tensors:
        if tensor.role == 'weight':
            half, (low, high) = 0.5**(positions[tensor.name] + 1), fixed_point.limits(positions[tensor.name], tensor.bits)
            weights = value(tensor.tensor)
            share = np.mean((weights < low - half) | (weights > high + half))
            if share > _MOST_CLIPPED:
                clipped.append('{} ({:.0%})'.format(tensor.tensor, share))
    return ('Many weights are out of range, because the position of the result raises that of the weights '
            '(--adjust_shift_cut): {}. A result with more bits than its weights causes this, as do very small values of the '
            'result.'.format(some_of(clipped)) if clipped else '')
