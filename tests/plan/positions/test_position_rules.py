"""Decided positions are within the limits of the hardware, whatever was observed; the limits are written out here."""
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan import random_plans
from tests.plan.positions.small_plans import plan_of_activations
from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN, POSITION_ZERO
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.plan.positions.position_rules import position_rules
from vai_q_tf.plan.positions.settle import settle
from vai_q_tf.plan.quant_plan import Alignment, ComputeGroup, OperandGroup, QuantPlan, QuantTensor


def _decide(plan, positions, config):
    observed = {name: final_positions.Observation(position) for name, position in positions.items()}
    return final_positions.decide(plan, observed, config)


def _assert_legal(plan, config, at):
    assert set(at) == {tensor.name for tensor in plan.tensors}
    for tensor in plan.tensors:
        assert max(POSITION_MIN, tensor.min_position) <= at[tensor.name] <= POSITION_MAX
    for group in plan.groups:
        product = at[group.input] + at[group.weight]
        cut = product - at[group.output]
        if config.adjust_shift_cut:
            assert 0 <= cut <= 16
        if group.bias and config.adjust_shift_bias == 1:
            assert min(0, cut - 16) <= product - at[group.bias] <= 16
        if group.bias and config.adjust_shift_bias == 2 and group.reduction:
            assert min(0, math.ceil(math.log2(group.reduction)) - 16) <= product - at[group.bias] <= 16
    for group in plan.operand_groups:
        inputs = [at[name] for name in group.inputs]
        if group.kind == 'mul':
            assert 0 <= sum(inputs) - at[group.output] <= 32
        elif group.kind in ('add', 'activation'):
            spread, finer = max(inputs) - min(inputs), at[group.output] - min(inputs)
            assert spread <= 15 and -15 <= finer <= 15
            assert len(inputs) != 2 or spread <= 2 or finer <= 1
        elif group.kind == 'hard_sigmoid':
            assert 0 <= inputs[0] + 14 - at[group.output] <= 31
        else:
            assert -7 <= inputs[0] - at[group.output] <= 7
    for alignment in plan.alignments if config.align_rule == 'least_error' else ():
        strategy = {'move': 0, 'concat': config.align_concat, 'pool': config.align_pool}[alignment.kind]
        if strategy == 0 or strategy == 1 and alignment.is_output:
            assert {at[name] for name in alignment.inputs} == {at[alignment.output]}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_decided_positions_are_legal_and_stay(data):
    plan, config = data.draw(random_plans.plans()), data.draw(random_plans.configs())
    positions = data.draw(random_plans.positions(plan))
    rules = position_rules(plan, config)
    decided = rules.of_tensors(settle(rules, rules.of_groups(positions)))
    _assert_legal(plan, config, decided)
    if config.align_rule == 'least_error':
        assert _decide(plan, decided, config) == decided


def test_no_positions_are_found():
    """A sum of 1e30 and small values, and its product with x: the product would need a position below the lowest one."""
    tensors = tuple(QuantTensor(name, 'activation', 1, 16, 1, name, ()) for name in ('x', 'c', 'sum', 'product'))
    groups = (OperandGroup('add', 'sum', ('x', 'c'), 'sum'), OperandGroup('mul', 'product', ('sum', 'x'), 'product'))
    plan = QuantPlan((), (), (), tensors, (), (), operand_groups=groups)
    config = QuantizeConfig(['in'], ['out'])
    assert set(_decide(plan, {'x': 14, 'c': 4, 'sum': 10, 'product': 12}, config)) == {'x', 'c', 'sum', 'product'}
    with pytest.raises(errors.QuantizeError, match="'c' suit position -85, .* most tensors about 1") as caught:
        _decide(plan, {'x': 14, 'c': -85, 'sum': 10, 'product': 12}, config)
    assert caught.value.code == errors.UNSUPPORTED_GRAPH and 'ignore_nodes' in caught.value.detail


def _is_legal(plan, config, at):
    try:
        _assert_legal(plan, config, at)
    except AssertionError:
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_legal_positions_stay(data):
    plan = data.draw(random_plans.plans())._replace(alignments=())
    config = data.draw(random_plans.configs())
    positions = {tensor.name: data.draw(st.integers(max(0, tensor.min_position), 9)) for tensor in plan.tensors}
    if _is_legal(plan, config, positions):
        assert _decide(plan, positions, config) == positions


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_shared_weight_does_not_depend_on_the_order_of_theplan_of_activations(data):
    names = ['a', 'b', 'c', 'd', 'w', 'v']
    tensors = tuple(QuantTensor(name, 'activation', int(name < 'v'), 8, 1, name, ()) for name in names)
    groups = [ComputeGroup(str(number), *triple, 27) for number, triple in enumerate(
        [('a', 'w', '', 'b'), ('b', 'w', '', 'c'), ('c', 'w', '', 'd'), ('a', 'v', '', 'd')])]
    positions = {name: data.draw(st.integers(-20, 20)) for name in names}
    found = [_decide(QuantPlan((), (), (), tensors, tuple(order), ()), positions, QuantizeConfig(['in'], ['out']))
             for order in itertools.permutations(groups)]
    assert all(decided == found[0] for decided in found)


