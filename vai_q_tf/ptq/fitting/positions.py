"""The positions of one tensor that keep the limits of the hardware while all other positions stay, and the best of them."""
import collections
from typing import Any, Callable, DefaultDict, List, Sequence, Tuple, Union

from vai_q_tf.fixed_point import POSITION_MAX
from vai_q_tf.plan.positions.linear_rules import Form, Pairs, PositionRules
from vai_q_tf.types import Positions

_HOPELESS = 2  # times the least error


class LegalPositions:
    """Checks single positions against the PositionRules of a plan, in time linear in the limits of their tensor."""

    def __init__(self, rules: PositionRules) -> None:
        self._rules = rules
        self._groups = dict(zip(rules.names, rules.groups))
        self._members = dict(zip(rules.groups, rules.names))
        self._limits: DefaultDict[int, List[Any]] = collections.defaultdict(list)
        for limit in rules.limits:
            members = limit.groups if isinstance(limit, Pairs) else [group for form in limit for group, _ in form[1]]
            for group in set(members):
                self._limits[group].append(limit)

    def allowed(self, positions: Positions, name: str, first: int, finer: int) -> List[int]:
        """The legal positions of the tensor `name` from `first` to `first + finer`, in rising order; see `allows`."""
        return [position for position in range(first, min(first + finer, POSITION_MAX) + 1)
                if self.allows(positions, name, position)]

    def allows(self, positions: Positions, name: str, position: int) -> bool:
        """Whether the tensor `name` may have this position while the others keep theirs in {quantized tensor: position}."""
        number = self._groups[name]

        def value(form: Form) -> int:
            constant, terms = form
            return constant + sum(sign * (position if group == number else positions[self._members[group]])
                                  for group, sign in terms)

        def is_met(limit: Union[Tuple[Form, ...], Pairs]) -> bool:
            if not isinstance(limit, Pairs):
                return min(map(value, limit)) <= 0
            others = [positions[self._members[other]] for other in limit.groups if other != number]
            return all(abs(position - other) <= limit.bound for other in others)
        return position >= self._rules.lowest[number] and all(map(is_met, self._limits[number]))


def least_error(positions: Sequence[int], error: Callable[[int], float]) -> int:
    """The position with the least error, the first of equal ones.

    positions: from one at which nothing is clipped to finer ones. The error falls with the step until values are clipped, and
    rises from there on, so positions after one with more than twice the least error are not tried.
    """
    best, least = positions[0], error(positions[0])
    for position in positions[1:]:
        found = error(position)
        if found > _HOPELESS * least:
            break
        if found < least:
            best, least = position, found
    return best
