"""Data and labels of the plots."""
import math

import numpy as np
import pytest

from vai_q_tf.analysis.results import TensorError
from vai_q_tf.html_report import figures
from vai_q_tf.html_report.network import IN_FLOAT, IN_QUANTIZED, Box, Quantizer


def tensor(name, db, alone_db, **fields):
    return TensorError(name, name + '/layer', 'activation', 8, 4, -1.0, 1.0, 0.0, 0.0, db, alone_db)._replace(**fields)


def box(number, **fields):
    name = 'box{}'.format(number)
    return Box(name, (name,), ('Relu',), IN_QUANTIZED, False, '', Quantizer(name + '/aquant', 8, 4), (), (), '',
               (number - 1,) if number else ())._replace(**fields)


def source(plot, name):
    return next(renderer.data_source.data for renderer in plot.renderers if renderer.data_source.name == name)


def test_the_worst_quarter_is_framed():
    boxes = [box(number) for number in range(8)] + [box(8, is_float=True, kind=IN_FLOAT, result=None, reason='no rule')]
    errors = {'box{}/aquant'.format(number): tensor('t', 20.5, 30.25) for number in (3, 6, 0, 1, 2, 4, 5, 7)}
    plot = figures.network_figure(boxes, errors)
    data = source(plot, 'quantized')
    assert [name for name, width in zip(data['whole'], data['frame_width']) if width > 1] == ['box3', 'box6']
    assert [frame == '#d63a4a' for frame in data['frame']] == [width > 1 for width in data['frame_width']]
    assert data['state'] == ['quantized'] * 8 and data['error'] == ['20.5 dB, alone 30.2 dB'] * 8
    assert source(plot, 'float')['state'] == ['stays float: no rule']
    many = [box(number) for number in range(40)]
    assert source(figures.network_figure(many, {'box{}/aquant'.format(n): tensor('t', n, n) for n in range(40)}),
                  'quantized')['frame_width'].count(4) == 5


def test_the_depth_has_both_errors_of_each_activation():
    data = source(figures.depth_figure([tensor('a', 30.0, math.inf), tensor('b', -math.inf, 12.5)]), 'depth')
    np.testing.assert_array_equal(data['db'], [30.0, math.nan])
    np.testing.assert_array_equal(data['alone'], [math.nan, 12.5])
    assert data['db_text'] == ['30.0 dB', '−∞ dB'] and data['alone_text'] == ['exact', '12.5 dB']


def test_positions_stay_until_they_move():
    plot = figures.history_figure([('a', (0, 10, 30), [5, 4, 4])])
    assert [renderer.glyph.mode for renderer in plot.renderers] == ['after']


@pytest.mark.parametrize('count, most', [(10, 10), (2500, 1000)])
def test_thinned_lines_are_means_of_neighbours(count, most):
    values = np.arange(count) % 7.0
    steps, means = figures.thinned(list(enumerate(values)) + [(count, math.nan), (count + 1, math.inf)])
    assert len(steps) <= most and steps[-1] == count - 1
    group = -(-count // 1000)
    assert means == pytest.approx([values[start:start + group].mean() for start in range(0, count, group)])
    assert figures.thinned([]) == figures.thinned([(1, math.nan)]) == ([], [])


def test_words():
    assert [figures.db_text(value) for value in (1.25, -3.0, math.inf, -math.inf, math.nan)] == [
        '1.2 dB', '−3.0 dB', 'exact', '−∞ dB', 'not a number']
    assert figures.shortened('abcdef', 4) == '…def' and figures.shortened('abcd', 4) == 'abcd'
