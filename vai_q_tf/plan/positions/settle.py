"""Brings positions within linear rules."""
from typing import Iterable, List, Optional, Sequence, Union

from vai_q_tf.fixed_point import POSITION_MAX, POSITION_ZERO
from vai_q_tf.plan.positions.linear_rules import Form, Limit, Neighbour, Pairs, PositionRules

SWEEPS = 256  # after which positions that chase each other are given up


def settle(rules: PositionRules, positions: Sequence[int]) -> List[int]:
    """The position of each group, within all rules, from the positions that suit the values; POSITION_ZERO where all are zero.

    Positions that meet the rules stay as they are. Where none are found, all groups get `rules.level`.
    """
    return find_positions(rules, positions) or [rules.level] * len(positions)


def find_positions(rules: PositionRules, positions: Sequence[int]) -> Optional[List[int]]:
    """As `settle`; None where no positions are found."""
    positions = [max(position, lowest) for position, lowest in zip(positions, rules.lowest)]
    while _fill(rules, rules.neighbours, positions):
        pass
    _fill(rules, rules.defaults, positions)
    return positions if _limit(rules, positions) else None


def _value(form: Form, positions: Sequence[int]) -> int:
    constant, terms = form
    return constant + sum(coefficient * positions[group] for group, coefficient in terms)


def _fill(rules: PositionRules, fills: Iterable[Union[Neighbour, Pairs]], positions: List[int]) -> bool:
    """Gives groups of zeros a position; returns whether there was one."""
    changed = False
    for rule in fills:
        if isinstance(rule, Pairs):
            zeros = [positions[group] == POSITION_ZERO for group in rule.groups]
            if any(zeros) and not all(zeros):
                changed = _fill(rules, rule.neighbours(), positions) or changed
            continue
        target, form = rule
        if positions[target] == POSITION_ZERO and all(positions[group] != POSITION_ZERO for group, _ in form[1]):
            positions[target] = min(max(_value(form, positions), rules.lowest[target]), POSITION_MAX)
            changed = True
    return changed


def _limit(rules: PositionRules, positions: List[int]) -> bool:
    """Moves positions until all limits are met; returns whether that came to an end."""
    for _ in range(SWEEPS):
        if not any([_meet(rules, limit, positions) for limit in rules.limits]):
            return True
    return False


def _meet(rules: PositionRules, limit: Union[Limit, Pairs], positions: List[int]) -> bool:
    """Moves positions until the limit is met, as far as they can; returns whether it was not."""
    if isinstance(limit, Pairs):
        changed = False
        spread = [positions[group] for group in limit.groups]
        for one in limit.groups if max(spread) - min(spread) > limit.bound else ():
            if positions[one] - min(positions[other] for other in limit.groups) > limit.bound:
                changed = any([_meet(rules, each, positions) for each in limit.limits_of(one)]) or changed
        return changed
    form = min(limit, key=lambda form: _value(form, positions))
    if _value(form, positions) <= 0:
        return False
    _move(rules, form, positions)
    return True


def _move(rules: PositionRules, form: Form, positions: List[int]) -> None:
    for group, coefficient in form[1]:
        excess = _value(form, positions)
        if excess > 0:
            step = -(-excess // abs(coefficient))
            if coefficient > 0:
                positions[group] = max(positions[group] - step, rules.lowest[group])
            else:
                positions[group] = min(positions[group] + step, POSITION_MAX)
