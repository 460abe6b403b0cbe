"""Likely causes of the errors of tensors."""
import pytest

from vai_q_tf.analysis.results import TensorError
from vai_q_tf.summary.advice import advice, is_uneven


def _error(role, layer='conv', bits=8, saturated=0.0, zeroed=0.0, alone=40.0, lost=0.0):
    return TensorError(layer + '/quant', layer, role, bits, 5, 0.0, 0.996, saturated, zeroed, alone, alone, None, lost)


@pytest.mark.parametrize('error, words', [
    (_error('weight', alone=0, lost=20), 'differ from those of the float graph'),
    (_error('weight', zeroed=0.61), '61% of the weights round to 0'),
    (_error('activation', saturated=0.217, lost=26), 'larger than in calibration'),
    (_error('activation', zeroed=0.5, lost=26), 'rare large value'),
    (_error('bias', alone=-20, lost=30), 'are fine for a fitted bias')])
def test_each_kind_of_error_has_its_cause(error, words):
    text, = advice([error])
    assert text.startswith('conv: ') and words in text


@pytest.mark.parametrize('error', [
    _error('input', lost=6.02), _error('weight', zeroed=0.25), _error('weight', zeroed=0.6, bits=4), _error('weight', alone=25),
    _error('activation', alone=33, lost=5.4, saturated=0.1, zeroed=0.4), _error('activation', lost=6.8, saturated=0.002),
    _error('bias', alone=30), _error('constant', alone=0, lost=30, zeroed=1.0)])
def test_usual_errors_have_no_advice(error):
    assert advice([error]) == ()


def test_other_data_explain_everything():
    rows = [_error('bias', alone=-10, lost=45), _error('input', 'image', lost=47, zeroed=1.0),
            _error('activation', lost=40, zeroed=1)]
    text, = advice(rows)
    assert text.startswith('image: these data have another range (0 to 0.996) than those of calibration')


@pytest.mark.parametrize('low, high, saturated, is_other', [
    (-0.992, 1.0, 0.0, False),  # 8 bits at position 5 reach from -4 to 4
    (-1.5, 1.0, 0.005, False), (-0.99, 0.9, 0.0, True), (0.0, 0.004, 0.0, True), (0.0, 255.0, 0.98, True)])
def test_an_input_at_a_position_that_is_one_off_has_no_other_range(low, high, saturated, is_other):
    error = _error('input', lost=8.3, saturated=saturated)._replace(low=low, high=high)
    assert bool(advice([error])) is is_other


def test_each_cause_once_for_its_worst_layer_and_weights_first():
    found = advice([_error('bias', 'a', alone=-3), _error('activation', 'a', saturated=1, lost=9),
                    _error('weight', 'w', zeroed=0.5), _error('activation', 'b', saturated=1, lost=8)])
    assert [text.partition(':')[0] for text in found] == ['w', 'a', 'a'] and 'bias' in found[-1]


def test_weights_with_few_bits_become_0_in_any_case():
    assert [is_uneven(_error('weight', bits=bits, zeroed=0.3)) for bits in (4, 5, 6, 8)] == [False, False, True, True]
    assert not is_uneven(_error('activation', zeroed=0.9))
