"""The rules for the positions of a plan: the ranges of the shift registers, and the positions of tensors of zeros."""
import collections
import itertools
import math
from typing import Collection, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple, TypeVar, Union

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import (
    ADD_EXTRA_BITS,
    HARD_SIGMOID_BITS,
    MAX_ADD_SHIFT_READ,
    MAX_ADD_SHIFT_WRITE,
    MAX_HARD_SIGMOID_SHIFT,
    MAX_MUL_SHIFT_WRITE,
    MAX_POOL_SHIFT,
    MAX_SHIFT,
)
from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN
from vai_q_tf.plan.positions.joined import active_alignments, group_numbers, joining_alignments
from vai_q_tf.plan.positions.linear_rules import Form, Limit, Neighbour, Pairs, PositionRules
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE, ComputeGroup, OperandGroup, QuantPlan

_Group = TypeVar('_Group', ComputeGroup, OperandGroup)


def position_rules(plan: QuantPlan, config: QuantizeConfig) -> PositionRules:
    """The PositionRules of a plan; align_rule, align_concat, align_pool, adjust_shift_cut and adjust_shift_bias act.

    Under the rule 'output' no tensors share a position.
    """
    names = tuple(tensor.name for tensor in plan.tensors)
    numbers = group_numbers(plan, config)
    results = {alignment.output for alignment in joining_alignments(plan, config)}
    roots = tuple(name not in results for name in names)
    lowest = _lowest(plan, numbers)
    rules = _Rules(plan, config, numbers)
    return PositionRules(
        names, tuple(numbers[name] for name in names), roots,
        _output_sources(plan, config, names) if config.align_rule == 'output' else _sources(names, numbers, roots), lowest,
        neighbours=tuple(rules.neighbours()), defaults=tuple(rules.defaults()), limits=tuple(rules.limits()),
        level=max((0,) + lowest))


def _lowest(plan: QuantPlan, numbers: Mapping[str, int]) -> Tuple[int, ...]:
    lowest = [POSITION_MIN] * len(set(numbers.values()))
    for tensor in plan.tensors:
        number = numbers[tensor.name]
        lowest[number] = max(lowest[number], tensor.min_position)
    return tuple(lowest)


def _sources(names: Sequence[str], numbers: Mapping[str, int], roots: Sequence[bool]) -> Tuple[Tuple[int, ...], ...]:
    sources: List[List[int]] = [[] for _ in set(numbers.values())]
    for number, name in enumerate(names):
        if roots[number]:
            sources[numbers[name]].append(number)
    return tuple(map(tuple, sources))


def _output_sources(plan: QuantPlan, config: QuantizeConfig, names: Sequence[str]) -> Tuple[Tuple[int, ...], ...]:
    """Inputs get the position of the result: of all concats, then of all pools, each by the positions before that stage.

    A tensor that several ops of one kind read gets the position of the last in graph order; in vai_q_tensorflow it depends on
    the order in which it happens to visit them.
    """
    sources = {name: number for number, name in enumerate(names)}
    for kind in ('concat', 'pool'):
        before = dict(sources)
        for alignment in active_alignments(plan, config):
            if alignment.kind == kind:
                sources.update((name, before[alignment.output]) for name in alignment.inputs)
    return tuple((sources[name],) for name in names)


