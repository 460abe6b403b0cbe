"""Moves positions until they meet linear rules."""
from typing import Iterable, List, Optional, Sequence, Union

from vai_q_tf.fixed_point import POSITION_MAX, POSITION_ZERO
from vai_q_tf.plan.positions.linear_rules import Form, Limit, Neighbour, Pairs, PositionRules

SWEEPS = 256  # the search gives up on positions that still chase each other


def settle(rules: PositionRules, positions: Sequence[int]) -> List[int]:
    """The position of each group, within all rules, from the positions that suit the values; POSITION_ZERO if all are zero.

    Positions that meet the rules stay as they are. If none are found, all groups get `rules.level`.
    """
    return find_positions(rules, positions) or [rules.level] * len(positions)


def find_positions(rules: PositionRules, positions: Sequence[int]) -> Optional[List[int]]:
    """As `settle`, but None if no positions are found."""
    found = [max(position, lowest) for position, lowest in zip(positions, rules.lowest)]
    while _fill(rules, rules.neighbours, found):
        pass
    _fill(rules, rules.defaults, found)
    return found if _meet_limits(rules, found) else None


def _value(form: Form, positions: Sequence[int]) -> int:
    constant, terms = form
    return constant + sum(coefficient * positions[group] for group, coefficient in terms)


def _fill(rules: PositionRules, fills: Iterable[Union[Neighbour, Pairs]], positions: List[int]) -> bool:
    """Gives groups of zeros a position, in place; returns whether there was one."""
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


def _meet_limits(rules: PositionRules, positions: List[int]) -> bool:
    """Moves positions, in place, until all limits are met; returns whether they are."""
    for _ in range(SWEEPS):
        if not any([_meet(rules, limit, positions) for limit in rules.limits]):
            return True
    return False


def _meet(rules: PositionRules, limit: Union[Limit, Pairs], positions: List[int]) -> bool:
    """Moves positions, in place, towards the limit as far as they can; returns whether it was not met."""
    if isinstance(limit, Pairs):
        return _meet_pairs(rules, limit, positions)
    form = min(limit, key=lambda form: _value(form, positions))
    if _value(form, positions) <= 0:
        return False
    _move(rules, form, positions)
    return True


def _meet_pairs(rules: PositionRules, pairs: Pairs, positions: List[int]) -> bool:
    """As `_meet`, in linear time if the limits are met."""
    spread = [positions[group] for group in pairs.groups]
    changed = False
    for one in pairs.groups if max(spread) - min(spread) > pairs.bound else ():
        if positions[one] - min(positions[other] for other in pairs.groups) > pairs.bound:
            changed = any([_meet(rules, each, positions) for each in pairs.limits_of(one)]) or changed
    return changed


def _move(rules: PositionRules, form: Form, positions: List[int]) -> None:
    for group, coefficient in form[1]:
        excess = _value(form, positions)
        if excess > 0:
            step = -(-excess // abs(coefficient))
            if coefficient > 0:
                positions[group] = max(positions[group] - step, rules.lowest[group])
            else:
                positions[group] = min(positions[group] + step, POSITION_MAX)
