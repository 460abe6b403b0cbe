"""What the hardware demands of the positions of a plan, as data: small linear forms that NumPy and a kernel alike can settle.

Tensors that share one position are one group; a group is a number. A form is (constant, ((group, coefficient), ...)), the
constant plus the sum of coefficient * position. A limit is met where one of its forms is at most 0. Where none is, the one
that is nearest to 0 is brought there: its groups move, the first as far as it can, then the next.
"""
import collections
import itertools
import math
from typing import List, NamedTuple, Tuple, Union

from vai_q_tf.dpu import (
    HARD_SIGMOID_BITS,
    MAX_ADD_SHIFT_READ,
    MAX_ADD_SHIFT_WRITE,
    MAX_HARD_SIGMOID_SHIFT,
    MAX_MUL_SHIFT_WRITE,
    MAX_POOL_SHIFT,
    MAX_SHIFT,
)
from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN, POSITION_ZERO
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE

Form = Tuple[int, Tuple[Tuple[int, int], ...]]

SWEEPS = 256  # after which positions that chase each other are given up


class Pairs(NamedTuple):
    """A rule for all pairs of the operands of an op, which may be many; groups: those of the operands, in their order."""
    groups: Tuple[int, ...]
    bound: int = 0

    def neighbours(self):
        """Yields it as (group, form)."""
        for one, other in itertools.combinations(self.groups, 2):
            if one != other:
                yield one, (0, ((other, 1),))
                yield other, (0, ((one, 1),))

    def limits(self):
        """Yields it as limits."""
        for one in self.groups:
            yield from self.limits_of(one)

    def limits_of(self, one):
        """Yields the limits that bring the group `one` down first."""
        return (((-self.bound, ((one, 1), (other, -1))),) for other in self.groups if other != one)


class PositionRules(NamedTuple):
    """The rules of a plan.

    names: of its tensors. groups: the group of each. roots: whether a tensor has values that no other of its group has.
    sources: for each group the numbers of the tensors of whose positions it begins with the least: its roots, or under the rule
      'output' the result that it is aligned to.
    lowest: the least position of each group.
    neighbours: (group, form) in the order in which a group of zeros takes the position `form`, once that has no zeros in it; or
      Pairs, of which each takes the position of the other.
    defaults: the same for what is then left; afterwards no group is of zeros.
    limits: the limits, each a tuple of forms; or Pairs, of which none is more than `bound` above the other.
    level: the position at which all groups meet every limit, the last resort.
    """
    names: Tuple[str, ...]
    groups: Tuple[int, ...]
    roots: Tuple[bool, ...]
    sources: Tuple[Tuple[int, ...], ...]
    lowest: Tuple[int, ...]
    neighbours: Tuple[Union[Tuple[int, Form], Pairs], ...]
    defaults: Tuple[Tuple[int, Form], ...]
    limits: Tuple[Union[Tuple[Form, ...], Pairs], ...]
    level: int

    def all_neighbours(self):
        """`neighbours` without Pairs, a list."""
        return [each for rule in self.neighbours for each in (rule.neighbours() if isinstance(rule, Pairs) else [rule])]

    def all_limits(self):
        """`limits` without Pairs, a list."""
        return [each for rule in self.limits for each in (rule.limits() if isinstance(rule, Pairs) else [rule])]

    def of_groups(self, positions):
        """The position that each group begins with, from {name: position}."""
        return [min(positions[self.names[number]] for number in numbers) for numbers in self.sources]

    def of_tensors(self, positions):
        """{name: position} from the position of each group."""
        return {name: positions[group] for name, group in zip(self.names, self.groups)}


def active_alignments(plan, config):
    """The Alignments that make tensors share a position.

    Those of moves always, for the hardware copies integers there; those of concats and pools as config.align_concat and
    align_pool ask: 0 all, 1 those of output nodes, 2 none. The rule 'output' knows no moves.
    """
    strategies = {'concat': config.align_concat, 'pool': config.align_pool, 'move': 2 * (config.align_rule == 'output')}
    return [alignment for alignment in plan.alignments
            if strategies[alignment.kind] == 0 or (strategies[alignment.kind] == 1 and alignment.is_output)]


def position_rules(plan, config):
    """The PositionRules of a plan; align_rule, align_concat, align_pool, adjust_shift_cut and adjust_shift_bias act.

    Under the rule 'output' no tensors share a position.
    """
    names = tuple(tensor.name for tensor in plan.tensors)
    numbers = group_numbers(plan, config)
    results = {alignment.output for alignment in active_alignments(plan, config)} if config.align_rule != 'output' else set()
    lowest = [POSITION_MIN] * len(set(numbers.values()))
    activations = {}
    for tensor in plan.tensors:
        number = numbers[tensor.name]
        lowest[number] = max(lowest[number], tensor.min_position)
        if tensor.mode == ACTIVATION_MODE:
            activations[number] = None
    maker = _Maker(plan, config, numbers)
    roots = tuple(name not in results for name in names)
    sources = _sources(names, numbers, roots) if config.align_rule != 'output' else _output_sources(plan, config, names)
    return PositionRules(
        names, tuple(numbers[name] for name in names), roots, sources, tuple(lowest),
        neighbours=tuple(maker.neighbours()), defaults=tuple(maker.defaults(activations)), limits=tuple(maker.limits()),
        level=max([0] + lowest))


