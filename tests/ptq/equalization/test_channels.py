"""Statistics of channels over batches, against NumPy on all values at once."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.ptq.equalization.channels import FACTORS, Clip, observe_channels


def _observed(batches, axis, clip=None):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None] * batches[0].ndim, name='x')
        tf.identity(x, name='other')
    found = observe_channels(graph.as_graph_def(), {'other': axis, 'x': axis}, [{'x:0': batch} for batch in batches],
                             clips={'x': clip} if clip else {})
    assert set(found) == {'other', 'x'} and not found['other'].clipping.any()
    return found['x']


def _batches(shapes, axis, seed=0):
    """Channels of sizes from 1/16 to 16, with a different mean in each batch."""
    random, batches = np.random.RandomState(seed), []
    for shape in shapes:
        along = [1] * len(shape)
        along[axis] = -1
        size = 2.0**np.linspace(-4, 4, shape[axis]).reshape(along)
        batches.append(((random.normal(0.5, 1, shape) + random.normal()) * size).astype(np.float32))
    return batches


def _rows(batches, axis):
    return np.concatenate([np.moveaxis(batch, axis, -1).reshape(-1, batch.shape[axis]) for batch in batches]).astype(np.float64)


@pytest.mark.parametrize('shapes, axis', [
    ([(6, 5)], -1), ([(6, 5), (1, 5), (17, 5)], -1), ([(6, 5), (3, 5)], 1),
    ([(2, 4, 3, 7), (5, 4, 3, 7)], -1), ([(2, 7, 4, 3), (5, 7, 2, 6), (1, 7, 1, 1)], 1)])
def test_range_and_variance_are_those_of_all_batches_together(shapes, axis):
    batches = _batches(shapes, axis)
    found, rows = _observed(batches, axis), _rows(batches, axis)
    np.testing.assert_array_equal(found.range.low, rows.min(0))
    np.testing.assert_array_equal(found.range.high, rows.max(0))
    np.testing.assert_allclose(found.variance, rows.var(0), rtol=1e-5)
    assert found.clipping.shape == (len(FACTORS), rows.shape[1]) and not found.clipping.any()


def test_a_small_variance_around_a_large_mean_is_exact():
    batch = (1000 + 0.1 * np.random.RandomState(0).normal(size=(500, 1))).astype(np.float32)
    np.testing.assert_allclose(_observed([batch, batch[:100]], -1).variance, np.concatenate([batch, batch[:100]]).astype(
        np.float64).var(0), rtol=0.01)


def _spread(batches, axis):
    """The rows, 1.5 times as far from the mean of their batch."""
    return np.concatenate([rows.mean(0) + 1.5 * (rows - rows.mean(0)) for rows in (_rows([batch], axis) for batch in batches)])


def _expect_clipping(found, rows, clip, **tolerance):
    for scale, clipping in zip(clip.scales, found.clipping):
        change = np.clip(rows * scale, 0, clip.limit) / scale - np.clip(rows, 0, 6)
        np.testing.assert_allclose(clipping, np.square(change).mean(0), **tolerance)


@pytest.mark.parametrize('neutral, limit', [(1, 6.0), (127 / 96, 127 / 16), (1, 3.5)])
@pytest.mark.parametrize('shapes, axis', [([(40, 5), (7, 5)], -1), ([(2, 5, 4, 3), (3, 5, 4, 3)], 1)])
def test_clipping_is_the_change_by_a_relu6_at_each_scale(shapes, axis, neutral, limit):
    batches, clip = _batches(shapes, axis, seed=1), Clip(neutral * FACTORS, limit, True)
    found, rows = _observed(batches, axis, clip), _spread(batches, axis)
    assert FACTORS.tolist() == [2.0**(quarter / 4) for quarter in range(-12, 21)]
    _expect_clipping(found, rows, clip, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found.clipping[FACTORS == 1], 0 if limit >= 6 else found.clipping[FACTORS == 1], atol=1e-9)
    assert found.clipping[0, -1] > 1 and found.clipping[-1, -1] > 1


def test_without_a_relu6_no_clipping_is_measured():
    assert not _observed(_batches([(40, 5)], -1), -1, Clip(FACTORS, 1.0, False)).clipping.any()


def test_clipping_of_a_large_batch_is_sampled_all_over_it():
    """One of 64 images has large values in channel 0, one of 32 columns of each image in channel 1."""
    batch = np.random.RandomState(2).uniform(0, 5, (64, 32, 32, 2)).astype(np.float32)
    batch[17, :, :, 0] += 20
    batch[:, :, 3, 1] += 20
    clip = Clip(FACTORS, 6.0, True)
    found = _observed([batch], -1, clip)
    _expect_clipping(found, _spread([batch], -1), clip, rtol=0.3, atol=1e-6)
    np.testing.assert_allclose(found.variance, _rows([batch], -1).var(0), rtol=0.15)
    np.testing.assert_array_equal(found.range.high, _rows([batch], -1).max(0))
