"""Bits of single tensors, chosen for a budget or a bound by what they cost the outputs, and checked by a calibration.

Errors are those of `output_errors`. The search within a budget takes errors of several tensors to add up, as the errors of
roundings nearly do.
"""
import itertools
import math
from typing import NamedTuple, Tuple

import numpy as np

from vai_q_tf import errors
from vai_q_tf.decibels import decibels

WIDE = 16
WIDTHS = (4, 5, 6, 7, 8)
_PARTS = 1 << 16


class WeightChoice(NamedTuple):
    """Bits of weights within a budget, and what the network has that was calibrated with them.

    target_bits: the budget, bits of an element of a weight tensor on average. weight_bits: the average that was chosen.
    nodes_bit: entries for a QuantizeConfig or --nodes_bit, complete. bits: ((name of a tensor, its bits), ...).
    db: of the outputs. uniform_db: of the outputs with all weights at `uniform_bits`, the most that the budget has for all.
    """
    target_bits: float
    weight_bits: float
    nodes_bit: Tuple[str, ...]
    bits: Tuple[Tuple[str, int], ...]
    db: float
    uniform_bits: int
    uniform_db: float


class WideChoice(NamedTuple):
    """Tensors that have to stay at 16 bits, and what the network has that was calibrated with them.

    target_db: the bound. reached: whether the outputs have it; where they do not, all tensors are at 16 bits.
    nodes_bit, bits, db: as those of WeightChoice; `bits` has the tensors that stay, the most costly first.
    """
    target_db: float
    reached: bool
    nodes_bit: Tuple[str, ...]
    bits: Tuple[Tuple[str, int], ...]
    db: float


def choose_weights(trials, base, target_bits):
    """The WeightChoice for at most `target_bits` bits of an element of a weight tensor on average.

    Each weight tensor is measured alone at each width. What is chosen and what has the same bits everywhere are both calibrated
    and measured; the better one is taken.

    Args:
      trials: Trials. base: the network Quantized with its config as it is.

    Raises:
      QuantizeError: INVALID_CONFIG where there are no weights, or no weights to choose bits for that could reach the target.
    """
    sizes = trials.weight_sizes(base)
    free = {name: size for name, size in sizes.items() if trials.can_name(name)}
    bits = _bits(base)
    budget = target_bits * sum(sizes.values()) - sum(size * bits[name] for name, size in sizes.items() if name not in free)
    if not free or budget < WIDTHS[0] * sum(free.values()):
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Cannot be reached', 'target_bits is {!r}, but {}.'.format(
                target_bits, 'no node of the float graph alone means the weights {}'.format(
                    ', '.join(name for name in sizes if name not in free)) if sizes else 'no weights are quantized'))
    found, uniform = {name: {} for name in free}, None
    for width in WIDTHS:
        quantized = trials.quantize(trials.with_bits({name: width for name in free}))
        with trials.network(quantized) as network:
            settings = [{name: quantized.positions[name]} for name in free] + [quantized.positions]
            *alone, together = trials.measure(network, settings, 'Weights at {} bits'.format(width))
        for name, error in zip(free, alone):
            found[name][width] = error
        if width * sum(free.values()) <= budget:
            uniform = together, width, quantized
    chosen = trials.quantize(trials.with_bits(within_budget(found, free, budget)))
    error, quantized = min((trials.error(chosen), chosen), (uniform[0], uniform[2]), key=lambda pair: pair[0])
    bits = _bits(quantized)
    return WeightChoice(target_bits, trials.weight_bits(quantized), tuple(quantized.config.nodes_bit),
                        tuple((name, bits[name]) for name in free), decibels(error), uniform[1], decibels(uniform[0]))


