"""The InputRanges of a calibration against NumPy."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.ptq.calibration.calibrate import calibrate, calibrate_twice

BATCHES = [np.random.RandomState(step).normal(0.3, 1 + step, (4, 5, 5, 2)).astype(np.float32) for step in range(3)]


@pytest.mark.parametrize('twice', [False, True])
def test_ranges_of_inputs(twice):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 5, 5, 2], name='x')
        tf.nn.relu(x * 0.5, name='y')
    config = QuantizeConfig(['x'], ['y'], calib_iter=3, activation_bit=6)
    graph_def = graph.as_graph_def()
    arguments = graph_def, annotate(GraphView(graph_def), config), config, lambda step: {'x:0': BATCHES[step]}
    found = calibrate_twice(*arguments)[0] if twice else calibrate(*arguments)
    assert set(found.inputs) == {'x/aquant'}
    values, data = found.inputs['x/aquant'], np.stack(BATCHES)
    assert (values.bits, values.size) == (6, data.size)
    assert (values.low, values.high) == (data.min(), data.max())
    np.testing.assert_allclose(values.deviations, [batch.std() for batch in BATCHES], rtol=1e-6)
    for position in range(-2, 8):
        scaled = data.astype(np.float64) * 2.0**position
        assert values.saturated(position) == np.mean((scaled > 31.5) | (scaled < -32.5)), position
