"""Final positions, against results computed by hand and by brute force."""
import numpy as np
import pytest

from vai_q_tf import fixed_point
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import POSITION_ZERO
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.plan.quant_plan import Alignment, ComputeGroup, QuantPlan, QuantTensor


def _tensor(name, mode=1, method=1, **fields):
    return QuantTensor(name, 'activation' if mode == 1 else 'weight', mode, 8, method, name, (), **fields)


def _plan(names, groups=(), alignments=(), operand_groups=(), **methods):
    parameters = {name for group in groups for name in (group.weight, group.bias)}
    tensors = [name if isinstance(name, QuantTensor) else
               _tensor(name, int(name not in parameters), methods.get(name, 1)) for name in names]
    return QuantPlan((), (), (), tuple(tensors), tuple(groups), (), tuple(alignments), tuple(operand_groups))


def _config(**fields):
    return QuantizeConfig(['in'], ['out'], **fields)


def _observed(**positions):
    return {name: final_positions.Observation(position) for name, position in positions.items()}


def _observe(data, bits=8):
    """The Observation of one batch, all errors computed with NumPy."""
    position = fixed_point.search_position(data, bits)
    table = np.zeros(256)
    for candidate in range(-126, 127):
        quantized = fixed_point.quantize(data, candidate, bits).astype(np.float64)
        table[candidate + 128] = ((quantized - data) ** 2).sum()
    return final_positions.Observation(position, table)


@pytest.mark.parametrize('before, after', [
    # (input, weight, output, bias); the worked examples of the measured shifts
    ((6, 7, 4, 8), (6, 7, 4, 8)),
    ((5, 10, -3, 8), (5, 8, -3, 8)),
    ((3, 2, 7, 1), (3, 4, 7, 1)),
    ((6, 7, 4, POSITION_ZERO), (6, 7, 4, 20)),
    ((0, 0, 0, -20), (0, 0, 0, -16)),
    ((12, 16, 12, 11), (12, 15, 12, 11)),  # the weights give way, not the bias
    ((2, 16, 17, 0), (2, 15, 17, 1)),  # as far as their own limit lets them
    ((POSITION_ZERO, 7, 4, 8), (4, 7, 4, 8)),
    ((6, 7, POSITION_ZERO, 8), (6, 7, 6, 8)),
])
def test_shift_limits(before, after):
    names = ('i', 'w', 'o', 'b')
    plan = _plan(names, [ComputeGroup('conv', 'i', 'w', 'b', 'o', 27)])
    decided = final_positions.decide(plan, _observed(**dict(zip(names, before))), _config())
    assert tuple(decided[name] for name in names) == after


@pytest.mark.parametrize('before, after', [((12, 16, 12, 11), (12, 16, 12, 12)), ((2, 16, 17, 0), (2, 16, 17, 2))])
def test_the_output_rule_moves_the_bias_alone(before, after):
    names = ('i', 'w', 'o', 'b')
    plan = _plan(names, [ComputeGroup('conv', 'i', 'w', 'b', 'o', 27)])
    decided = final_positions.decide(plan, _observed(**dict(zip(names, before))), _config(align_rule='output'))
    assert tuple(decided[name] for name in names) == after


def test_shift_limits_are_off():
    plan = _plan(['i', 'w', 'o', 'b'], [ComputeGroup('conv', 'i', 'w', 'b', 'o', 27)])
    observed = _observed(i=5, w=10, o=-3, b=POSITION_ZERO)
    decided = final_positions.decide(plan, observed, _config(adjust_shift_cut=0, adjust_shift_bias=0))
    assert decided == {'i': 5, 'w': 10, 'o': -3, 'b': 15}  # that of the products, because a tensor of zeros has none


@pytest.mark.parametrize('reduction, bias', [(27, 24), (9 * 512, 16), (1, 29), (2 ** 20, 13), (0, 13)])
def test_dynamic_bias_limit_counts_the_products(reduction, bias):
    """Product position 13: the lowest shift is ceil(log2(products)) - 16, at most 0."""
    plan = _plan(['i', 'w', 'o', 'b'], [ComputeGroup('conv', 'i', 'w', 'b', 'o', reduction)])
    decided = final_positions.decide(plan, _observed(i=6, w=7, o=4, b=POSITION_ZERO), _config(adjust_shift_bias=2))
    assert decided['b'] == bias


@pytest.mark.parametrize('before, after', [
    (dict(i=POSITION_ZERO, w=7, o=POSITION_ZERO, b=5), dict(i=0, w=7, o=0, b=5)),
    (dict(i=6, w=POSITION_ZERO, o=4, b=5), dict(i=6, w=-2, o=4, b=5)),
    (dict.fromkeys('iwob', POSITION_ZERO), dict(i=0, w=0, o=0, b=16)),
])
def test_tensors_of_zeros(before, after):
    plan = _plan(['i', 'w', 'o', 'b'], [ComputeGroup('conv', 'i', 'w', 'b', 'o')])
    assert final_positions.decide(plan, _observed(**before), _config()) == after


