"""Hints appear for the faults that they name, and for no other ones."""
import shutil

import numpy as np
import pytest

from tests.comparison.test_compare import as_board, measured, overwrite, pairs
from vai_q_tf.comparison.compare import compare
from vai_q_tf.comparison.difference import Difference
from vai_q_tf.comparison.hints import hints_on_values
from vai_q_tf.comparison.pairs import Pair
from vai_q_tf.report.dumps.dump import dump

INTEGERS = np.random.RandomState(0).randint(-128, 128, (1, 4, 5, 6)).astype(np.int8)


def hints(a, b, positions=(3, 3)):
    pair = Pair('x', ('x', 'x'), (8, 8), positions, False)
    return hints_on_values(Difference(pair, 0), pair, a, b)


def scaled(power, rounding=np.rint, low=-128, high=127):
    return np.clip(rounding(INTEGERS * 2.0**power), low, high).astype(np.int8)


@pytest.mark.parametrize('power, text', [(-1, '1/2'), (1, '2'), (-3, '1/8'), (3, '8')])
@pytest.mark.parametrize('rounding', [np.rint, np.floor])
def test_a_factor(power, text, rounding):
    b = scaled(power, rounding)
    b[0, 0, 0, 0] += 40  # one of 120 elements may differ otherwise
    expected = "B is A times {} in 'x'".format(text)
    assert hints(INTEGERS, b) == ['{}: the positions of the two sides seem to differ by {}.'.format(expected, abs(power))]
    assert hints(INTEGERS, b.astype(np.float32) / 8, (3, None)) == [expected + '.']


def test_a_finer_position_has_digits_that_the_other_rounded_off():
    exact = np.random.RandomState(1).uniform(-60, 60, 200)
    assert hints(np.rint(exact).astype(np.int8), np.rint(2 * exact).astype(np.int8))[0].startswith('B is A times 2 ')
    relu = np.maximum(np.rint(exact), 0)
    assert hints(relu.astype(np.int8), np.rint(relu / 2).astype(np.int8))[0].startswith('B is A times 1/2 ')


def test_another_order():
    def names(a, b):
        found = hints(a, b)
        return found and found[0].replace("B has the values of A in another order in 'x'", '')
    nchw = INTEGERS.transpose(0, 3, 1, 2).ravel().reshape(INTEGERS.shape)
    assert names(INTEGERS, nchw) == names(nchw, INTEGERS) == ', as between NHWC and NCHW.'
    assert names(INTEGERS, INTEGERS[:, ::-1]) == names(INTEGERS.ravel(), INTEGERS.ravel()[::-1]) == '.'
    assert not names(INTEGERS, np.where(np.arange(6) == 5, INTEGERS + np.int8(1), INTEGERS))
    assert not hints(INTEGERS, nchw, (3, 4)) and not hints(INTEGERS, nchw[0])


@pytest.mark.parametrize('b', [
    INTEGERS + np.int8(1), INTEGERS ^ np.int8(-128), -INTEGERS, np.zeros_like(INTEGERS), np.full_like(INTEGERS, 127),
    np.random.RandomState(2).randint(-128, 128, INTEGERS.shape).astype(np.int8),
    np.where(INTEGERS > 64, INTEGERS >> 1, INTEGERS)])
def test_no_hint_without_certainty(b):
    assert hints(INTEGERS, b) == [] and hints(b, INTEGERS) == []
    assert hints(INTEGERS.astype(np.float32), np.full(INTEGERS.shape, np.nan), (None, 3)) == []
    assert hints(INTEGERS.ravel()[:7], scaled(-1).ravel()[:7]) == []  # too few


def test_a_file_that_is_wrong_although_the_computation_is_right(tmp_path):
    """y is equal although x differs: only a dump can do that."""
    directory = tmp_path / 'dump'
    dump(measured(), pairs, str(directory))
    as_board(directory)
    assert _order(directory) == []
    overwrite(directory / 'dump_results_0' / 'x_aquant.bin', 0, 99)
    assert _order(directory) == ["The activation after 'x/aquant' is equal: if computed from it, its file is wrong, not the "
                                 'computation.']
    overwrite(directory / 'dump_results_0' / 'x_aquant.bin', 0, 5)  # by one step: the next op may hide it
    assert _order(directory) == []
    overwrite(directory / 'dump_results_0' / 'x_aquant.bin', 0, 99)
    overwrite(directory / 'dump_results_0' / 'y_aquant.bin', 0, 99)
    assert _order(directory) == []
    shutil.rmtree(str(directory))


def _order(directory):
    return [note for note in compare(measured(), str(directory), pairs).notes if 'its file' in note]