def choose_wide(trials, base, network, error, target_db):
    """The WideChoice of the tensors that stay at 16 bits so that the outputs have `target_db`.

    Which they are is found with tensors left float for 16 bits. Tensors that share a position go together: more bits for one of
    them alone bring nothing. What is found is calibrated at 16 bits and measured; where that falls short, the next most costly
    ones are added.

    Args:
      trials: Trials. base: the network Quantized with its config as it is. network: its SwitchableNetwork. error: its error.
    """
    limit = 10.0 ** (-target_db / 10)
    if error <= limit:
        return WideChoice(target_db, True, tuple(base.config.nodes_bit), (), decibels(error))
    units = trials.units(base)
    alone = trials.measure(network, [{name: base.positions[name] for name in unit} for unit in units], 'Positions')
    units = [units[number] for number in np.argsort(-alone, kind='stable')]
    search = trials.search(network, 'Search')
    chosen = fewest_exempt(units, lambda exempt: search(without(base.positions, itertools.chain(*exempt))), limit)
    rest = [unit for unit in units if unit not in chosen]
    quantized, added, wide = base, 0, []
    while error > limit and len(wide) < len(base.plan.tensors):
        wide = [name for unit in units if unit in chosen + rest[:added] for name in unit]
        bits = _bits(base)
        quantized = trials.quantize(trials.with_bits({name: max(WIDE, bits[name]) for name in wide}))
        error, added = trials.error(quantized), 2 * added + 1
    bits = _bits(quantized)
    return WideChoice(target_db, bool(error <= limit), tuple(quantized.config.nodes_bit),
                      tuple((name, bits[name]) for name in wide if bits[name] >= WIDE), decibels(error))


def without(positions, names):
    """{name: position} but for the `names`."""
    left_out = set(names)
    return {name: position for name, position in positions.items() if name not in left_out}


def _bits(quantized):
    return {tensor.name: tensor.bits for tensor in quantized.plan.tensors}


def within_budget(errors, sizes, budget):
    """{name: bits} with the least sum of errors that at most `budget` bits in all allow; of equal ones that with fewer bits.

    A knapsack of which each tensor takes one width, by dynamic programming. Bits beyond the least widths are counted in 65,536
    parts of what the budget has for them, rounded up; so what is found may be short of the least error by a part a tensor.

    Args:
      errors: {name: {bits: error}}, of each tensor at each width that it may have.
      sizes: {name: number of elements}.
      budget: bits of all elements together; the least widths have to fit.
    """
    spare = math.floor(budget - sum(sizes[name] * min(found) for name, found in errors.items()))
    parts = min(_PARTS, spare)
    least, chosen = np.zeros(parts + 1), []
    for name, found in errors.items():
        widths = sorted(found)
        costs = [_share(sizes[name] * (width - widths[0]), spare, parts) for width in widths]
        sums = np.full((len(widths), parts + 1), np.inf)
        for row, width, cost in zip(sums, widths, costs):
            row[cost:] = least[:parts + 1 - cost] + found[width]
        chosen.append((name, widths, costs, sums.argmin(axis=0).astype(np.int8)))
        least = sums.min(axis=0)
    bits = {}
    for name, widths, costs, numbers in reversed(chosen):
        number = numbers[parts]
        bits[name], parts = widths[number], parts - costs[number]
    return bits


def _share(bits, spare, parts):
    """How many of the `parts` of `spare` bits hold `bits`, all integers; one more than there are where they do not fit."""
    return parts + 1 if bits > spare else -(-bits * parts // max(spare, 1))


def fewest_exempt(units, error_without, limit):
    """The units, of those listed with the most costly first, without which the error is at most `limit`: as few as are found.

    First as many from the start of the list as are needed, then without each of these that turns out not to be.

    Args:
      error_without: function from a list of units to the error where these alone are exempt; at most `limit` for all units.
    """
    low, high = 0, len(units)
    while low < high:
        middle = (low + high) // 2
        if error_without(units[:middle]) <= limit:
            high = middle
        else:
            low = middle + 1
    chosen = units[:low]
    for unit in reversed(units[:low]):
        others = [other for other in chosen if other is not unit]
        if error_without(others) <= limit:
            chosen = others
    return chosen
