"""The feeds that are kept, and the part of them that judges."""
import numpy as np
import pytest

from vai_q_tf.ptq.effort import data as data_file
from vai_q_tf.ptq.effort.data import Kept, count_images, split


def _feed(step, count=2):
    """Images are numbered across all steps."""
    return {'x:0': np.arange(step * count, (step + 1) * count).reshape(-1, 1, 1).astype(np.float32)}


def _numbers(feeds):
    return [int(number) for feed in feeds for number in feed['x:0'].ravel()]


@pytest.mark.parametrize('steps, most, expected', [
    (5, 6, [0, 1, 2, 3, 4]), (9, 5, [0, 2, 4, 6, 8]), (100, 4, [0, 33, 66, 99]), (10, 1, [0, 4, 9]), (1, 9, [0]),
    (2, 1, [0, 1])])
def test_evenly_spaced_steps_are_kept(steps, most, expected, monkeypatch):
    """At least three, whatever the limit."""
    for limit, size in (('_MOST_IMAGES', 2), ('_MOST_ELEMENTS', 2)):
        with monkeypatch.context() as patch:
            patch.setattr(data_file, limit, most * size)
            asked = []
            kept = Kept(lambda step, asked=asked: asked.append(step) or _feed(step), steps)
            given = [kept(step) for step in range(steps)]
        assert asked == list(range(steps)) and _numbers(given) == list(range(2 * steps))
        assert [feed['x:0'].ravel()[0] / 2 for feed in kept.feeds] == expected
        assert kept.images == 2 * steps


@pytest.mark.parametrize('steps, bad, expected, images', [
    (4, {1}, [0, 2, 3], 6), (9, {0, 3}, [2, 4, 6, 8], 14), (9, {1}, [0, 2, 4, 6, 8], 16), (3, {0, 1, 2}, [0, 1, 2], 6),
    (3, (), [0, 1, 2], 6)])
def test_steps_with_nan_are_dropped_unless_no_others_are_left(steps, bad, expected, images, monkeypatch):
    monkeypatch.setattr(data_file, '_MOST_IMAGES', 10)
    kept = Kept(_feed, steps)
    for step in range(steps):
        kept(step)
    before = len(kept.feeds)
    assert kept.drop(bad) == before - len(expected)
    assert [number // 2 for number in _numbers(kept.feeds)[::2]] == expected and kept.images == images
    assert kept.spoilt == (len(bad) == steps)


def test_all_arrays_count_in_the_limit_of_memory(monkeypatch):
    monkeypatch.setattr(data_file, '_MOST_ELEMENTS', 50)
    kept = Kept(lambda step: {'x:0': np.zeros([2, 3]), 'y:0': np.zeros([2, 2]), 'phase:0': np.zeros([])}, 100)
    for step in range(100):
        kept(step)
    assert len(kept.feeds) == 50 // 11


@pytest.mark.parametrize('feed, expected', [
    ({}, 1), ({'phase:0': np.float32(1)}, 1), ({'x:0': np.zeros([5, 2])}, 5),
    ({'x:0': np.zeros([7, 9]), 'y:0': np.zeros(3)}, 7),
    ({'y:0': np.zeros(3), 'x:0': np.zeros([2, 4, 4]), 'phase:0': False}, 2)])
def test_images_are_counted_along_the_largest_array(feed, expected):
    assert count_images(feed) == expected


@pytest.mark.parametrize('steps', range(1, 12))
def test_the_last_third_judges(steps):
    data = split([_feed(step, 6) for step in range(steps)])
    fitted, unseen = _numbers(data.fitted), _numbers(data.unseen)
    assert fitted + unseen == list(range(6 * steps)) == _numbers(data.everything)
    assert len(unseen) in range(2 * (steps - 2), 2 * steps + 1)
    assert len(fitted) >= len(unseen) > 0


@pytest.mark.parametrize('count, expected', [(3, [1, 1, 1]), (7, [2, 2, 3]), (30, [10, 10, 10])])
def test_a_single_batch_is_cut_and_scalars_go_with_each_part(count, expected):
    feed = {'x:0': np.arange(count), 'y:0': np.arange(2 * count).reshape(count, 2), 'phase:0': np.bool_(True), 'rate:0': 0.5}
    data = split([feed])
    assert [len(part['x:0']) for part in data.everything] == expected and len(data.unseen) == 1
    for key in ('x:0', 'y:0'):
        np.testing.assert_array_equal(np.concatenate([part[key] for part in data.everything]), feed[key])
    assert all(part['phase:0'] and part['rate:0'] == 0.5 for part in data.everything)


@pytest.mark.parametrize('feed', [
    {'x:0': np.zeros([2, 9])}, {'x:0': np.zeros([30, 2]), 'y:0': np.zeros([60])}, {'phase:0': np.float32(1)}], ids=str)
def test_feeds_that_cannot_be_cut_stay_whole(feed):
    data = split([feed])
    assert data.fitted == [feed] and data.unseen == []
    data = split([feed, feed])
    assert data.fitted == [feed] and data.unseen == [feed]


@pytest.mark.parametrize('steps, fitted', [(1, 1), (2, 1), (3, 2), (6, 4)])
def test_batches_stay_whole_on_request(steps, fitted):
    feeds = [_feed(step, 30) for step in range(steps)]
    data = split(feeds, cut=False)
    assert data.fitted == feeds[:fitted] and data.unseen == feeds[fitted:]
