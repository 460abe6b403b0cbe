"""Positions of boxes: data flows down and then to the right, no two boxes overlap, and large networks take seconds."""
import itertools
import random
import time

import pytest

from vai_q_tf.html_report.layout import HEIGHT, WIDTH, lay_out


def _random_network(count, seed=0):
    chance = random.Random(seed)
    steps = (1, 1, 1, 2, 3, 30)
    return [sorted({max(0, number - chance.choice(steps)) for _ in range(chance.choice((1, 1, 2)))} if number else ())
            for number in range(count)]


def _chain(count):
    return [[number - 1] if number else [] for number in range(count)]


@pytest.mark.parametrize('inputs', [
    [], [[]], [[], []], _chain(3), _chain(70), _random_network(60), _random_network(200, 1), [[]] + [[0]] * 30,
    [list(range(number)) for number in range(40)], [[1], [0]], [[0]]], ids=lambda inputs: str(len(inputs)))
def test_boxes_do_not_overlap_and_lines_join_them(inputs):
    layout = lay_out(inputs)
    assert len(layout.centres) == len(inputs)
    for (x0, y0), (x1, y1) in itertools.combinations(layout.centres, 2):
        assert abs(x0 - x1) >= WIDTH or abs(y0 - y1) >= HEIGHT
    ends = [(layout.centres[source], layout.centres[number]) for number, sources in enumerate(inputs) for source in sources]
    assert [(line[0], line[-1]) for line in layout.lines] == ends


def test_a_reader_is_below_or_in_a_later_column():
    inputs = _chain(70)
    layout = lay_out(inputs)
    for number in range(1, 70):
        (x0, y0), (x1, y1) = layout.centres[number - 1:number + 1]
        assert (x1 == x0 and y1 < y0) or (x1 > x0 and y1 > y0)


def test_a_long_network_has_the_form_of_a_screen():
    xs, ys = zip(*lay_out(_chain(400)).centres)
    assert 1 < (max(xs) - min(xs) + WIDTH) / (max(ys) - min(ys) + HEIGHT) < 4


@pytest.mark.slow
@pytest.mark.parametrize('inputs', [
    _random_network(1000), _chain(1500), [list(range(max(0, number - 40), number)) for number in range(300)]],
    ids=['random', 'chain', 'dense'])
def test_large_networks(inputs):
    started = time.process_time()
    lay_out(inputs)
    assert time.process_time() - started < 20
