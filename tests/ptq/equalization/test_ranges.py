"""Ranges of channels over batches, against NumPy on all values at once."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.ptq.equalization.ranges import Range, observe_ranges


@pytest.mark.parametrize('static', [False, True])
@pytest.mark.parametrize('shapes, axis', [
    ([(6, 5)], -1), ([(6, 5), (1, 5), (17, 5)], -1), ([(6, 5), (3, 5)], 1),
    ([(2, 4, 3, 7), (5, 4, 3, 7)], -1), ([(2, 7, 4, 3), (5, 7, 2, 6), (1, 7, 1, 1)], 1)])
def test_the_least_and_the_greatest_of_all_batches_together(shapes, axis, static):
    random = np.random.RandomState(0)
    batches = [(random.normal(random.normal(), 1, shape)).astype(np.float32) for shape in shapes]
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None] * len(shapes[0]) if static else None, name='x')
        tf.negative(x, name='other')
    found = observe_ranges(graph.as_graph_def(), {'other': axis, 'x': axis}, [{'x:0': batch} for batch in batches])
    rows = np.concatenate([np.moveaxis(batch, axis, -1).reshape(-1, batch.shape[axis]) for batch in batches])
    np.testing.assert_array_equal(found['x'].low, rows.min(0))
    np.testing.assert_array_equal(found['x'].high, rows.max(0))
    np.testing.assert_array_equal(found['other'].low, -rows.max(0))
    np.testing.assert_array_equal(found['other'].high, -rows.min(0))


def test_constant_channels_change_by_at_most_a_thousandth_of_the_largest_value_of_all():
    found = Range(low=np.array([0., 5, -8, 1, 1]), high=np.array([0., 5.0079, 8, 1.0081, 1]))
    assert found.constant.tolist() == [True, True, False, False, True]
    assert Range(np.zeros(2), np.zeros(2)).constant.all()
    assert Range(np.array([-10., 0]), np.array([-9., .0099])).constant.tolist() == [False, True]
