"""Ops that are created after a rewrite read the replacements of their inputs."""
import tensorflow.compat.v1 as tf

from vai_q_tf.qat import replaced_tensors


def _replaced():
    before, after = tf.placeholder(tf.float32, [None, 3], 'before'), tf.placeholder(tf.float32, name='after')
    replaced_tensors.note(before.graph, {before.name: after})
    return before, after


def test_a_replacement_has_the_shape_of_the_tensor():
    with tf.Graph().as_default():
        before, after = _replaced()
        assert replaced_tensors.in_place_of(before) is after and after.shape.as_list() == [None, 3]
        assert replaced_tensors.in_place_of(after) is after
        assert replaced_tensors.in_place_of('before:0') == 'before:0'


def test_another_graph_has_other_tensors():
    with tf.Graph().as_default():
        _replaced()
    with tf.Graph().as_default():
        same_name = tf.placeholder(tf.float32, [None, 3], 'before')
        assert replaced_tensors.in_place_of(same_name) is same_name


def test_new_ops_read_replacements():
    with tf.Graph().as_default() as graph:
        before, after = _replaced()
        old = tf.nn.relu(before)
        replaced_tensors.exchange_in_new_ops(graph)
        assert tf.nn.relu(before).op.inputs[0] is after
        assert old.op.inputs[0] is before