def test_zeros_without_neighbours():
    assert final_positions.decide(_plan(['a', _tensor('w', 0)]), _observed(a=POSITION_ZERO, w=POSITION_ZERO), _config()) == {
        'a': 0, 'w': 0}


@pytest.mark.parametrize('kind, settings', [('concat', {}), ('pool', {}), ('pool', {'align_pool': 2})])
def test_zeros_after_a_weighted_op_move_together_with_their_group(kind, settings):
    groups = [ComputeGroup('conv', 'i', 'w', '', 'o'), ComputeGroup('next', 'p', 'v', '', 'q')]
    plan = _plan(['i', 'w', 'o', 'p', 'v', 'q'], groups, [Alignment(kind, 'p', 'p', ('o',), False)])
    observed = dict(_observed(i=6, w=7, v=5, q=3),
                    **dict.fromkeys(['o', 'p'], final_positions.Observation(POSITION_ZERO, np.zeros(256))))
    decided = final_positions.decide(plan, observed, _config(**settings))
    assert decided == {'i': 6, 'w': 7, 'o': 6, 'p': 3 if settings else 6, 'v': 5, 'q': 3}


def test_lowest_positions():
    plan = _plan([_tensor('gate', min_position=7), _tensor('sum', min_position=0), _tensor('other')])
    assert final_positions.decide(plan, _observed(gate=5, sum=-3, other=-3), _config()) == {'gate': 7, 'sum': 0, 'other': -3}
    assert final_positions.decide(plan, _observed(gate=9, sum=3, other=-3), _config()) == {'gate': 9, 'sum': 3, 'other': -3}


_ALIGNMENTS = (Alignment('concat', 'cat', 'cat', ('a', 'b'), False), Alignment('pool', 'pool', 'pool', ('cat',), True))


def _data():
    random = np.random.RandomState(0)
    a, b = random.normal(0, 3, 500).astype(np.float32), random.normal(0, 0.2, 400).astype(np.float32)
    joined = np.concatenate([a, b])
    return {'a': a, 'b': b, 'cat': joined, 'pool': joined.reshape(-1, 3).max(1)}


def test_a_group_has_the_least_error_over_all_its_members():
    data = _data()
    plan = _plan(data, alignments=_ALIGNMENTS)
    decided = final_positions.decide(plan, {name: _observe(value) for name, value in data.items()}, _config())
    errors = {position: sum(((fixed_point.quantize(value, position).astype(np.float64) - value) ** 2).sum()
                            for value in data.values()) for position in range(-3, 15)}
    best = min(errors, key=lambda position: (errors[position], position))
    assert decided == dict.fromkeys(data, best)
    assert fixed_point.search_position(data['b']) != best


def test_of_positions_without_error_the_highest_is_taken():
    """As for a single tensor: all positions from -1 to 4 are exact for a relu6 that was 0 or 6."""
    data = dict.fromkeys(_data(), np.float32([0, 6, 6]))
    plan = _plan(data, alignments=_ALIGNMENTS)
    decided = final_positions.decide(plan, {name: _observe(value) for name, value in data.items()}, _config())
    assert set(decided.values()) == {4} == {fixed_point.search_position(data['a'])}


def test_the_position_of_a_member_that_must_not_overflow_is_the_highest():
    data = _data()
    plan = _plan(data, alignments=_ALIGNMENTS, a=0)
    observed = {name: _observe(value) for name, value in data.items()}
    observed['a'] = observed['a']._replace(position=1)
    assert set(final_positions.decide(plan, observed, _config()).values()) == {1}


def test_zeros_follow_the_group():
    data = dict(_data(), b=np.zeros(3, np.float32))
    plan = _plan(data, alignments=_ALIGNMENTS)
    decided = final_positions.decide(plan, {name: _observe(value) for name, value in data.items()}, _config())
    assert decided['b'] == decided['a'] != POSITION_ZERO
    zeros = dict.fromkeys(data, final_positions.Observation(POSITION_ZERO, np.zeros(256)))
    assert set(final_positions.decide(plan, zeros, _config()).values()) == {0}


@pytest.mark.parametrize('concat, pool, names', [
    (0, 0, {'a', 'b', 'cat', 'pool'}), (2, 0, {'cat', 'pool'}), (1, 1, {'cat', 'pool'}), (0, 2, {'a', 'b', 'cat'}),
    (2, 2, set())])
def test_errors_are_measured_where_they_decide(concat, pool, names):
    moves = (Alignment('move', 'flat', 'flat', ('pool',), False), Alignment('move', 'turned', 'turned', ('single',), False))
    plan = _plan(list(_data()) + ['flat', 'single', 'turned'], alignments=_ALIGNMENTS + moves)
    assert final_positions.measured(plan, _config(align_concat=concat, align_pool=pool)) == names
    assert final_positions.measured(plan, _config(align_rule='output')) == set()


