"""The final positions of a plan: observed positions, changed to positions that the hardware supports.

In this order: tensors that a move, concat or pool joins get one position; hard sigmoids get the lowest position that the
hardware supports; tensors that were always zero get the position of a neighbour; then the positions that shift registers
cannot hold move, see `position_rules`.
"""
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN, POSITION_ZERO
from vai_q_tf.plan.positions.joined import active_alignments, group_numbers
from vai_q_tf.plan.positions.position_rules import position_rules
from vai_q_tf.plan.positions.settle import find_positions
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor
from vai_q_tf.position_histogram import HISTOGRAM_BINS, HISTOGRAM_ZERO
from vai_q_tf.types import Positions


class Observation(NamedTuple):
    """The values of a tensor, summed up.

    position: the most frequent of the positions that suited the batches, or the one that suits them all (positions_by).
    errors: float64 [256], summed squared error over all batches; entry i is that of position i - 128. None if not measured.
    """
    position: int
    errors: Optional[np.ndarray] = None


def decide(plan: QuantPlan, observed: Mapping[str, Observation], config: QuantizeConfig,
           chosen: Optional[Positions] = None) -> Dict[str, int]:
    """{name: position in fractional bits} of all tensors of the plan; never POSITION_ZERO.

    Args:
      observed: {name: Observation}. Tensors that share a position get the one with the least error, whatever positions_by says;
        if the errors are not known, the lowest position of those that are not results of a move, concat or pool.
      config: QuantizeConfig; align_rule, align_concat, align_pool, adjust_shift_cut and adjust_shift_bias act.
      chosen: {name: position} for tensors whose group is to begin with that position instead.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH if no positions are within the limits.
    """
    rules = position_rules(plan, config)
    groups = rules.of_groups({name: observation.position for name, observation in observed.items()})
    for number, members in _measured(plan, config).items():
        if all(observed[tensor.name].errors is not None for tensor in members):
            groups[number] = _least_error(members, observed)
    for name, position in (chosen or {}).items():
        groups[rules.groups[rules.names.index(name)]] = position
    found = find_positions(rules, groups)
    if found is None:
        raise _no_positions(rules.of_tensors(groups))
    return rules.of_tensors(found)


def _no_positions(wanted: Positions) -> errors.QuantizeError:
    wanted = {name: position for name, position in wanted.items() if position != POSITION_ZERO} or wanted
    middle = sorted(wanted.values())[len(wanted) // 2]
    name = max(wanted, key=lambda name: abs(wanted[name] - middle))
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'No positions', 'The values of {!r} suit position {}, those of most tensors about {}: too '
        'far apart for the shift registers of the DPU. Scale the values, or keep the op float with ignore_nodes.'.format(
            name, wanted[name], middle))


def measured(plan: QuantPlan, config: QuantizeConfig) -> Set[str]:
    """The names of the tensors whose errors decide the position of a group.

    Results of moves are not among them: they hold the values of another tensor of the group once more.
    """
    return {name for group in shared(plan, config) for name in group}


def shared(plan: QuantPlan, config: QuantizeConfig) -> List[Tuple[str, ...]]:
    """The names of the tensors of each group of several, without results of moves."""
    return [tuple(tensor.name for tensor in group) for group in _measured(plan, config).values()]


def _measured(plan: QuantPlan, config: QuantizeConfig) -> Dict[int, List[QuantTensor]]:
    """{number of a group: the QuantTensors whose errors decide}, for groups of several."""
    moved = {alignment.output for alignment in active_alignments(plan, config) if alignment.kind == 'move'}
    numbers = group_numbers(plan, config)
    members: Dict[int, List[QuantTensor]] = {}
    for tensor in plan.tensors:
        if tensor.name not in moved:
            members.setdefault(numbers[tensor.name], []).append(tensor)
    return {number: group for number, group in members.items() if len(group) > 1}


def _least_error(members: Sequence[QuantTensor], observed: Mapping[str, Observation]) -> int:
    """The position with the least summed squared error over the members; the highest of equal ones, at which most values that
    were not seen are exact.

    A member that must not overflow (method 0) bounds it from above.
    """
    members = [tensor for tensor in members if observed[tensor.name].position != POSITION_ZERO]
    if not members:
        return POSITION_ZERO
    total = np.sum([observed[tensor.name].errors for tensor in members], axis=0)
    top = min([POSITION_MAX] + [observed[tensor.name].position for tensor in members if tensor.method == 0])
    return top - int(total[POSITION_MIN + HISTOGRAM_ZERO:top + HISTOGRAM_ZERO + 1][::-1].argmin())


def least_error(errors: np.ndarray) -> int:
    """The position with the least of the squared errors [256] at all positions, the lowest of equal ones."""
    return POSITION_MIN + int(errors[POSITION_MIN + HISTOGRAM_ZERO:POSITION_MAX + HISTOGRAM_ZERO + 1].argmin())


def error_table(first: int, errors: np.ndarray) -> np.ndarray:
    """Squared errors at all positions, float64 [256], from those in a window that begins at position `first`.

    Below the window everything rounds to zero, as at its first entry. Above it the error is at most that of rounding everything
    to zero, which is used instead.
    """
    table = np.full(HISTOGRAM_BINS, errors[0], np.float64)
    start = first + HISTOGRAM_ZERO
    table[start:start + len(errors)] = errors[:HISTOGRAM_BINS - start]
    return table
