"""Chooses bits of single tensors for a budget or a bound by their effect on the outputs; a calibration checks the choice.

Errors are those of `output_errors`. The search within a budget adds up the errors of single tensors, which is nearly true of
rounding errors.
"""
import itertools
import math
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Sequence

import numpy as np

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.decibels import decibels
from vai_q_tf.errors import INVALID_CONFIG, QuantizeError
from vai_q_tf.ptq.calibration.switchable_network import SwitchableNetwork
from vai_q_tf.report.bits.results import WeightChoice, WideChoice
from vai_q_tf.report.bits.trials import Quantized, Trials
from vai_q_tf.types import Positions

WIDE = 16
WIDTHS = (4, 5, 6, 7, 8)
_PARTS = 1 << 16
_Unit = List[str]


class _Uniform(NamedTuple):
    """All weights at the same `bits`. error: of the outputs. alone: {tensor: the error with it alone quantized}."""
    bits: int
    quantized: Quantized
    error: float
    alone: Dict[str, float]


class _Stage(NamedTuple):
    """A tensor in `within_budget`. costs: parts for each width. best: index of the best width for each number of parts."""
    name: str
    widths: List[int]
    costs: List[int]
    best: np.ndarray


def choose_weights(trials: Trials, base: Quantized, target_bits: float) -> WeightChoice:
    """The WeightChoice for at most `target_bits` bits per element of a weight tensor on average.

    Each weight tensor is measured alone at each width. The choice and the largest uniform width within the budget are both
    calibrated and measured; the better one is taken.

    Args:
      trials: Trials. base: the network, Quantized with its own config.

    Raises:
      QuantizeError: INVALID_CONFIG if there are no weights, or if the weights that can be chosen cannot reach the target.
    """
    sizes = trials.weight_sizes(base)
    free = {name: size for name, size in sizes.items() if trials.can_name(name)}
    budget = _budget(_bits(base), sizes, free, target_bits)
    widths = [_measure_width(trials, free, width) for width in WIDTHS]
    uniform = [each for each in widths if each.bits * sum(free.values()) <= budget][-1]
    errors = {name: {each.bits: each.alone[name] for each in widths} for name in free}
    quantized = trials.quantize(trials.with_bits(within_budget(errors, free, budget)))
    error = trials.error(quantized)
    if uniform.error < error:
        error, quantized = uniform.error, uniform.quantized
    bits = _bits(quantized)
    return WeightChoice(target_bits, trials.weight_bits(quantized), tuple(quantized.config.nodes_bit),
                        tuple((name, bits[name]) for name in free), decibels(error), uniform.bits, decibels(uniform.error))


def _budget(bits: Mapping[str, int], sizes: Mapping[str, int], free: Mapping[str, int], target_bits: float) -> float:
    """The bits of all elements of the `free` tensors together; the other tensors keep their bits."""
    fixed = [name for name in sizes if name not in free]
    budget = target_bits * sum(sizes.values()) - sum(sizes[name] * bits[name] for name in fixed)
    if not free or budget < WIDTHS[0] * sum(free.values()):
        raise QuantizeError(INVALID_CONFIG, 'Cannot be reached', 'target_bits is {!r}, but {}.'.format(
            target_bits, 'no node of the float graph alone means the weights {}'.format(', '.join(fixed)) if sizes else
            'no weights are quantized'))
    return budget


def _measure_width(trials: Trials, names: Iterable[str], width: int) -> _Uniform:
    quantized = trials.quantize(trials.with_bits({name: width for name in names}))
    with trials.network(quantized) as network:
        settings = [{name: quantized.positions[name]} for name in names] + [quantized.positions]
        *alone, together = trials.measure(network, settings, 'Weights at {} bits'.format(width))
    return _Uniform(width, quantized, together, dict(zip(names, alone)))


