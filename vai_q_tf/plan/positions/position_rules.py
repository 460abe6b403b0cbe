"""The rules that a plan makes for its positions: the ranges of the shift registers, and what tensors of zeros take."""
import collections
import itertools
import math
from typing import Dict, List

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import (
    HARD_SIGMOID_BITS,
    MAX_ADD_SHIFT_READ,
    MAX_ADD_SHIFT_WRITE,
    MAX_HARD_SIGMOID_SHIFT,
    MAX_MUL_SHIFT_WRITE,
    MAX_POOL_SHIFT,
    MAX_SHIFT,
)
from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN
from vai_q_tf.plan.positions.joined import active_alignments, group_numbers
from vai_q_tf.plan.positions.linear_rules import Pairs, PositionRules
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE, QuantPlan


def position_rules(plan: QuantPlan, config: QuantizeConfig) -> PositionRules:
    """The PositionRules of a plan; align_rule, align_concat, align_pool, adjust_shift_cut and adjust_shift_bias act.

    Under the rule 'output' no tensors share a position.
    """
    names = tuple(tensor.name for tensor in plan.tensors)
    numbers = group_numbers(plan, config)
    results = {alignment.output for alignment in active_alignments(plan, config)} if config.align_rule != 'output' else set()
    lowest = [POSITION_MIN] * len(set(numbers.values()))
    activations: Dict[int, None] = {}
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
