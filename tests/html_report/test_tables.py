"""The rows of the tables, with their sort keys, and the data of the plots."""
import math

import numpy as np

from vai_q_tf.analysis.results import Histogram, TensorError
from vai_q_tf.fixed_point import POSITION_ZERO
from vai_q_tf.html_report import tables

TENSOR = TensorError('a/aquant', 'a', 'activation', 8, 4, -1.5, 2.0, 0.25, 0.03125, 30.0, 40.0, None, 1.5)


def test_cells_and_keys_are_in_the_order_of_the_heads():
    row, = tables.tensor_rows([TENSOR])
    assert dict(zip((head for head, _ in tables.TENSOR_HEADS), row.cells)) == {
        '#': '1', 'tensor': 'a/aquant', 'layer': 'a', 'role': 'activation', 'bits': '8', 'position': '4', 'least': '−1.5',
        'greatest': '2', 'saturated': '25.0 %', 'to zero': '3.1 %', 'dB': '30.0 dB', 'alone': '40.0 dB', 'lost': '1.5 dB'}
    assert row.keys == (1, None, None, None, 8, 4, -1.5, 2.0, 0.25, 0.03125, 30.0, 40.0, 1.5)
    odd, = tables.tensor_rows([TENSOR._replace(low=-math.inf, high=math.nan, db=math.inf)])
    assert odd.keys[6:8] == (-1e300, -1e300) and odd.keys[10] == 1e300


def test_histograms_of_many_bins_are_put_together():
    counts = tuple(range(100)), tuple(range(100, 0, -1))
    low, end, *merged, least, greatest = tables.histograms([TENSOR._replace(histogram=Histogram(0.0, 50.0, *counts))])[0]
    assert (low, end) == (0.0, 50.0) and merged == np.reshape(counts, [2, 50, 2]).sum(-1).tolist()
    assert (least, greatest) == (-128 / 16, 127 / 16)
    odd = tables.histograms([TENSOR._replace(histogram=Histogram(0.0, 6.5, (1,) * 65, (2,) * 65))])[0]
    assert odd[1] == 6.6 and odd[2] == [2] * 32 + [1], 'the last bin is half as full, and as wide as the others'


def test_the_depth_in_words():
    tensors = [TENSOR._replace(name=name, layer=name + '/layer', db=db, alone_db=alone) for name, db, alone in (
        ('a', 40.0, 40.0), ('b', 38.0, 25.5), ('c', 28.0, 36.0), ('d', 30.0, math.inf))]
    assert tables.depth_words(tensors) == (
        'From 40.0 dB at a the activations go to 30.0 dB at d. The greatest fall from one to the next, 10.0 dB, is at c. '
        'On its own b/layer adds most: 25.5 dB.')
    assert 'fall' not in tables.depth_words(tensors[2:])
    assert tables.depth_words([TENSOR._replace(db=math.inf)]) == 'No activation differs from its float tensor.'


def test_positions_over_steps():
    lines = tables.moves([(0, 'still', 3), (0, 'a', POSITION_ZERO), (5, 'a', 4), (7, 'a', 4), (9, 'a', 6), (9, 'b', 1),
                          (12, 'b', 2)])
    assert [line.name for line in lines] == ['a', 'b', 'still']
    assert tables.position_rows(lines) == [
        ('a', 'only zeros', '6', '2', '9'), ('b', '1', '2', '1', '12'), ('still', '3', '3', '0', 'never')]
    (name, steps, positions), other = tables.drawn_moves(lines, 20)
    assert name == 'a' and steps == (0, 5, 9, 20) and math.isnan(positions[0]) and positions[1:] == [4, 6, 6]
    assert other == ('b', (9, 12, 20), [1, 2, 2])