def group_numbers(plan, config):
    """{name: number of its group}, numbered in the order of the plan's tensors."""
    names = [tensor.name for tensor in plan.tensors]
    leader = {name: name for name in names}

    def find(name):
        while leader[name] != name:
            leader[name] = name = leader[leader[name]]
        return name

    for alignment in active_alignments(plan, config) if config.align_rule != 'output' else ():
        for name in alignment.inputs:
            leader[find(name)] = find(alignment.output)
    numbers = {}
    return {name: numbers.setdefault(find(name), len(numbers)) for name in names}


def _sources(names, numbers, roots):
    sources = [[] for _ in set(numbers.values())]
    for number, name in enumerate(names):
        if roots[number]:
            sources[numbers[name]].append(number)
    return tuple(map(tuple, sources))


def _output_sources(plan, config, names):
    """Inputs get the position of the result: of all concats, then of all pools, each by the positions before that stage.

    A tensor that several of a kind read gets the position of the last in graph order; in the original it depends on the
    order in which it happens to visit them.
    """
    sources = {name: number for number, name in enumerate(names)}
    for kind in ('concat', 'pool'):
        before = dict(sources)
        for alignment in active_alignments(plan, config):
            if alignment.kind == kind:
                sources.update((name, before[alignment.output]) for name in alignment.inputs)
    return tuple((sources[name],) for name in names)