@pytest.mark.parametrize('kind, before, after', [
    ('add', (20, 2, 3), (17, 2, 3)),  # the operand with bits that nothing keeps gives way, whichever input it is
    ('add', (2, 20, 3), (2, 17, 3)),
    ('add', (20, 22, 3), (18, 22, 3)),  # the sum's steps are those of the lower one
    ('add', (2, 4, 20), (2, 4, 17)),
    ('add', (8, 2, 3), (8, 2, 3)),
    ('add', (8, 2, 4), (8, 2, 3)),  # the DPU has bits of the first operand down to position 4 only
    ('add', (2, 5, 6), (2, 4, 6)),
    ('mul', (2, 4, 9), (2, 4, 6)),
    ('mul', (20, 22, 3), (13, 22, 3)),
    ('pool', (9, 1), (8, 1)),
    ('pool', (1, 9), (1, 8)),
    ('add', (POSITION_ZERO, 5, 4), (4, 5, 4)),
    ('add', (POSITION_ZERO, 5, POSITION_ZERO), (5, 5, 5)),
    ('pool', (POSITION_ZERO, POSITION_ZERO), (0, 0)),
    ('hard_sigmoid', (26, 7), (24, 7)),
    ('hard_sigmoid', (0, 16), (0, 14)),
    ('activation', (20, 3), (18, 3)),
    ('activation', (3, 20), (3, 18)),
    ('activation', (-12, POSITION_ZERO), (-12, -12)),
])
def test_operands(kind, before, after):
    names = ('x', 'y', 'z')[-len(before):]
    plan = plan_of_activations(*names, operand_groups=(OperandGroup(kind, 'op', names[:-1], 'z'),))
    decided = _decide(plan, dict(zip(names, before)), QuantizeConfig(['in'], ['out'], align_pool=2))
    assert tuple(decided[name] for name in names) == after


def test_the_lowest_position_of_a_hard_sigmoid_moves_the_other_operand():
    plan = plan_of_activations('x', 'gate', 'y', operand_groups=(OperandGroup('add', 'op', ('x', 'gate'), 'y'),))
    tensors = tuple(tensor._replace(min_position=7) if tensor.name == 'gate' else tensor for tensor in plan.tensors)
    config = QuantizeConfig(['in'], ['out'])
    assert _decide(plan._replace(tensors=tensors), {'x': -12, 'gate': 5, 'y': -8}, config) == {'x': -8, 'gate': 7, 'y': -8}


def test_values_inside_a_compute_group_give_way():
    """The products are at 5 + 7 = 12: there `inside`, which is read before the bias, is exact. The result moves the weights."""
    groups = tuple(ComputeGroup('conv', 'x', 'w', bias, output, 27) for bias, output in (('b', 'y'), ('', 'inside')))
    plan = plan_of_activations('x', 'w', 'b', 'inside', 'y')._replace(groups=groups)
    config = QuantizeConfig(['in'], ['out'])
    positions = {'x': 5, 'w': 7, 'b': 8, 'inside': 15, 'y': 4}
    assert _decide(plan, positions, config) == dict(positions, inside=12)
    assert _decide(plan, dict(positions, inside=4, y=15), config) == dict(positions, w=10, inside=4, y=15)


def test_without_errors_a_group_has_the_lowest_position_of_its_roots():
    alignments = (Alignment('move', 'flat', 'flat', ('a',), False), Alignment('concat', 'cat', 'cat', ('flat', 'b'), False),
                  Alignment('pool', 'pool', 'pool', ('cat',), False))
    plan = plan_of_activations('a', 'flat', 'b', 'cat', 'pool', alignments=alignments)
    positions = {'a': 5, 'flat': 1, 'b': 6, 'cat': 2, 'pool': 3}
    assert set(_decide(plan, positions, QuantizeConfig(['in'], ['out'])).values()) == {5}
    assert _decide(plan, positions, QuantizeConfig(['in'], ['out'], align_pool=2)) == {
        'a': 5, 'flat': 5, 'b': 5, 'cat': 5, 'pool': 3}
    assert _decide(plan, positions, QuantizeConfig(['in'], ['out'], align_pool=2, align_concat=2)) == {
        'a': 5, 'flat': 5, 'b': 6, 'cat': 2, 'pool': 3}


def test_a_sum_of_many_has_few_rules():
    names = ['x{}'.format(number) for number in range(1000)]
    plan = plan_of_activations(*names, 'out', operand_groups=(OperandGroup('add', 'add', tuple(names), 'out'),))
    config = QuantizeConfig(['in'], ['out'])
    rules = position_rules(plan, config)
    assert len(rules.limits) + len(rules.neighbours) < 3000
    decided = _decide(plan, dict(dict.fromkeys(names, 0), x500=40, x600=POSITION_ZERO, out=POSITION_ZERO), config)
    assert decided['x500'] - min(decided.values()) <= 15 and decided['x600'] != POSITION_ZERO
