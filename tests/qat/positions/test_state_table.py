"""The tables of votes: where they are placed, and that they need no initializer."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig, ops
from vai_q_tf.qat.positions import state_table


@pytest.mark.parametrize('place, expected', [
    (None, '/device:CPU:0'), ('', '/device:CPU:0'), ('/gpu:1', '/device:CPU:0'),
    ('/job:ps/task:1', '/job:ps/task:1/device:CPU:0'),
    ('/job:worker/replica:0/task:2/gpu:3', '/job:worker/replica:0/task:2/device:CPU:0')])
def test_tables_are_on_the_host_of_the_first_variable(place, expected):
    if place is not None:
        with tf.device(place):
            tf.get_variable('first', [2])
        with tf.device('/job:other'):
            tf.get_variable('second', [2])
    assert state_table.device() == expected


def test_a_table_begins_with_zeros_and_without_an_initializer():
    votes = ops.read_positions(state_table.table('votes', 2), rows=2)
    with tf.Session() as session:
        assert not session.run(tf.report_uninitialized_variables()).size
        np.testing.assert_array_equal(session.run(votes), np.zeros([2, 256]))


def test_a_network_on_a_gpu_has_its_state_on_the_cpu(tmp_path):
    """Without soft placement an op that has no kernel for its device is an error."""
    with tf.device('/device:GPU:0'):
        tf.layers.dense(tf.placeholder(tf.float32, [None, 6], 'images'), 3, name='dense')
        CreateQuantizeTrainingGraph(QuantizeConfig(['images'], ['dense/BiasAdd'], output_dir=str(tmp_path), recipe='manual'))
    graph, placed = tf.get_default_graph(), {}
    for op in graph.get_operations():
        placed.setdefault(op.type, set()).add(op.device)
    assert graph.get_operation_by_name('vai_q_tf/positions').device == '/device:CPU:0'
    assert placed['VaiMovingPosition'] == placed['VaiReadPositions'] == {'/device:CPU:0'}
    assert placed['VaiFixNeuron'] == placed['VaiSearchPosition'] == {'/device:GPU:0'}
