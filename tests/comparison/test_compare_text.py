"""A Comparison as text, with the answer first, and as JSON."""
import json

import pytest

from vai_q_tf.comparison.compare_text import to_json, to_text
from vai_q_tf.comparison.results import Comparison, TensorComparison

EQUAL = TensorComparison('x/aquant', 8, 2, 8, 2, (3, 2), (3, 2), False, 0.0, 0.0, 0.0)
FAR = TensorComparison('conv3/Relu/aquant', 8, 4, 8, 4, (3, 2), (3, 2), True, 12.0, 1.25, 0.34, 1, (2, 0), 0.75, 0.0)
MOVED = FAR._replace(b_position=7, b_bits=16, greatest=1.0, differing=0.0004)
FIRST = 'The first tensor that differs is '
SHAPE = TensorComparison('w/wquant', 8, 4, 8, 4, (3, 2), (3, 1), True)


def comparison(*tensors, **fields):
    return Comparison('a.pb', 'board', 2, 0.0, tensors, (), (), ())._replace(**fields)


@pytest.mark.parametrize('tensors, fields, sentence', [
    ([EQUAL], {}, 'All 1 tensors are equal'),
    ([EQUAL, EQUAL], {'only_a': ('z',)}, 'All 2 tensors that both sides have are equal'),
    ([EQUAL], {'tolerance': 1.0}, 'All 1 tensors agree within 1 step'),
    ([EQUAL], {'tolerance': 2.5}, 'All 1 tensors agree within 2.5 steps'),
    ([EQUAL, FAR, SHAPE], {}, FIRST + "'conv3/Relu/aquant': up to 12 steps, 34.0 % of its elements differ"),
    ([MOVED], {}, FIRST + "'conv3/Relu/aquant': up to 1 step, < 0.1 % of its elements differ; its position is 4 in A, 7 in B"),
    ([FAR._replace(greatest=float('inf'), a_position=None, a_bits=None)], {},
     FIRST + "'conv3/Relu/aquant': up to inf steps, 34.0 % of its elements differ"),
    ([SHAPE], {}, FIRST + "'w/wquant': its shape is [3,2] in A, [3,1] in B"),
])
def test_the_first_line_answers(tensors, fields, sentence):
    assert to_text(comparison(*tensors, **fields)).splitlines()[0] == sentence


def test_the_table():
    lines = to_text(comparison(EQUAL, FAR, MOVED, SHAPE, only_b=tuple('abcdefg'), notes=('Look.',))).splitlines()
    assert lines[1:4] == ['A is a.pb, B is board; 2 batches.', 'Look.', 'Only in B: a, b, c, d, e and 2 more']
    rows = [line.split() for line in lines[-4:]]
    assert rows[0] == ['0', '0', '0', '%', '8', '2', 'x/aquant']
    assert rows[1] == ['differs', '12', '1.25', '34.0', '%', '1,', '[2,0]', '0.75', '0', '8', '4', 'conv3/Relu/aquant']
    assert rows[2][-7:] == ['8', '/', '16', '4', '/', '7', 'conv3/Relu/aquant']
    assert rows[3] == ['differs', 'other', 'shapes', '[3,2]', '[3,1]', '8', '4', 'w/wquant']


def test_a_side_without_bits():
    def last(*tensors):
        return to_text(comparison(*tensors)).splitlines()[-4].rstrip(), to_text(comparison(*tensors)).splitlines()[-1].split()
    assert last(EQUAL) == ('In steps of A, |A - B|:', ['0', '0', '0', '%', '8', '2', 'x/aquant'])
    board = EQUAL._replace(a_bits=None, a_position=None, b_bits=None, b_position=None)
    assert last(board) == ('In steps of A, |A - B|:', ['0', '0', '0', '%', '?', '?', 'x/aquant'])
    for fields, ending in ((dict(a_bits=None, a_position=None), 'float / 8 float / 2 x/aquant'),
                           (dict(b_bits=None, b_position=None), '8 / float 2 / float x/aquant')):
        assert last(EQUAL._replace(**fields)) == (
            'In steps of the quantized side, |A - B|:', ['0', '0', '0', '%'] + ending.split())


def test_json():
    found = json.loads(to_json(comparison(EQUAL, FAR._replace(greatest=float('inf')))))
    assert found['first'] == 'conv3/Relu/aquant' and found['tensors'][1]['greatest'] is None
    assert found['tensors'][0] == dict(EQUAL._asdict(), a_shape=[3, 2], b_shape=[3, 2])
    assert json.loads(to_json(comparison(EQUAL)))['first'] is None
