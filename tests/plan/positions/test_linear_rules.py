"""Rules as data: pairs written out, and positions of tensors and of groups."""
from vai_q_tf.fixed_point import POSITION_MIN
from vai_q_tf.plan.positions.linear_rules import Pairs, PositionRules


def _is_met(limit, positions):
    return any(constant + sum(factor * positions[group] for group, factor in terms) <= 0 for constant, terms in limit)


def test_pairs_bound_the_spread_of_all_operands():
    pairs = Pairs((4, 1, 4, 3), bound=2)
    for positions in ({1: 0, 3: 1, 4: 2}, {1: 0, 3: 1, 4: 3}, {1: 5, 3: 2, 4: 4}, {1: 7, 3: 7, 4: 7}):
        assert all(_is_met(limit, positions) for limit in pairs.limits()) == (
            max(positions.values()) - min(positions.values()) <= 2)
    assert [limit[0][1] for limit in pairs.limits_of(1)] == [((1, 1), (4, -1)), ((1, 1), (4, -1)), ((1, 1), (3, -1))]


def test_each_operand_of_pairs_is_a_neighbour_of_each_other():
    assert set(Pairs((4, 1, 4, 3)).neighbours()) == {
        (one, (0, ((other, 1),))) for one in (1, 3, 4) for other in (1, 3, 4) if one != other}


_RULES = PositionRules(
    ('a', 'b', 'c'), (0, 1, 0), (True, True, False), ((0,), (0, 1)), (POSITION_MIN,) * 2,
    neighbours=((0, (5, ())), Pairs((0, 1))), defaults=(), limits=(Pairs((0, 1), 3), ((-1, ((0, 1),)),)), level=0)


def test_pairs_are_written_out():
    assert _RULES.all_neighbours() == [(0, (5, ())), (0, (0, ((1, 1),))), (1, (0, ((0, 1),)))]
    assert _RULES.all_limits() == [((-3, ((0, 1), (1, -1))),), ((-3, ((1, 1), (0, -1))),), ((-1, ((0, 1),)),)]


def test_groups_begin_with_the_lowest_position_of_their_sources():
    assert _RULES.of_groups({'a': 4, 'b': 2, 'c': -9}) == [4, 2]
    assert _RULES.of_groups({'a': 1, 'b': 2, 'c': -9}) == [1, 1]
    assert _RULES.of_tensors([6, 7]) == {'a': 6, 'b': 7, 'c': 6}
