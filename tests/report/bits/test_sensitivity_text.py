"""A Sensitivity as text; as JSON it is tested with the file in test_sensitivity.py."""
import math

import pytest

from vai_q_tf.report.bits.results import Sensitivity, TensorCost, WeightChoice, WideChoice
from vai_q_tf.report.bits.sensitivity_text import to_text

RESULT = Sensitivity(21.456, 8.0, 3, (TensorCost('w/wquant', 'weight', 8, 5, 22.5, 12.345),
                                      TensorCost('x/aquant', 'input', 8, 7, math.inf, -0.001)))
BITS = (('w/wquant', 16),)
WEIGHTS = WeightChoice(6.0, 5.5, ('w:6',), (('w/wquant', 6),), 20.0, 6, 18.5)
WEIGHTS_TEXT = ('With 5.50 bits for a weight on average, instead of 8.00, the outputs have 20.00 dB; with 6 bits for all '
                'weights, 18.50 dB.')


def test_the_table():
    assert to_text(RESULT).splitlines() == [
        'The outputs have 21.46 dB with all 2 tensors quantized, on 3 batches.',
        '',
        'dB alone  Gain   Bits  Position  Role    Tensor',
        '--------  -----  ----  --------  ------  ------',
        '22.50     12.35  8     5         weight  w/wquant',
        'inf       0.00   8     7         input   x/aquant']


@pytest.mark.parametrize('choice, lines', [
    (WEIGHTS, [WEIGHTS_TEXT, '--nodes_bit w:6']),
    (WEIGHTS._replace(nodes_bit=()), [WEIGHTS_TEXT]),
    (WideChoice(30, True, ('w:16', 'x:4'), BITS, 31.25),
     ['For 30 dB 1 tensors have to stay at 16 bits; with them the outputs have 31.25 dB.', '--nodes_bit w:16,x:4']),
    (WideChoice(10, True, ('x:4',), (), 21.5), ['No tensor has to stay at 16 bits for 10 dB.']),
    (WideChoice(99.5, False, ('w:16',), BITS, 60),
     ['99.5 dB cannot be reached: with 1 of 2 tensors at 16 bits the outputs have 60.00 dB.'])])
def test_the_choice_follows_the_table(choice, lines):
    assert to_text(RESULT._replace(choice=choice)).splitlines()[6:] == [''] + lines
