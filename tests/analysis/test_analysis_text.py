"""An Analysis as text and as JSON."""
import json
import math

from vai_q_tf.analysis.analysis_text import to_json, to_text
from vai_q_tf.analysis.results import Analysis, Histogram, TensorError


def _error(number, **fields):
    given = dict(name='layer{}/aquant'.format(number), layer='layer{}'.format(number), role='activation', bits=8, position=4,
                 low=-1.25, high=2.0, saturated=0.0, zeroed=0.125, db=20.04, alone_db=-0.04, histogram=None, loss_db=1.5)
    return TensorError(**dict(given, **fields))


def _analysis(count, **fields):
    errors = tuple(_error(number) for number in range(count))
    return Analysis(**dict(dict(model='m.pb', reference='f.pb', batches=2, tensors=errors,
                                depth=tuple(error.name for error in errors), unpaired={}), **fields))


def test_the_table():
    lines = to_text(_analysis(1)).splitlines()
    assert lines[0] == 'm.pb: 1 quantized tensors against f.pb, on 2 batches.'
    assert lines[1] == 'The last tensor of the network (layer0/aquant) has 20.0 dB.'
    assert lines[3].startswith('Signal to noise in dB. Layers, worst first; the tensors of a layer together. ')
    assert lines[4].split() == ['alone', 'all', 'lost', 'bits', 'position', 'range', 'saturated', 'zeroed', 'role', 'layer']
    assert lines[6].split() == ['0.0', '20.0', '1.5', '8', '4', '-1.25', 'to', '2', '12.5', '%', 'activation', 'layer0']
    assert len(lines) == 7
    assert to_text(_analysis(2)).splitlines()[1] == 'The last tensor of the network (layer1/aquant) has 20.0 dB.'
    saturated = to_text(_analysis(0, tensors=(_error(0, saturated=0.25),), depth=())).splitlines()[-1].split()
    assert saturated[-6:] == ['25.0', '%', '12.5', '%', 'activation', 'layer0']


def test_the_worst_twenty_and_how_many_more():
    lines = to_text(_analysis(25)).splitlines()
    assert len(lines) == 27 and lines[-1] == '5 more: pass --verbose, or see analyze.json.'
    assert lines[6].endswith('layer0') and lines[25].endswith('layer19')
    assert len(to_text(_analysis(25), everything=True).splitlines()) == 31


def test_what_was_not_compared():
    unpaired = {'a/aquant': 'in a loop', 'b/aquant': 'in a loop', 'c/aquant': 'another'}
    lines = to_text(_analysis(1, unpaired=unpaired)).splitlines()
    assert lines[-2:] == ['Not compared: a/aquant and 1 more: in a loop.', 'Not compared: c/aquant: another.']
    many = {str(number): str(number) for number in range(9)}
    assert to_text(_analysis(1, unpaired=many)).splitlines()[-1] == 'Not compared for other reasons: 4 more.'
    assert to_text(_analysis(1, unpaired=dict(many, another='8'))).splitlines()[-1] == (
        'Not compared for other reasons: 5 more.'), 'of tensors, not of reasons'


def test_nothing_to_compare():
    lines = to_text(_analysis(0, batches=0, unpaired={'a': 'why'})).splitlines()
    assert lines == ['m.pb: 0 quantized tensors against f.pb. Without input_fn: weights and biases only.',
                     'Not compared: a: why.']


def test_json_has_null_for_what_is_no_number():
    counts = (1,) * 64
    errors = (_error(0, db=math.inf, alone_db=-math.inf, histogram=Histogram(-1.0, 2.0, counts, counts)), _error(1))
    report = json.loads(to_json(_analysis(0, tensors=errors)))
    assert report['tensors'][0]['db'] is report['tensors'][0]['alone_db'] is report['tensors'][1]['histogram'] is None
    assert report['tensors'][0]['histogram'] == {
        'low': -1.0, 'high': 2.0, 'float_counts': list(counts), 'quantized_counts': list(counts)}
    assert report['tensors'][1]['loss_db'] == 1.5 and set(report) == set(Analysis._fields)