class _Maker:
    """Makes forms of the names of tensors."""

    def __init__(self, plan, config, numbers):
        self._plan, self._config, self._numbers = plan, config, numbers
        self._groups = self._in_order(group for group in plan.groups if group.input and group.weight and group.output)
        last = {group.node: group for group in self._groups}
        self._inner = {group for group in self._groups if group is not last[group.node]}
        self._operand_groups = self._in_order(plan.operand_groups)

    def _in_order(self, groups):
        """In that of their results, so that nothing depends on the order in which a plan has them."""
        return sorted(groups, key=lambda group: (self._numbers[group.output], group))

    def _form(self, constant, *terms):
        """The Form of a constant and (sign, name) in the order in which they move; equal groups are one term."""
        coefficients = collections.OrderedDict()
        for sign, name in terms:
            number = self._numbers[name]
            coefficients[number] = coefficients.get(number, 0) + sign
        return constant, tuple(term for term in coefficients.items() if term[1])

    def _takes(self, name, constant, *terms):
        return self._numbers[name], self._form(constant, *terms)

    def neighbours(self):
        """Activations of zeros take the position of the other side of the op, or of what is added to them."""
        for group in self._groups:
            yield self._pairs(group.output, group.input)
        for group in self._operand_groups:
            for name in group.inputs:
                yield self._pairs(group.output, name)
            yield self._pairs(*group.inputs)
        for alignment in self._plan.alignments if self._config.align_rule == 'output' else ():
            for name in alignment.inputs:
                yield self._pairs(alignment.output, name)

    def _pairs(self, *names, bound=0):
        return Pairs(tuple(self._numbers[name] for name in names), bound)

    def defaults(self, activations):
        for number in activations:
            yield number, (0, ())
        for group in self._groups:
            yield self._takes(group.weight, 0, (1, group.output), (-1, group.input))  # shift_cut 0
            if group.bias and self._limits_bias(group):
                yield self._takes(group.bias, POSITION_MAX)  # from where its limits bring it down
            elif group.bias:
                yield self._takes(group.bias, 0, (1, group.weight), (1, group.input))  # shift_bias 0
        for number in sorted(set(self._numbers.values())):
            yield number, (0, ())

    def _limits_bias(self, group):
        return self._config.adjust_shift_bias == 1 or bool(self._config.adjust_shift_bias and group.reduction)

    def limits(self):
        """Activations first, then weights, then biases, for those give way to what is before them."""
        found = [limit for group in self._operand_groups for limit in self._operand_limits(group)]
        found += self._shared_limits()
        if self._config.adjust_shift_cut:
            found += [limit for group in self._groups for limit in self._cut_limits(group)]
        for group in self._groups:
            if group.bias and self._limits_bias(group):
                found += self._bias_limits(group)
        for limit in found:
            if isinstance(limit, Pairs):
                yield limit
                continue
            # A form without groups is always met, or never.
            if not any(constant <= 0 and not terms for constant, terms in limit):
                yield tuple(form for form in limit if form[1])

    def _operand_limits(self, group) -> List[tuple]:
        form, inputs, output = self._form, group.inputs, group.output
        if group.kind == 'pool':
            return [(form(-MAX_POOL_SHIFT, (1, one), (-1, other)),)
                    for name in inputs for one, other in ((name, output), (output, name))]
        if group.kind == 'hard_sigmoid':
            return [(form(HARD_SIGMOID_BITS - MAX_HARD_SIGMOID_SHIFT, (1, inputs[0]), (-1, output)),),
                    (form(-HARD_SIGMOID_BITS, (1, output), (-1, inputs[0])),)]
        if group.kind == 'mul':
            return [(form(0, (1, output), *((-1, name) for name in inputs)),),
                    (form(-MAX_MUL_SHIFT_WRITE, *(((1, name) for name in inputs)), (-1, output)),)]
        return ([self._pairs(*inputs, bound=MAX_ADD_SHIFT_READ)]
                + [tuple(form(-MAX_ADD_SHIFT_WRITE, (1, name), (-1, output)) for name in inputs)]
                + [(form(-MAX_ADD_SHIFT_WRITE, (1, output), (-1, name)),) for name in inputs])

    def _shared_limits(self) -> List[tuple]:
        """What lets ops that share a weight, or a bias, find a position for it that suits them all."""
        form = self._form
        found: List[tuple] = []
        if not self._config.adjust_shift_cut:
            return found
        for one, other in self._sharing('weight'):
            found.append((form(-MAX_SHIFT, (1, one.output), (1, other.input), (-1, other.output), (-1, one.input)),))
        for one, other in self._sharing('bias') if self._config.adjust_shift_bias == 1 else ():
            product = (1, one.weight), (1, one.input)
            found.append((form(-2 * MAX_SHIFT, (1, one.output), (-1, other.output)),))
            found.append((form(-2 * MAX_SHIFT, *product, (-1, other.output)),
                          form(-MAX_SHIFT, *product, (-1, other.weight), (-1, other.input)),
                          form(0, *product, (-1, one.output))))
        return found

    def _sharing(self, field):
        """Ordered pairs of compute groups with one tensor in `field`."""
        users = collections.OrderedDict()
        for group in self._groups:
            users.setdefault(getattr(group, field), []).append(group)
        return [pair for name, groups in users.items() if name for pair in itertools.permutations(groups, 2)]

    def _cut_limits(self, group) -> List[tuple]:
        """weight + input - output, the shift of the result, lies in 0 .. 16. The weights move.

        Values inside of what is computed together move themselves where they are too fine: at the position of the products they
        are exact.
        """
        output, weight = (1, group.output), (-1, group.weight)
        first = (output, weight) if group in self._inner else (weight, output)
        return [(self._form(0, *first, (-1, group.input)),),
                (self._form(-MAX_SHIFT, (1, group.weight), (1, group.input), (-1, group.output)),)]

    def _bias_limits(self, group) -> List[tuple]:
        """weight + input - bias, the shift of the bias, is at most 16 and not so low that the bias leaves the accumulator:
        down to min(0, shift_cut - 16), or with adjust_shift_bias 2 to log2(products) - 16. The bias moves.

        Where the shift is over 16, the weights give way as far as their own limit lets them, but under the rule 'output': they
        lose the last bits, while a bias at a higher position saturates.
        """
        form, weight, data, bias = self._form, (1, group.weight), (1, group.input), group.bias
        found: List[tuple] = []
        if self._config.align_rule != 'output':
            found.append((form(-MAX_SHIFT, weight, data, (-1, bias)), form(0, weight, data, (-1, group.output))))
        found.append((form(-MAX_SHIFT, (-1, bias), weight, data),))
        down = (1, bias), (-1, group.weight), (-1, group.input)
        if self._config.adjust_shift_bias == 2:
            least = min(0, math.ceil(math.log2(group.reduction)) - MAX_SHIFT)
            return found + [(form(least, *down),)]
        return found + [(form(0, *down), form(-MAX_SHIFT, (1, bias), (-1, group.output)))]


def settle(rules, positions):
    """The position of each group, within all rules, from the positions that suit the values; POSITION_ZERO where all are zero.

    Positions that meet the rules stay as they are. Where none are found, all groups get `rules.level`.
    """
    return find_positions(rules, positions) or [rules.level] * len(positions)


def find_positions(rules, positions):
    """As `settle`; None where no positions are found."""
    positions = [max(position, lowest) for position, lowest in zip(positions, rules.lowest)]
    while _fill(rules, rules.neighbours, positions):
        pass
    _fill(rules, rules.defaults, positions)
    return positions if _limit(rules, positions) else None


def _value(form, positions):
    constant, terms = form
    return constant + sum(coefficient * positions[group] for group, coefficient in terms)


def _fill(rules, fills, positions):
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


def _limit(rules, positions):
    """Moves positions until all limits are met; returns whether that came to an end."""
    for _ in range(SWEEPS):
        if not any([_meet(rules, limit, positions) for limit in rules.limits]):
            return True
    return False


def _meet(rules, limit, positions):
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


def _move(rules, form, positions):
    for group, coefficient in form[1]:
        excess = _value(form, positions)
        if excess > 0:
            step = -(-excess // abs(coefficient))
            if coefficient > 0:
                positions[group] = max(positions[group] - step, rules.lowest[group])
            else:
                positions[group] = min(positions[group] + step, POSITION_MAX)
