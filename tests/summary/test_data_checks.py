"""Warnings about calibration data that look wrong, next to data that must not cause any."""
import numpy as np
import pytest

from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor
from vai_q_tf.ptq.calibration.input_ranges import InputRange
from vai_q_tf.summary.data_checks import clipped_weights, input_warnings, odd_positions
from vai_q_tf.summary.results import InputSummary


def _range(low, high, share=0.0, position=7, deviations=(1.0, 1.0)):
    counts = np.zeros(256, np.int64)
    counts[128 + position - 1], counts[128 + position] = round(1000 * share), 1000 - round(1000 * share)
    return InputRange(8, low, high, 1000, counts, deviations)


@pytest.mark.parametrize('values, words', [
    (_range(-1.0, 1.0), ''), (_range(0.0, 0.0), ''), (_range(0.0, 1.0), ''),
    (_range(0.5, 0.5), "All values of the input 'x' are 0.5"), (_range(-3.0, -3.0), 'are -3,'),
    (_range(0.97, 1.0), 'from 0.97 to 1: they are all at one end'), (_range(-1.0, -0.95), 'at one end'), (_range(0.9, 1.0), ''),
    (_range(-1.5, 1.5, 0.2), '20.0% of them are out of range at its position 7'), (_range(-1.5, 1.5, 0.02), ''),
    (_range(0.0, 1.0, 0.2), ''),  # 1 becomes 127/128
    (_range(-1.0, 1.0, deviations=(1.0, 0.9, 60.0, 1.1)), 'In 1 of 4 batches, the first of them in step 2'),
    (_range(-1.0, 1.0, deviations=(1.0, 0.0, 0.0, 1.1, 1.0)), 'In 2 of 5 batches, the first of them in step 1'),
    (_range(-1.0, 1.0, deviations=(1.0, 1.0, 40.0)), 'have a standard deviation of 40; usually it is 1.'),
    (_range(-1.0, 1.0, deviations=(1.0, 0.1, 10.0)), '')])
def test_ranges(values, words):
    given = InputSummary('x', values.low, values.high, values.bits, 7, values.saturated(7))
    found = list(input_warnings(given, values.deviations))
    assert len(found) == bool(words) and all(words in text for text in found), found


def test_the_share_out_of_range():
    values = _range(-2.0, 2.0, 0.25)
    assert [values.saturated(position) for position in (5, 6, 7, 8, 127)] == [0, 0, 0.25, 1, 1]


def test_odd_positions_are_named():
    plan = QuantPlan((), (), (), tuple(QuantTensor(name, 'activation', 1, 8, 1, '', ()) for name in 'abcdef'), (), ())
    usual = dict.fromkeys('abcdef', 5)
    assert odd_positions(plan, usual) == '' == odd_positions(plan, dict(usual, a=-9, b=19))
    assert odd_positions(plan, dict(usual, b=-10, f=20)).endswith(': b (-10), f (20)')
    assert odd_positions(plan, dict.fromkeys('abcdef', 20)).endswith(': a (20), b (20), c (20) and 3 more')


def test_only_positions_of_activations_are_odd():
    roles = ('weight', 'bias', 'constant', 'input', 'activation')
    plan = QuantPlan((), (), (), tuple(
        QuantTensor('{}/{}'.format(role, bits), role, int(role not in ('weight', 'bias')), bits, 1, '', ())
        for role in roles for bits in (8, 16)), (), ())
    for position, odd in ((19, ''), (27, 'input/8 (27), activation/8 (27)'), (-1, ''), (
            -2, 'input/16 (-2), activation/16 (-2)')):
        found = odd_positions(plan, {tensor.name: position for tensor in plan.tensors})
        assert found == ('Odd positions, of values that are very large or very small: ' + odd) * bool(odd)


def test_weights_out_of_range_are_named():
    plan = QuantPlan((), (), (), tuple(
        QuantTensor(name + '/wquant', role, 0, bits, 1, name, ()) for name, role, bits in (
            ('a', 'weight', 8), ('b', 'weight', 8), ('wide', 'weight', 16), ('bias', 'bias', 8))), (), ())
    values = np.linspace(-1, 1, 101)  # at position 7 all are in range, 1.0 by half a step
    positions = {tensor.name: 7 for tensor in plan.tensors}
    assert clipped_weights(plan, positions, lambda name: values) == ''
    assert clipped_weights(plan, dict(positions, **{'a/wquant': 8, 'bias/wquant': 9}), lambda name: values).endswith(
        ': a (50%). A result with more bits than its weights causes this, as do very small values of the result.')
    few = np.where(np.arange(101) < 10, 1.9, 0.5)  # 10 of 101
    assert clipped_weights(plan, positions, lambda name: few) == ''
    few[10] = -1.9
    assert 'a (11%), b (11%). A result' in clipped_weights(plan, positions, lambda name: few)
