"""The dropouts of TensorFlow, tf.layers and slim are found."""
import pytest
import tensorflow as tf
from tensorflow.contrib import slim

from vai_q_tf.graph.view import GraphView, normalise
from vai_q_tf.patterns.dropout import find_dropouts

v1 = tf.compat.v1


def _floor(x):
    """As TensorFlow writes it up to version 1.13."""
    draw = tf.constant(0.7) + tf.random.uniform([8, 4])
    return tf.divide(x, 0.7) * tf.floor(draw)


@pytest.mark.parametrize('dropout', [
    lambda x: tf.nn.dropout(x, rate=0.3), lambda x: v1.layers.dropout(x, 0.3, training=True),
    lambda x: slim.dropout(x, 0.7, is_training=True), _floor])
def test_is_found(dropout):
    x = tf.nn.relu(v1.placeholder(tf.float32, [8, 4]), name='before')
    y = dropout(x)
    view = GraphView(y.graph.as_graph_def())
    inputs, members = find_dropouts(view, view.names)
    output = next(tensor for tensor in (y, *y.op.inputs) if tensor.op.type == 'Mul')  # slim adds an Identity
    assert inputs == {normalise(output.name): 'before'}
    assert {view.op(name) for name in members} >= {'Mul', 'RandomUniform'} and 'before' not in members


@pytest.mark.parametrize('product', [
    lambda x: x * tf.cast(tf.random.normal([8, 4]) >= 0.3, tf.float32),
    lambda x: x * tf.random.uniform([8, 4]),
    lambda x: x * tf.cast(tf.random.uniform([8, 4]) >= 0.3, tf.float32)])
def test_other_products_are_no_dropout(product):
    view = GraphView(product(v1.placeholder(tf.float32, [8, 4])).graph.as_graph_def())
    assert find_dropouts(view, view.names) == ({}, set())


def test_only_the_given_nodes_are_searched():
    tf.nn.dropout(v1.placeholder(tf.float32, [8, 4]), rate=0.3, name='drop')
    view = GraphView(v1.get_default_graph().as_graph_def())
    assert find_dropouts(view, [name for name in view.names if name != 'drop/mul_1']) == ({}, set())
