"""LegalPositions against `settle`, which leaves legal positions as they are; the search against that over all positions."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan import random_plans
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN
from vai_q_tf.plan.positions.position_rules import position_rules
from vai_q_tf.plan.positions.settle import settle
from vai_q_tf.plan.quant_plan import OperandGroup, QuantPlan, QuantTensor
from vai_q_tf.ptq.fitting.positions import LegalPositions, least_error


def test_a_position_is_allowed_if_settle_changes_nothing():
    answers = set()

    @settings(max_examples=40)
    @given(st.data())
    def check(data):
        plan, config = data.draw(random_plans.plans()), data.draw(random_plans.configs())
        rules = position_rules(plan, config)
        groups = settle(rules, rules.of_groups(data.draw(random_plans.positions(plan))))
        positions = rules.of_tensors(groups)
        legal = LegalPositions(rules)
        near = sorted({position for own in groups for position in range(own - 20, own + 21)
                       if POSITION_MIN <= position <= POSITION_MAX})
        for name, number in zip(rules.names, rules.groups):
            for position in data.draw(st.lists(st.sampled_from(near), min_size=4, max_size=4)) + [positions[name]]:
                changed = list(groups)
                changed[number] = position
                answer = legal.allows(positions, name, position)
                assert answer == (settle(rules, changed) == changed), (name, position)
                answers.add(answer)

    check()
    assert answers == {True, False}


@settings(max_examples=40)
@given(st.data())
def test_the_positions_of_weights_that_are_allowed_have_no_gap(data):
    """So every position between the first and the last legal one is legal."""
    plan, config = data.draw(random_plans.plans()), data.draw(random_plans.configs())
    rules = position_rules(plan, config)
    positions = rules.of_tensors(settle(rules, rules.of_groups(data.draw(random_plans.positions(plan)))))
    legal = LegalPositions(rules)
    for record in plan.tensors:
        if record.role == 'weight':
            allowed = legal.allowed(positions, record.name, POSITION_MIN, POSITION_MAX - POSITION_MIN)
            assert positions[record.name] in allowed
            assert allowed == list(range(allowed[0], allowed[-1] + 1))


def _sum():
    """LegalPositions of x + y + z."""
    tensors = tuple(QuantTensor(name, 'activation', 1, 8, 1, name, ()) for name in ('x', 'y', 'z', 'sum'))
    plan = QuantPlan((), (), (), tensors, (), ())._replace(operand_groups=(OperandGroup('add', 'op', ('x', 'y', 'z'), 'sum'),))
    return LegalPositions(position_rules(plan, QuantizeConfig(['in'], ['out'])))


@pytest.mark.parametrize('position, allowed', [(5, True), (-12, True), (-13, False), (18, True), (19, False)])
def test_an_operand_of_a_sum_is_near_to_all_others(position, allowed):
    assert _sum().allows({'x': 0, 'y': 3, 'z': 3, 'sum': 3}, 'x', position) == allowed


@pytest.mark.parametrize('near, first, finer, allowed', [
    (3, -14, 3, [-12, -11]), (3, 17, 9, [17, 18]), (3, 19, 9, []), (POSITION_MAX, POSITION_MAX, 9, [POSITION_MAX]),
    (POSITION_MIN, POSITION_MIN - 2, 3, [POSITION_MIN, POSITION_MIN + 1])])
def test_legal_positions_from_the_first_to_finer_ones(near, first, finer, allowed):
    assert _sum().allowed({'x': near, 'y': near, 'z': near, 'sum': near}, 'x', first, finer) == allowed


def search(errors, first=0):
    """(position found, positions that were tried); errors: from position `first` on."""
    tried = []

    def error(position):
        tried.append(position)
        return errors[position - first]
    return least_error(range(first, first + len(errors)), error), tried


def test_the_least_of_errors_and_the_first_of_equal_ones():
    assert search([4, 1, 2, 2]) == (1, [0, 1, 2, 3])
    assert search([3, 3, 3]) == (0, [0, 1, 2])
    assert search([0, 0]) == (0, [0, 1])
    assert search([5], first=-7) == (-7, [-7])


def test_nothing_is_tried_after_an_error_of_more_than_twice_the_least():
    assert search([8, 2, 1, 2, 2.1, 0], first=-2) == (0, [-2, -1, 0, 1, 2])
    assert search([0, 1e-30, 0]) == (0, [0, 1])


def test_a_search_needs_a_position():
    with pytest.raises(IndexError):
        least_error([], len)
