"""The final positions of a plan: what calibration observed, brought to what the hardware can compute.

In this order: tensors that a concat or pool joins get one position; hard sigmoids get the least position that the hardware
takes; inputs and results of weighted ops that were zero all the time get the position of the other side; the shift that cuts
the result of a weighted op, and the one that aligns its bias, are brought into the range of the shift registers by moving the
weights' and the bias' position.
"""
import math
from typing import Dict, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import MAX_SHIFT
from vai_q_tf.fixed_point import HISTOGRAM_BINS, HISTOGRAM_ZERO, POSITION_MAX, POSITION_MIN, POSITION_ZERO


class Observation(NamedTuple):
    """What calibration saw of a tensor.

    position: the most frequent of the positions that suited the batches.
    errors: float64 [256], summed squared error over all batches; entry i is that of position i - 128. None where it was not
      asked for.
    """
    position: int
    errors: Optional[np.ndarray] = None


def decide(plan, observed, config) -> Dict[str, int]:
    """{name: position in fractional bits} of all tensors of the plan.

    Args:
      plan: a QuantPlan.
      observed: {name: Observation}, with errors for the tensors that `aligned` names.
      config: QuantizeConfig; align_rule, align_concat, align_pool, adjust_shift_cut and adjust_shift_bias act.
    """
    positions = {name: observation.position for name, observation in observed.items()}
    if config.align_rule == 'output':
        _align_to_outputs(plan, positions, config)
    else:
        _align_by_error(plan, positions, observed, config)
    for tensor in plan.tensors:
        if tensor.min_position > POSITION_MIN:
            positions[tensor.name] = max(positions[tensor.name], tensor.min_position)
    _position_zeros(plan, positions, config)
    groups = list(_groups(plan, positions)) if config.adjust_shift_cut or config.adjust_shift_bias else ()
    if config.adjust_shift_cut:
        _limit_shift_cut(groups, positions)
    if config.adjust_shift_bias:
        _limit_shift_bias(groups, positions, dynamic=config.adjust_shift_bias == 2, spare_bias=config.align_rule != 'output')
    return positions


def aligned(plan, config):
    """The groups of tensors that get one position under the rule 'least_error': sorted tuples of names, disjoint.

    Concats and pools that have a tensor in common are one group.
    """
    leader = {}

    def find(name):
        while leader.setdefault(name, name) != name:
            leader[name] = name = leader[leader[name]]
        return name

    for alignment in _active(plan, config):
        for name in alignment.inputs:
            leader[find(name)] = find(alignment.output)
    groups = {}
    for name in leader:
        groups.setdefault(find(name), []).append(name)
    return [tuple(sorted(group)) for group in groups.values() if len(group) > 1]


def _active(plan, config):
    """The alignments that config.align_concat and align_pool ask for: 0 all, 1 those of output nodes, 2 none."""
    strategies = {'concat': config.align_concat, 'pool': config.align_pool}
    return [alignment for alignment in plan.alignments
            if strategies[alignment.kind] == 0 or (strategies[alignment.kind] == 1 and alignment.is_output)]


def _align_by_error(plan, positions, observed, config):
    """Every group gets the position with the least summed squared error over its members, the smallest of equal ones.

    A member that must not overflow (method 0) bounds the position from above, a hard sigmoid from below.
    """
    tensors = {tensor.name: tensor for tensor in plan.tensors}
    for group in aligned(plan, config):
        members = [name for name in group if positions[name] != POSITION_ZERO]
        if not members:
            continue
        total = np.sum([observed[name].errors for name in members], axis=0)
        top = min([POSITION_MAX] + [positions[name] for name in members if tensors[name].method == 0])
        bottom = min(top, max(tensors[name].min_position for name in group))
        candidates = total[bottom + HISTOGRAM_ZERO:top + HISTOGRAM_ZERO + 1]
        chosen = bottom + int(candidates.argmin())
        for name in group:
            positions[name] = chosen


def _align_to_outputs(plan, positions, config):
    """Inputs get the position of the result: of all concats, then of all pools, each by the positions before that stage.

    A tensor that several of a kind read gets the position of the last in graph order; in the original it depends on the
    order in which it happens to visit them.
    """
    for kind in ('concat', 'pool'):
        before = dict(positions)
        for alignment in _active(plan, config):
            if alignment.kind == kind:
                positions.update((name, before[alignment.output]) for name in alignment.inputs)


def _position_zeros(plan, positions, config):
    """Gives the input or the result of a weighted op that was zero all the time the position of the other side, with what is
    aligned to it. POSITION_ZERO would let it hold nothing but zeros, and no shift leads there."""
    partners = {name: group for group in aligned(plan, config) for name in group}
    for group in plan.groups:
        for zero, other in ((group.output, group.input), (group.input, group.output)):
            if zero and other and positions[zero] == POSITION_ZERO != positions[other]:
                tf.logging.warning('%s had nothing but zeros in calibration; it gets the position %d of %s', zero,
                                   positions[other], other)
                positions.update((name, positions[other]) for name in (zero,) + partners.get(zero, ())
                                 if positions[name] == POSITION_ZERO)


def _limit_shift_cut(groups, positions):
    """Moves weights so that weight + input - output position, the shift of the result, lies in 0 .. 16."""
    for group in groups:
        offset = positions[group.output] - positions[group.input]
        positions[group.weight] = _clip(min(max(positions[group.weight], offset), MAX_SHIFT + offset))


def _limit_shift_bias(groups, positions, dynamic, spare_bias):
    """Moves biases so that weight + input - bias position, the shift of the bias, is at most 16 and not so low that the
    bias leaves the accumulator: down to shift_cut - 16, or by the number of products log2(products) - 16 (`dynamic`).

    Where the shift is over 16, with `spare_bias` the weights give way as far as their own limit lets them: they lose the last
    bits, while a bias at a higher position saturates."""
    for group in groups:
        if not group.bias or (dynamic and not group.reduction):
            continue
        product = positions[group.weight] + positions[group.input]
        spare = min(product - positions[group.bias] - MAX_SHIFT, product - positions[group.output])
        if spare_bias and spare > 0:
            positions[group.weight] = _clip(positions[group.weight] - spare)
            product = positions[group.weight] + positions[group.input]
        if dynamic:
            least = math.ceil(math.log2(group.reduction)) - MAX_SHIFT
        else:
            least = product - positions[group.output] - MAX_SHIFT
        positions[group.bias] = _clip(min(max(positions[group.bias], product - MAX_SHIFT), product - min(0, least)))


def _groups(plan, positions):
    """The compute groups whose shifts are defined: input and output have a position, and are not all zeros."""
    for group in plan.groups:
        if not (group.input and group.weight and group.output):
            continue
        zeros = [name for name in (group.input, group.output) if positions[name] == POSITION_ZERO]
        if zeros:
            tf.logging.warning('The shifts of %r are not limited, %s had nothing but zeros in calibration',
                               group.node, ' and '.join(zeros))
        else:
            yield group


def _clip(position):
    return min(max(position, POSITION_MIN), POSITION_MAX)


def error_table(first, errors):
    """Squared errors at all positions, float64 [256], from those in a window that begins at position `first`.

    Below the window everything rounds to zero as at its first entry. Above it the error is at most that of a tensor of zeros,
    which is taken for it.
    """
    table = np.full(HISTOGRAM_BINS, errors[0], np.float64)
    start = first + HISTOGRAM_ZERO
    table[start:start + len(errors)] = errors[:HISTOGRAM_BINS - start]
    return table