class _Rules:
    """The rules of a plan, as forms of the numbers of its groups."""

    def __init__(self, plan: QuantPlan, config: QuantizeConfig, numbers: Mapping[str, int]) -> None:
        self._plan, self._config, self._numbers = plan, config, numbers
        self._groups = self._in_order(group for group in plan.groups if group.input and group.weight and group.output)
        last = {group.node: group for group in self._groups}
        self._inner = {group for group in self._groups if group is not last[group.node]}
        self._operand_groups = self._in_order(plan.operand_groups)

    def _in_order(self, groups: Iterable[_Group]) -> List[_Group]:
        """The groups in the order of their results, so that nothing depends on their order in a plan."""
        return sorted(groups, key=lambda group: (self._numbers[group.output], group))

    def _form(self, constant: int, *terms: Tuple[int, str]) -> Form:
        """The Form of a constant and terms (sign, name), in the order in which they move; equal groups become one term."""
        coefficients: Dict[int, int] = collections.OrderedDict()
        for sign, name in terms:
            number = self._numbers[name]
            coefficients[number] = coefficients.get(number, 0) + sign
        return constant, tuple(term for term in coefficients.items() if term[1])

    def _pairs(self, *names: str, bound: int = 0) -> Pairs:
        return Pairs(tuple(self._numbers[name] for name in names), bound)

    def neighbours(self) -> Iterator[Pairs]:
        """Activations of zeros take the position at the other side of the op, or of another operand."""
        for group in self._groups:
            yield self._pairs(group.output, group.input)
        for operands in self._operand_groups:
            for name in operands.inputs:
                yield self._pairs(operands.output, name)
            yield self._pairs(*operands.inputs)
        for alignment in self._plan.alignments if self._config.align_rule == 'output' else ():
            for name in alignment.inputs:
                yield self._pairs(alignment.output, name)

    def defaults(self) -> Iterator[Neighbour]:
        """Other activations of zeros take position 0; weights and biases of zeros the one at which nothing is shifted."""
        for number in dict.fromkeys(self._numbers[tensor.name] for tensor in self._plan.tensors
                                    if tensor.mode == ACTIVATION_MODE):
            yield number, (0, ())
        for group in self._groups:
            yield self._numbers[group.weight], self._form(0, (1, group.output), (-1, group.input))  # shift_cut 0
            if group.bias and self._limits_bias(group):
                yield self._numbers[group.bias], self._form(POSITION_MAX)  # its limits bring it down from there
            elif group.bias:
                yield self._numbers[group.bias], self._form(0, (1, group.weight), (1, group.input))  # shift_bias 0
        for number in sorted(set(self._numbers.values())):
            yield number, (0, ())

    def _limits_bias(self, group: ComputeGroup) -> bool:
        return self._config.adjust_shift_bias == 1 or bool(self._config.adjust_shift_bias and group.reduction)

    def limits(self) -> Iterator[Union[Limit, Pairs]]:
        """The limits that positions can break: those of activations first, then of weights, then of biases, for each of these
        gives way to the ones before."""
        for limit in self._all_limits():
            if isinstance(limit, Pairs):
                yield limit
            elif not any(constant <= 0 and not terms for constant, terms in limit):
                yield tuple(form for form in limit if form[1])  # a form without groups is always met, or never

    def _all_limits(self) -> Iterator[Union[Limit, Pairs]]:
        for operands in self._operand_groups:
            yield from self._operand_limits(operands)
        if self._config.adjust_shift_cut:
            yield from self._shared_limits()
            for group in self._groups:
                yield from self._cut_limits(group)
        for group in self._groups:
            if group.bias and self._limits_bias(group):
                yield from self._bias_limits(group)

    def _operand_limits(self, group: OperandGroup) -> Collection[Union[Limit, Pairs]]:
        form, inputs, output = self._form, group.inputs, group.output
        if group.kind == 'pool':
            return [(form(-MAX_POOL_SHIFT, (1, one), (-1, other)),)
                    for name in inputs for one, other in ((name, output), (output, name))]
        if group.kind == 'hard_sigmoid':
            return [(form(HARD_SIGMOID_BITS - MAX_HARD_SIGMOID_SHIFT, (1, inputs[0]), (-1, output)),),
                    (form(-HARD_SIGMOID_BITS, (1, output), (-1, inputs[0])),)]
        if group.kind == 'mul':
            return [(form(0, (1, output), *((-1, name) for name in inputs)),),
                    (form(-MAX_MUL_SHIFT_WRITE, *((1, name) for name in inputs), (-1, output)),)]
        return [self._pairs(*inputs, bound=MAX_ADD_SHIFT_READ),
                tuple(form(-MAX_ADD_SHIFT_WRITE, (1, name), (-1, output)) for name in inputs),
                *((form(-MAX_ADD_SHIFT_WRITE, (1, output), (-1, name)),) for name in inputs),
                *self._bits_of_sum(inputs, output)]

    def _bits_of_sum(self, inputs: Sequence[str], output: str) -> Iterator[Limit]:
        """Limits for the bits that an addition of two cuts off: they must not change the rounded result."""
        form = self._form
        for higher, lower in itertools.permutations(inputs) if len(inputs) == 2 else ():
            yield (form(-ADD_EXTRA_BITS, (1, higher), (-1, lower)), form(1 - ADD_EXTRA_BITS, (1, output), (-1, lower)))

    def _shared_limits(self) -> Iterator[Limit]:
        """Limits for ops that share a weight or a bias, so that there is a position for it that suits them all."""
        form = self._form
        for one, other in self._sharing('weight'):
            yield (form(-MAX_SHIFT, (1, one.output), (1, other.input), (-1, other.output), (-1, one.input)),)
        for one, other in self._sharing('bias') if self._config.adjust_shift_bias == 1 else ():
            product = (1, one.weight), (1, one.input)
            yield (form(-2 * MAX_SHIFT, (1, one.output), (-1, other.output)),)
            yield (form(-2 * MAX_SHIFT, *product, (-1, other.output)),
                   form(-MAX_SHIFT, *product, (-1, other.weight), (-1, other.input)),
                   form(0, *product, (-1, one.output)))

    def _sharing(self, field: str) -> List[Tuple[ComputeGroup, ComputeGroup]]:
        """Ordered pairs of compute groups with one tensor in `field`."""
        users: Dict[str, List[ComputeGroup]] = collections.OrderedDict()
        for group in self._groups:
            users.setdefault(getattr(group, field), []).append(group)
        return [(one, other) for name, groups in users.items() if name for one, other in itertools.permutations(groups, 2)]

    def _cut_limits(self, group: ComputeGroup) -> Collection[Limit]:
        """weight + input - output, the shift of the result, is from 0 to 16. The weights move.

        Values inside a compute group move themselves if they are too fine: at the position of the products they are exact.
        """
        output, weight = (1, group.output), (-1, group.weight)
        first = (output, weight) if group in self._inner else (weight, output)
        return [(self._form(0, *first, (-1, group.input)),),
                (self._form(-MAX_SHIFT, (1, group.weight), (1, group.input), (-1, group.output)),)]

    def _bias_limits(self, group: ComputeGroup) -> Iterator[Limit]:
        """weight + input - bias, the shift of the bias, is at most 16 and not so low that the bias leaves the accumulator:
        at least min(0, shift_cut - 16), or with adjust_shift_bias 2 log2(products) - 16. The bias moves.

        If the shift is over 16, the weights give way as far as their own limit allows, except under the rule 'output': they
        lose the last bits, while a bias at a higher position saturates.
        """
        form, weight, data = self._form, (1, group.weight), (1, group.input)
        if self._config.align_rule != 'output':
            yield (form(-MAX_SHIFT, weight, data, (-1, group.bias)), form(0, weight, data, (-1, group.output)))
        yield (form(-MAX_SHIFT, (-1, group.bias), weight, data),)
        down = (1, group.bias), (-1, group.weight), (-1, group.input)
        if self._config.adjust_shift_bias == 2:
            yield (form(min(0, math.ceil(math.log2(group.reduction)) - MAX_SHIFT), *down),)
        else:
            yield (form(0, *down), form(-MAX_SHIFT, (1, group.bias), (-1, group.output)))
