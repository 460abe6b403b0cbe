"""The hardware's demands on the positions of a plan as data: small linear forms, for NumPy and for a kernel.

Tensors that share a position are one group; a group is a number. A form is (constant, ((group, coefficient), ...)), the
constant plus the sum of coefficient * position. A limit is met if one of its forms is at most 0. If not, the form nearest to 0
is brought there: its groups move, the first as far as it can, then the next.
"""
import itertools
from typing import Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, Union

Form = Tuple[int, Tuple[Tuple[int, int], ...]]
Limit = Tuple[Form, ...]
Neighbour = Tuple[int, Form]  # a group, and the position that it takes


class Pairs(NamedTuple):
    """A rule for all pairs of the operands of an op, of which there may be many; groups: those of the operands, in order."""
    groups: Tuple[int, ...]
    bound: int = 0

    def neighbours(self) -> Iterator[Neighbour]:
        """The rule as neighbours: each group takes the position of each other one."""
        for one, other in itertools.combinations(self.groups, 2):
            if one != other:
                yield one, (0, ((other, 1),))
                yield other, (0, ((one, 1),))

    def limits(self) -> Iterator[Limit]:
        """The rule as limits: no group is more than `bound` above another."""
        for one in self.groups:
            yield from self.limits_of(one)

    def limits_of(self, one: int) -> Iterator[Limit]:
        """The limits that bring the group `one` down first."""
        return (((-self.bound, ((one, 1), (other, -1))),) for other in self.groups if other != one)


class PositionRules(NamedTuple):
    """The rules of a plan.

    names: of its tensors. groups: the group of each. roots: whether a tensor has values that no other of its group has.
    sources: for each group the numbers of the tensors whose lowest position it begins with: its roots, or under the rule
      'output' the result that it is aligned to.
    lowest: the lowest position of each group.
    neighbours: in the order in which they apply: a group of zeros takes the position `form` once that has no zeros in it; of
      Pairs, each group takes the position of the other.
    defaults: the same for the groups that are still of zeros; after them, no group is.
    limits: limits, each a tuple of forms; of Pairs, no group is more than `bound` above the other.
    level: the position at which all groups meet every limit, the last resort.
    """
    names: Tuple[str, ...]
    groups: Tuple[int, ...]
    roots: Tuple[bool, ...]
    sources: Tuple[Tuple[int, ...], ...]
    lowest: Tuple[int, ...]
    neighbours: Tuple[Union[Neighbour, Pairs], ...]
    defaults: Tuple[Neighbour, ...]
    limits: Tuple[Union[Limit, Pairs], ...]
    level: int

    def all_neighbours(self) -> List[Neighbour]:
        """`neighbours` with Pairs written out."""
        return [each for rule in self.neighbours for each in (rule.neighbours() if isinstance(rule, Pairs) else [rule])]

    def all_limits(self) -> List[Limit]:
        """`limits` with Pairs written out."""
        return [each for rule in self.limits for each in (rule.limits() if isinstance(rule, Pairs) else [rule])]

    def of_groups(self, positions: Mapping[str, int]) -> List[int]:
        """The position that each group begins with, from {name: position}."""
        return [min(positions[self.names[number]] for number in numbers) for numbers in self.sources]

    def of_tensors(self, positions: Sequence[int]) -> Dict[str, int]:
        """{name: position} from the position of each group."""
        return {name: positions[group] for name, group in zip(self.names, self.groups)}