def test_a_moved_tensor_has_the_position_of_its_source():
    plan = _plan(['a', 'flat', 'padded'], alignments=[
        Alignment('move', 'flat', 'flat', ('a',), False), Alignment('move', 'padded', 'padded', ('flat',), False)])
    observed = _observed(a=5, flat=3, padded=POSITION_ZERO)
    assert final_positions.decide(plan, observed, _config(align_concat=2, align_pool=2)) == dict(a=5, flat=5, padded=5)
    assert final_positions.decide(plan, observed, _config(align_rule='output')) == dict(a=5, flat=3, padded=3)


def test_output_rule_takes_the_positions_before_each_stage():
    """The pool's input is the concat: it gets the pool's position, and the concat's inputs keep what the concat had."""
    plan = _plan(_data(), alignments=_ALIGNMENTS)
    decided = final_positions.decide(plan, _observed(a=1, b=6, cat=3, pool=4), _config(align_rule='output'))
    assert decided == {'a': 3, 'b': 3, 'cat': 4, 'pool': 4}


def test_output_rule_of_a_shared_input_is_that_of_the_last():
    alignments = (Alignment('concat', 'one', 'one', ('a',), False), Alignment('concat', 'two', 'two', ('a', 'one'), False))
    decided = final_positions.decide(
        _plan(['a', 'one', 'two'], alignments=alignments), _observed(a=1, one=2, two=3), _config(align_rule='output'))
    assert decided == {'a': 3, 'one': 3, 'two': 3}


def test_error_table_covers_all_positions():
    data = np.random.RandomState(1).normal(0, 5, 300).astype(np.float32)
    first, window = fixed_point.position_errors(data, 8, 1, 9, 6)
    table, exact = final_positions.error_table(first, window), _observe(data).errors
    inside = slice(0, first + 128 + len(window))
    np.testing.assert_allclose(table[inside][2:], exact[inside][2:], rtol=1e-6)
    above = slice(first + 128 + len(window), 255)
    assert (table[above] >= exact[above] * (1 - 1e-6)).all()


def _concat_of(*names):
    return Alignment('concat', names[-1], names[-1], names[:-1], False)


def test_a_chosen_position_is_that_of_its_whole_group():
    plan = _plan(['a', 'b', 'c', 'd'], alignments=[_concat_of('a', 'b', 'c')])
    observed = _observed(a=3, b=7, c=5, d=9)
    assert final_positions.decide(plan, observed, _config()) == {'a': 3, 'b': 3, 'c': 3, 'd': 9}
    for name in 'abc':
        assert final_positions.decide(plan, observed, _config(), {name: 6}) == {'a': 6, 'b': 6, 'c': 6, 'd': 9}
    assert final_positions.decide(plan, observed, _config(), {'d': 1}) == {'a': 3, 'b': 3, 'c': 3, 'd': 1}
    assert final_positions.decide(plan, observed, _config(), {}) == final_positions.decide(plan, observed, _config())


def test_a_chosen_position_replaces_the_least_error_and_keeps_within_the_limits():
    data = np.linspace(-1, 1, 50, dtype=np.float32)
    plan = _plan(['i', 'w', 'o', 'p'], [ComputeGroup('conv', 'i', 'w', '', 'o', 27)], [_concat_of('o', 'p')])
    observed = dict(_observed(i=2, w=3), o=_observe(data), p=_observe(data / 2))
    free = final_positions.decide(plan, observed, _config())
    assert free['o'] == free['p'] == 7 and free['w'] == 5  # the cut is 0
    assert final_positions.decide(plan, observed, _config(), {'o': 4}) == {'i': 2, 'w': 3, 'o': 4, 'p': 4}
    assert final_positions.decide(plan, observed, _config(), {'p': 9}) == {'i': 2, 'w': 7, 'o': 9, 'p': 9}


def test_shared_groups_are_those_of_several_without_results_of_moves():
    moved = Alignment('move', 'r', 'r', ('a',), False)
    plan = _plan(['a', 'r', 'b', 'c', 'd'], alignments=[moved, _concat_of('r', 'b', 'c')])
    assert final_positions.shared(plan, _config()) == [('a', 'b', 'c')]
    assert final_positions.measured(plan, _config()) == {'a', 'b', 'c'}
    assert final_positions.shared(plan, _config(align_concat=2)) == []
    assert final_positions.shared(plan, _config(align_rule='output')) == []


def test_of_positions_with_the_least_error_the_lowest_is_taken():
    table = np.full(256, 5.0)
    table[128 + 3] = table[128 + 4] = 1
    assert final_positions.least_error(table) == 3
    table[128 - 126] = 0
    assert final_positions.least_error(table) == -126
    table[128 + 126] = -1
    assert final_positions.least_error(table) == 126
    table[128 + 127] = table[0] = -2  # no positions of values
    assert final_positions.least_error(table) == 126
