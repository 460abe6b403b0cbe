"""Ops of gradients and optimizers are distinguished from the network, and not proposed as its outputs."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.training_ops import gradient_nodes
from vai_q_tf.report.inspect import inspect
from vai_q_tf.report.inspect_text import to_text


def training_graph(optimizer, loss_of):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 6, 6, 3], name='x')
        labels = tf.placeholder(tf.int64, [None], name='labels')
        y = tf.layers.batch_normalization(tf.layers.conv2d(x, 4, 3), training=True)
        logits = tf.layers.dense(tf.layers.flatten(tf.nn.relu(y)), 5)
        tf.nn.softmax(logits, name='probabilities')
        tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.float32), name='accuracy')
        loss = loss_of(labels, logits)
        tf.summary.scalar('loss', loss)
        forward = {op.name for op in graph.get_operations()}
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            optimizer.minimize(loss, tf.train.get_or_create_global_step())
        tf.train.Saver()
        return graph.as_graph_def(), forward


LOSSES = [lambda labels, logits: tf.losses.sparse_softmax_cross_entropy(labels, logits),
          lambda labels, logits: tf.reduce_mean(tf.square(logits - tf.one_hot(labels, 5)))]


@pytest.mark.parametrize('optimizer', [tf.train.AdamOptimizer(), tf.train.MomentumOptimizer(.1, .9)], ids=['Adam', 'Momentum'])
@pytest.mark.parametrize('loss', LOSSES, ids=['cross entropy', 'squares'])
def test_a_training_graph(optimizer, loss):
    graph_def, forward = training_graph(optimizer, loss)
    assert forward.isdisjoint(gradient_nodes(GraphView(graph_def)))
    found = inspect(graph_def)
    assert [node.name for node in found.outputs] == ['probabilities'] and found.output_nodes == ('dense/BiasAdd',)
    assert 'This is a training graph' in found.notes[0] and 'training=False' in found.notes[0]


def test_a_network_is_no_training_graph():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [1, 4, 4, 3], name='x')
        y = tf.nn.conv2d_transpose(tf.stop_gradient(x), np.ones((2, 2, 3, 3), np.float32), [1, 8, 8, 3], 2)
        with tf.name_scope('gradients'):
            tf.constant(1.0)
        tf.debugging.check_numerics(y, 'odd')
        assert gradient_nodes(GraphView(graph.as_graph_def())) == ()


def test_a_loop_is_one_line():
    def body(count, y):
        return count + 1, tf.nn.relu(y * .5 + .1)
    with tf.Graph().as_default() as graph:
        y = tf.nn.conv2d(tf.placeholder(tf.float32, [1, 4, 4, 3], name='x'), np.ones((1, 1, 3, 2), np.float32), 1, 'SAME')
        for _ in range(2):
            y = tf.while_loop(lambda count, y: count < 3, body, [0, y])[1]
        tf.nn.relu(y, name='out')
        lines = to_text(inspect(graph.as_graph_def()), 'float.pb').splitlines()
    looped = [line.split(maxsplit=2) for line in lines if ' loop ' in line]
    assert [line[0] for line in looped] == ['while/while_context', 'while_1/while_context']
    assert all(line[1:] == ['loop', 'float: 7 ops in a loop: 1 Mul, 1 AddV2, 1 Relu'] for line in looped)
    assert not any(line.startswith(('while/Relu', 'while_1/Switch')) for line in lines)
