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


def _crosses(segment, centre):
    """Whether a segment along an axis, or any other by its ends, touches the inside of a box."""
    (x0, y0), (x1, y1) = segment
    x, y = centre
    return (min(x0, x1) < x + WIDTH / 2 and max(x0, x1) > x - WIDTH / 2
            and min(y0, y1) < y + HEIGHT / 2 and max(y0, y1) > y - HEIGHT / 2)


def test_lines_between_columns_run_around_the_boxes():
    inputs = _chain(70)
    inputs[40] = [39, 3]  # from the middle of one column to the middle of another
    layout = lay_out(inputs)
    assert len({x for x, _ in layout.centres}) > 1
    ends = [{source, number} for number, sources in enumerate(inputs) for source in sources]
    for line, own in zip(layout.lines, ends):
        for segment in zip(line[:-1], line[1:-1]):  # at the end a long line may run past boxes of its column
            if segment[0][0] == segment[1][0] or segment[0][1] == segment[1][1]:
                assert not [number for number, centre in enumerate(layout.centres)
                            if number not in own and _crosses(segment, centre)]


def test_components_stand_side_by_side():
    """The second one begins one gap after the first one, wherever the layout package puts them."""
    (x0, _), (x1, _), (x2, _), *others = lay_out([[], [0], [0], [], [3], [3]]).centres
    assert [x for x, _ in others] == [x + 408 for x in (x0, x1, x2)]


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
