"""Calibration names tensors that are NaN or infinite in any batch."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.ptq.calibration.calibrate import calibrate
from vai_q_tf.ptq.calibration.not_finite import NotFinite, float_outputs

_STEPS = 4


def _said(caplog, bad_step, value, positions_by=None, tail=tf.nn.relu):
    """The warnings about a network that divides by its input `d`, which is 0 in step `bad_step`."""
    with tf.Graph().as_default() as graph:
        x, d = tf.placeholder(tf.float32, [2, 4, 4, 3], 'x'), tf.placeholder(tf.float32, [], 'd')
        weights = tf.constant(np.random.RandomState(0).normal(size=[3, 3, 3, 3]).astype(np.float32))
        y = tf.nn.conv2d(x, weights, 1, 'SAME', name='conv') / d
        tail(tf.nn.conv2d(y, weights, 1, 'SAME'), name='out')
        graph_def = graph.as_graph_def()
    config = QuantizeConfig(['x', 'd'], ['out'], calib_iter=_STEPS, positions_by=positions_by)
    plan = annotate(GraphView(graph_def), config)

    def feed(step):
        x = np.random.RandomState(step).normal(size=[2, 4, 4, 3])
        return {'x:0': x * (step != bad_step or value), 'd:0': np.float32(step != bad_step)}
    found = calibrate(graph_def, plan, config, feed)
    assert all(-126 <= observation.position <= 127 for observation in found.observed.values())
    return [record.getMessage() for record in caplog.records if 'NaN or infinite' in record.getMessage()]


@pytest.mark.parametrize('positions_by', [None, 'mse', 'percentile', 'entropy'])
@pytest.mark.parametrize('bad_step', [0, 3])
def test_any_batch_with_any_positions_by(caplog, positions_by, bad_step):
    text, = _said(caplog, bad_step, 0, positions_by)
    assert text.startswith("'truediv'") and 'in 1 of 4 calibration batches, the first of them in step %d.' % bad_step in text


def test_infinity_is_reported_and_finite_values_are_not(caplog):
    assert _said(caplog, None, 1) == []
    assert len(_said(caplog, 2, 1)) == 1


def test_outputs_that_stay_float_are_checked(caplog):
    def tail(y, name):
        return tf.log(tf.nn.relu(y) * 0, name=name)
    text, = _said(caplog, None, 1, tail=tail)
    assert text.startswith("'out'") and 'in 4 of 4 calibration batches' in text


def test_large_numbers_whose_sum_overflows_are_finite(caplog):
    with tf.Graph().as_default(), tf.Session() as session:
        x, y = (tf.placeholder(tf.float32, name=name) for name in 'xy')
        watch = NotFinite({'x:0': 'x', 'y:0': 'y'})

        def add(step, **values):
            feed = {name + ':0': np.float32(value) for name, value in values.items()}
            watch.add(session.run(watch.fetches, feed), step, lambda names: session.run(names, feed))
        add(0, x=[3e38, 3e38], y=[1])
        watch.warn(3)
        assert 'NaN or infinite' not in caplog.text
        add(1, x=[3e38, 3e38], y=[np.inf, -np.inf])
        add(2, x=[], y=[0])
        watch.warn(3)
    assert "'y': NaN or infinite in 1 of 3 calibration batches, the first of them in step 1." in caplog.text
    assert "'x'" not in caplog.text


@pytest.mark.parametrize('count, end', [(3, "'t2': NaN"), (4, "'t2' and 1 more tensors: NaN")])
def test_three_names_and_the_first_step_are_reported(caplog, count, end):
    with tf.Graph().as_default():
        names = ['t{}'.format(number) for number in range(count)]
        watch = NotFinite({tf.placeholder(tf.float32, [1], name).name: name for name in names})
    for step in (5, 7):
        watch.add([[np.nan] * count], step, lambda names: [np.float32([np.nan])] * len(names))
    watch.warn(9)
    assert end in caplog.text and 'in 2 of 9 calibration batches, the first of them in step 5.' in caplog.text
    assert watch.steps() == {5, 7}


def test_output_nodes_that_are_watched():
    """Float outputs that are not quantized and that run in every step."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [2, 4], 'x')
        weights = tf.constant(np.ones([4, 3], np.float32))
        dense = tf.matmul(x, weights, name='dense')
        tf.argmax(tf.exp(dense, name='float'), 1, name='classes')
        tf.exp(tf.cond(tf.reduce_sum(x) > 0, lambda: tf.exp(x), lambda: x), name='branch')
    config = QuantizeConfig(['x'], ['dense', 'float', 'classes', 'branch'])
    view = GraphView(graph.as_graph_def())
    assert float_outputs(view, annotate(view, config)) == {'float:0': 'float'}