def choose_wide(trials: Trials, base: Quantized, network: SwitchableNetwork, error: float, target_db: float) -> WideChoice:
    """The WideChoice of tensors to put at 16 bits so that the outputs have `target_db`.

    The search leaves tensors float instead. Tensors that share a position go together: more bits for one of them alone have no
    effect. The result is calibrated at 16 bits and measured; if it falls short, the next most costly tensors are added.

    Args:
      trials: Trials. base: the network, Quantized with its own config. network: its SwitchableNetwork. error: its error.
    """
    limit = 10.0 ** (-target_db / 10)
    if error <= limit:
        return WideChoice(target_db, True, tuple(base.config.nodes_bit), (), decibels(error))
    units = _most_costly_first(trials, base, network)
    search = trials.search(network, 'Search')
    chosen = fewest_exempt(units, lambda exempt: search(without(base.positions, itertools.chain(*exempt))), limit)
    rest = [unit for unit in units if unit not in chosen]
    quantized, added = base, 0
    wide: List[str] = []
    while error > limit and len(wide) < len(base.plan.tensors):
        wide = [name for unit in units if unit in chosen + rest[:added] for name in unit]
        quantized = trials.quantize(_with_wide(trials, base, wide))
        error, added = trials.error(quantized), 2 * added + 1
    bits = _bits(quantized)
    return WideChoice(target_db, bool(error <= limit), tuple(quantized.config.nodes_bit),
                      tuple((name, bits[name]) for name in wide if bits[name] >= WIDE), decibels(error))


def _most_costly_first(trials: Trials, base: Quantized, network: SwitchableNetwork) -> List[_Unit]:
    """The units of `Trials.units`, by the error with each alone quantized."""
    units = trials.units(base)
    alone = trials.measure(network, [{name: base.positions[name] for name in unit} for unit in units], 'Positions')
    return [units[number] for number in np.argsort(-alone, kind='stable')]


def _with_wide(trials: Trials, base: Quantized, names: Iterable[str]) -> QuantizeConfig:
    bits = _bits(base)
    return trials.with_bits({name: max(WIDE, bits[name]) for name in names})


def without(positions: Positions, names: Iterable[str]) -> Dict[str, int]:
    """{name: position} without the `names`."""
    left_out = set(names)
    return {name: position for name, position in positions.items() if name not in left_out}


def _bits(quantized: Quantized) -> Dict[str, int]:
    return {tensor.name: tensor.bits for tensor in quantized.plan.tensors}


def within_budget(errors: Mapping[str, Mapping[int, float]], sizes: Mapping[str, int], budget: float) -> Dict[str, int]:
    """{name: bits} with the least sum of errors within `budget` bits in all; among equal ones those with fewer bits.

    Solves a multiple-choice knapsack problem by dynamic programming. The bits that the budget has beyond the least widths are
    divided into up to 65,536 parts, and the cost of a width is rounded up to whole parts; so the result may fall short of the
    optimum by one part per tensor.

    Args:
      errors: {name: {bits: error}}, for each tensor and each width that it may have.
      sizes: {name: number of elements}.
      budget: bits of all elements together; must be enough for the least widths.
    """
    spare = math.floor(budget - sum(sizes[name] * min(found) for name, found in errors.items()))
    parts = min(_PARTS, spare)
    least = np.zeros(parts + 1)
    stages: List[_Stage] = []
    for name, found in errors.items():
        widths = sorted(found)
        costs = [_parts_of(sizes[name] * (width - widths[0]), spare, parts) for width in widths]
        sums = np.full((len(widths), parts + 1), np.inf)
        for row, width, cost in zip(sums, widths, costs):
            row[cost:] = least[:parts + 1 - cost] + found[width]
        stages.append(_Stage(name, widths, costs, sums.argmin(axis=0).astype(np.int8)))
        least = sums.min(axis=0)
    bits = {}
    for stage in reversed(stages):
        number = stage.best[parts]
        bits[stage.name], parts = stage.widths[number], parts - stage.costs[number]
    return bits


def _parts_of(bits: int, spare: int, parts: int) -> int:
    """How many of the `parts` that divide `spare` bits are needed for `bits`; parts + 1 if they do not suffice."""
    return parts + 1 if bits > spare else -(-bits * parts // max(spare, 1))


def fewest_exempt(units: Sequence[_Unit], error_without: Callable[[List[_Unit]], float], limit: float) -> List[_Unit]:
    """The units to exempt from quantization for an error of at most `limit`: as few as this search finds.

    It takes the shortest sufficient start of the list, then leaves out each of these units that turns out not to be needed.

    Args:
      units: the most costly first.
      error_without: function from a list of exempt units to the error; at most `limit` if all are exempt.
    """
    low, high = 0, len(units)
    while low < high:
        middle = (low + high) // 2
        if error_without(list(units[:middle])) <= limit:
            high = middle
        else:
            low = middle + 1
    chosen = list(units[:low])
    for unit in reversed(units[:low]):
        others = [other for other in chosen if other is not unit]
        if error_without(others) <= limit:
            chosen = others
    return chosen
