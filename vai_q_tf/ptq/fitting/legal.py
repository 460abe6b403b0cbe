"""Which positions of one tensor are within the limits of the hardware while those of all others stay."""
import collections

from vai_q_tf.plan.positions.linear_rules import Pairs


class LegalPositions:
    """Answers for the PositionRules of a plan, in the time that the limits of one tensor take."""

    def __init__(self, rules):
        self._rules = rules
        self._groups = dict(zip(rules.names, rules.groups))
        self._members = dict(zip(rules.groups, rules.names))
        self._limits = collections.defaultdict(list)
        for limit in rules.limits:
            members = limit.groups if isinstance(limit, Pairs) else [group for form in limit for group, _ in form[1]]
            for group in set(members):
                self._limits[group].append(limit)

    def allows(self, positions, name, position):
        """Whether the tensor `name` may have a position, the others having theirs in {name: position}."""
        number = self._groups[name]

        def value(form):
            constant, terms = form
            return constant + sum(sign * (position if group == number else positions[self._members[group]])
                                  for group, sign in terms)

        def is_met(limit):
            if not isinstance(limit, Pairs):
                return min(map(value, limit)) <= 0
            others = [positions[self._members[other]] for other in limit.groups if other != number]
            return all(abs(position - other) <= limit.bound for other in others)
        return position >= self._rules.lowest[number] and all(map(is_met, self._limits[number]))
