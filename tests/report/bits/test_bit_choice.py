"""The searches for bits, on known errors."""
import itertools

import numpy as np
import pytest

from vai_q_tf.report.bits.bit_choice import fewest_exempt, within_budget


def _rounding(scale, widths=range(4, 9)):
    """Errors like those of rounding: a quarter for each bit more."""
    return {width: scale * 4.0 ** -width for width in widths}


def test_costly_and_small_tensors_keep_their_bits():
    errors = {'first': _rounding(1e6), 'large': _rounding(1.0), 'small': _rounding(1.0)}
    assert within_budget(errors, {'first': 10, 'large': 1000, 'small': 10}, 4 * 1000 + 8 * 20) == {
        'first': 8, 'large': 4, 'small': 8}


def test_the_largest_and_the_smallest_budget():
    errors, sizes = {'a': _rounding(1.0), 'b': _rounding(2.0)}, {'a': 3, 'b': 5}
    assert within_budget(errors, sizes, 8 * 8) == {'a': 8, 'b': 8}
    assert within_budget(errors, sizes, 4 * 8) == {'a': 4, 'b': 4}


def test_a_width_that_is_worse_than_a_smaller_one_is_skipped():
    errors = {'a': {4: 1.0, 5: 9.0, 6: 9.0, 7: 9.0, 8: 0.9}, 'b': _rounding(256.0)}
    assert within_budget(errors, {'a': 10, 'b': 10}, 120) == {'a': 4, 'b': 8}


def test_several_bits_at_once_if_that_is_cheaper_for_each():
    errors = {'a': {4: 1.2, 5: 1.15, 6: 1.1, 7: 1.0, 8: 0.0}, 'b': {4: 2.0, 5: 1.5, 6: 1.0, 7: 0.5, 8: 0.0}}
    assert within_budget(errors, {'a': 10, 'b': 10}, 120) == {'a': 4, 'b': 8}


def test_the_rest_of_a_budget_is_spent():
    """The large tensor gives up more bits than necessary; the small one gets the rest."""
    errors = {'large': {4: 1.0, 8: 0.9}, 'small': _rounding(64.0)}
    assert within_budget(errors, {'large': 1000, 'small': 1}, 8000 + 4) == {'large': 4, 'small': 8}


@pytest.mark.parametrize('seed', range(8))
def test_the_least_errors_within_a_budget(seed):
    random = np.random.RandomState(seed)
    sizes = {name: int(random.randint(1, 500)) for name in 'abcd'}
    errors = {name: _rounding(10.0 ** random.uniform(-2, 2)) for name in 'abcd'}
    for budget in np.linspace(4, 8, 9) * sum(sizes.values()):
        bits = within_budget(errors, sizes, budget)
        assert sum(sizes[name] * bits[name] for name in bits) <= budget
        least = min(sum(errors[name][width] for name, width in zip('abcd', widths))
                    for widths in itertools.product(range(4, 9), repeat=4)
                    if sum(sizes[name] * width for name, width in zip('abcd', widths)) <= budget)
        assert sum(errors[name][bits[name]] for name in bits) == pytest.approx(least, rel=1e-12)


def test_a_budget_is_kept_to_the_bit():
    """Two of three tensors would fit but for a bit each, far less than the parts that the budget is divided into."""
    errors = {name: {4: 1.0, 5: 0.0} for name in 'abc'}
    bits = within_budget(errors, dict.fromkeys('abc', 1000001), 4 * 3000003 + 3000000)
    assert sorted(bits.values()) == [4, 5, 5]


def test_tensors_of_millions():
    """With more elements than parts, the budget is kept, and less than one part per tensor is left."""
    sizes = {name: 3000017 + name for name in range(50)}
    errors = {name: {width: float(8 - width) for width in range(4, 9)} for name in sizes}
    for average in (4, 4.01, 6.3, 8):
        bits = within_budget(errors, sizes, average * sum(sizes.values()))
        spent = sum(sizes[name] * bits[name] for name in sizes)
        assert 0 <= average * sum(sizes.values()) - spent <= max(sizes.values()) * 1.1
        assert average not in (4, 8) or set(bits.values()) <= {average, average - 1}


@pytest.mark.parametrize('seed', range(6))
def test_errors_of_a_network_are_near_the_lower_bound(seed):
    """The bound is that of the Lagrangian dual; sizes of the tensors differ a thousandfold."""
    random = np.random.RandomState(seed)
    sizes = {name: int(10.0 ** random.uniform(1, 4)) for name in range(20)}
    errors = {name: _rounding(10.0 ** scale) for name, scale in zip(sizes, random.uniform(-2, 2, 20))}
    for average in (5, 6, 7):
        budget = average * sum(sizes.values())
        bits = within_budget(errors, sizes, budget)
        bound = max(sum(min(errors[name][width] + price * sizes[name] * width for width in range(4, 9)) for name in sizes)
                    - price * budget for price in np.logspace(-14, 2, 400))
        assert sum(errors[name][bits[name]] for name in sizes) <= 1.1 * bound


def _error_without(costs):
    return lambda exempt: sum(cost for unit, cost in costs.items() if unit not in exempt)


@pytest.mark.parametrize('limit, expected', [(100, ''), (15.9, 'a'), (7, 'ab'), (6.9, 'abc'), (0, 'abcde')])
def test_the_fewest_of_a_sorted_list(limit, expected):
    costs = dict(zip('abcde', (16, 8, 4, 2, 1)))
    assert fewest_exempt(list('abcde'), _error_without(costs), limit) == list(expected)


def test_a_unit_that_turns_out_not_to_matter_is_left_out():
    """'a' costs most alone, but 'b' causes the same error downstream of both."""
    assert fewest_exempt(list('abc'), lambda exempt: 5 * ('b' not in exempt) + ('c' not in exempt), 1) == ['b']
