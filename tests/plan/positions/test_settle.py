"""How positions move until they meet the rules."""
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.positions.small_plans import plan_of_activations
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN, POSITION_ZERO
from vai_q_tf.plan.positions.linear_rules import Pairs, PositionRules
from vai_q_tf.plan.positions.position_rules import position_rules
from vai_q_tf.plan.positions.settle import find_positions, settle
from vai_q_tf.plan.quant_plan import OperandGroup


def _rules(limits=(), neighbours=(), lowest=(POSITION_MIN,) * 3, level=0):
    """The rules of three tensors that share no position."""
    return PositionRules(('a', 'b', 'c'), (0, 1, 2), (True,) * 3, ((0,), (1,), (2,)), lowest, tuple(neighbours),
                         tuple((group, (0, ())) for group in range(3)), tuple(limits), level)


def test_the_first_group_of_a_form_moves_as_far_as_it_can_and_then_the_next():
    a_at_most_b = (((0, ((0, 1), (1, -1))),),)
    assert find_positions(_rules(a_at_most_b), [5, 2, 9]) == [2, 2, 9]
    assert find_positions(_rules(a_at_most_b, lowest=(4, POSITION_MIN, 0)), [5, 2, 9]) == [4, 4, 9]
    assert find_positions(_rules(a_at_most_b), [2, 5, 9]) == [2, 5, 9]


def test_of_several_forms_the_nearest_is_met():
    a_at_most_b_or_c = (((0, ((0, 1), (1, -1))), (0, ((0, 1), (2, -1)))),)
    assert find_positions(_rules(a_at_most_b_or_c), [9, 3, 7]) == [7, 3, 7]
    assert find_positions(_rules(a_at_most_b_or_c), [9, 12, 7]) == [9, 12, 7]


def test_zeros_take_the_position_of_a_neighbour_also_along_a_chain():
    neighbours = ((0, (0, ((1, 1),))), (1, (3, ((2, 1),))))
    assert find_positions(_rules(neighbours=neighbours), [POSITION_ZERO, POSITION_ZERO, 4]) == [7, 7, 4]
    assert find_positions(_rules(neighbours=neighbours), [POSITION_ZERO, 5, POSITION_ZERO]) == [5, 5, 0]


def test_where_nothing_meets_the_rules_all_get_the_level():
    never_both = (((1, ((0, 1), (1, -1))),), ((1, ((1, 1), (0, -1))),))  # a < b and b < a
    assert find_positions(_rules(never_both, level=3), [5, 5, 5]) is None
    assert settle(_rules(never_both, level=3), [5, 5, 5]) == [3, 3, 3]


def _settle_pair_by_pair(rules, positions):
    return settle(rules._replace(
        neighbours=tuple(rules.all_neighbours()), limits=tuple(rules.all_limits())), positions)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_pairs_are_settled_as_one_by_one(data):
    names = 'abcdef'
    operands = data.draw(st.lists(st.sampled_from(names), min_size=2, max_size=6))
    plan = plan_of_activations(*names, 'out', 'more', operand_groups=(
        OperandGroup('add', 'add', tuple(operands), 'out'), OperandGroup('add', 'last', ('out', operands[0]), 'more')))
    rules = position_rules(plan, QuantizeConfig(['in'], ['out']))
    assert any(isinstance(rule, Pairs) for rule in rules.limits)
    near = st.integers(-20, 20) | st.integers(POSITION_MIN, POSITION_MAX) | st.just(POSITION_ZERO)
    positions = data.draw(st.lists(near, min_size=len(rules.lowest), max_size=len(rules.lowest)))
    assert settle(rules, list(positions)) == _settle_pair_by_pair(rules, list(positions))
