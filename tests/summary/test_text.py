"""The summary as text and as JSON, for networks with known contents."""
import json
import math

import pytest

from tests.coverage.test_summary import _attention, _convolutions, _decided
from vai_q_tf.analysis.results import TensorError
from vai_q_tf.coverage.summary import Coverage, coverage
from vai_q_tf.lint.lint import Finding
from vai_q_tf.summary.results import AidSummary, InputSummary, QuantizeSummary
from vai_q_tf.summary.text import in_one_line, to_json, to_text

EMPTY = QuantizeSummary((), Coverage((), (), (), 0, ()), (), (), (), (), (), (), ())
NOTHING_REFUSED = '  DPU       lint finds nothing that the DPU compiler would refuse.'


def _lines(**fields):
    return to_text(EMPTY._replace(**fields)).splitlines()


def test_the_facts_of_a_network():
    found = coverage(*_decided(_attention))
    lines = _lines(coverage=found)
    assert lines == [
        'Summary: 1 of 3 convolutions and matmuls are quantized, 4 of {} ops stay float.'.format(found.ops),
        '  Float     2 (there is no quantization rule for the op BatchMatMulV2): scores, mixed',
        '            2 (there is no quantization rule for the op Erf): erf, last', NOTHING_REFUSED]
    assert _lines(coverage=coverage(*_decided(_convolutions))) == [
        'Summary: 5 of 5 convolutions and matmuls are quantized, 0 of 12 ops stay float.', NOTHING_REFUSED]


@pytest.mark.parametrize('count, line', [
    (0, NOTHING_REFUSED), (1, '  DPU       refused: 1 no-split: split0'),
    (5, '  DPU       refused: 5 no-split: split0, split1, split2 and 2 more')])
def test_findings_are_counted_by_rule(count, line):
    found = tuple(Finding('no-split', 'split{}'.format(index), '') for index in range(count))
    lines = _lines(findings=found)
    assert lines[1:] == [line]
    others = _lines(findings=found, differences=(Finding('relu6-limit', '', ''),))
    assert sorted(line.split(' ' * 6)[-1].strip() for line in others[1:]) == sorted(
        [line[len('  DPU       '):], 'other numbers: 1 relu6-limit: the graph'])


def test_the_gain_of_aids():
    aids = (AidSummary('equalization', 1.23, 12.345, True), AidSummary('refitted weights', 12.345, -math.inf, False, 'no gain'))
    assert '\n'.join(_lines(aids=aids)[1:-1]) == '''\
  Outputs   Signal to quantization noise, in dB, on calibration data that nothing was fitted on:
            Aid                 without    with
            ----------------  ---------  ------  -------
            equalization            1.2    12.3  kept
            refitted weights       12.3    -inf  no gain'''
    assert _lines(aids=aids, unseen=False)[1].endswith('in dB, on the calibration data:')
    assert 'no longer those of the float graph' in _lines(aids=aids, fitted=True)[-2]


def test_inputs_tensors_and_files():
    tensors = tuple(TensorError('t{}/aquant'.format(number), 't', 'activation', 8, number, -1.0, 1.0, 0.25, 0.5, 10.0 + number,
                                math.inf) for number in range(5))
    lines = _lines(inputs=(InputSummary('x', -1.0, 0.98437, 8, 7, 0.0125),), worst=tensors, files=(
        ('model', 'a/m.pb'), ('summary', 'a/s.json')), next_steps=('Do this.', 'And that.'))
    assert lines[1] == '  Inputs    x: -1 to 0.9844, 8 bits at position 7, 1.2 % out of range'
    assert [line.split() for line in lines[2:7]] == [
        ['Worst', 'Tensor', 'bits', 'position', 'dB', 'alone', 'all', 'lost', 'saturated', 'zeroed'], lines[3].split(),
        *(['t{}/aquant'.format(n), '8', str(n), 'inf', '1{}.0'.format(n), '0.0', '25.0', '%', '50.0', '%'] for n in range(3))]
    assert lines[-4:] == ['  Files     model    a/m.pb', '            summary  a/s.json', '  Next      Do this.',
                          '            And that.']


def test_long_lists_and_lines_are_cut():
    floats = tuple(('reason {}'.format(number), ('a', 'b', 'c', 'd')) for number in range(9))
    lines = _lines(coverage=Coverage((), (), (), 36, floats), warnings=('w ' * 200,) * 6)
    assert [line.strip() for line in lines[1:6]] == [
        'Float     4 (reason 0): a, b, c and 1 more', *('4 (reason {}): a, b, c and 1 more'.format(n) for n in (1, 2, 3)),
        'and 5 more']
    assert len(lines) == 1 + 5 + 1 + 5 and lines[-1].strip() == 'and 2 more' and max(map(len, lines)) < 145


def test_the_same_as_json():
    found = coverage(*_decided(_attention))
    summary = EMPTY._replace(
        coverage=found, files=(('model', 'm.pb'),), aids=(AidSummary('equalization', 1.5, math.inf, True),),
        inputs=(InputSummary('x', -1.0, 1.0, 8, 7, 0.0),), findings=(Finding('no-split', 'split', 'why'),),
        worst=(TensorError('t', 't', 'weight', 8, 3, 0.0, 1.0, 0.0, 0.0, 3.5, math.inf),), effort='high')
    read = json.loads(to_json(summary))
    assert set(read) == set(QuantizeSummary._fields) | {'db'}
    assert read['files'] == {'model': 'm.pb'} and read['effort'] == 'high' and read['db'] is None
    assert read['coverage']['weighted'] == ['conv', 'scores', 'mixed'] and read['coverage']['quantized'] == ['conv']
    assert read['coverage']['left_float'] == 4 and read['coverage']['floats'][1] == {
        'reason': 'there is no quantization rule for the op Erf', 'nodes': ['erf', 'last']}
    assert read['aids'] == [{'name': 'equalization', 'before_db': 1.5, 'after_db': None, 'kept': True, 'reason': ''}]
    assert read['findings'] == [{'rule': 'no-split', 'node': 'split', 'message': 'why'}]
    assert read['worst'][0]['db'] == 3.5 and 'histogram' not in read['worst'][0]


def test_titles_are_painted():
    painted = to_text(EMPTY._replace(warnings=('odd',)), lambda text, kind: '<{} {}>'.format(kind, text)).splitlines()
    assert painted[0].startswith('<title Summary:> ') and painted[2] == '  <warning Warnings>  odd'


def test_one_line():
    found = Coverage(('a',), ('Conv2D',), ('a',), 3, ())
    assert in_one_line(found, ()) == (
        '1 of 1 convolutions and matmuls are quantized, 0 of 3 ops stay float; '
        'lint finds nothing that the DPU compiler would refuse')
    assert in_one_line(found, [Finding('r', 'a', '')] * 2).endswith('would refuse 2 of them')
