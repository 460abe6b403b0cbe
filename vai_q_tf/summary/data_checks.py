"""Calibration data that look wrong, told by what the input nodes were fed with."""
import numpy as np

from vai_q_tf.wording import some_of

_MOST_SATURATED = 0.05  # of the values
_LEAST_STEPS = 1 / 16  # of the largest magnitude: between the least and the greatest value
_MOST_APART = 32.0  # times: how far the deviations of two batches may be apart


def input_warnings(name, values, position):
    """Sentences on an input node.

    Args:
      name: of the node. values: its InputRange. position: of the quantized values.
    """
    fed = 'input {!r} is fed with values from {:.4g} to {:.4g}'.format(name, values.low, values.high)
    if values.low == values.high:
        if values.low:  # of zeros calibration tells
            yield 'All values of the input {!r} are {:.4g}, in all batches. See what input_fn returns.'.format(name, values.low)
        return
    largest = max(abs(values.low), abs(values.high))
    if (values.high - values.low) < largest * _LEAST_STEPS:
        yield ('The {}: they are all at one end, so most integers stand for values that do not occur. Subtract their mean, '
               'before training as in input_fn.'.format(fed))
    saturated = values.saturated(position)
    # What lies on the upper end loses a step at most, such as 1.0 at the position 7.
    if saturated > _MOST_SATURATED and largest > 2.0**(values.bits - 1 - position):
        yield ('The {}, and {:.1%} of them are out of range at its position {}. Let input_fn leave out what does not occur in '
               'use, or give --nodes_method {}:0, by which no value is cut off.'.format(fed, saturated, position, name))
    yield from _unlike(name, np.array(values.deviations))


def _unlike(name, deviations):
    """On batches whose values vary much more, or less, than those of the others."""
    usual = np.median(deviations)
    steps = np.flatnonzero((deviations > usual * _MOST_APART) | (deviations * _MOST_APART < usual))
    if steps.size:
        yield ('In {} of {} batches, the first of them in step {}, the values of the input {!r} have a standard deviation of '
               '{:.3g}; usually it is {:.3g}. Let input_fn prepare all steps in the same way.'.format(
                   steps.size, deviations.size, steps[0], name, deviations[steps[0]], usual))


def odd_positions(plan, positions):
    """A sentence on the activations whose range is out of the ordinary, '' where there are none."""
    odd = []
    for tensor in plan.tensors:
        if tensor.role in ('input', 'activation'):
            largest = 2.0**(tensor.bits - 1 - positions[tensor.name])
            if not 2.0**-12 <= largest <= 2.0**16:
                odd.append('{} ({})'.format(tensor.name, positions[tensor.name]))
    return 'Odd positions, of values that are very large or very small: ' + some_of(odd) if odd else ''
