"""Proposals for the name of a node that is not in the graph."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.similar_nodes import did_you_mean
from vai_q_tf.graph.view import GraphView


@pytest.fixture(scope='module')
def view():
    """A training graph: layers of tf.layers, a regularizer, a loss and gradients."""
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, 8, 8, 3], 'images')
        net = tf.layers.conv2d(images, 4, 3, activation=tf.nn.relu, name='conv1')
        with tf.variable_scope('block'):
            net = tf.layers.conv2d(net, 4, 3, name='conv')
        net = tf.layers.dense(tf.layers.flatten(net), 5, name='logits',
                              kernel_regularizer=lambda weights: tf.reduce_sum(tf.square(weights)))
        loss = tf.reduce_mean(tf.square(net), name='loss') + tf.losses.get_regularization_loss()
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with tf.name_scope('constants'):
            tf.constant(1.0, name='one')
        return GraphView(graph.as_graph_def())


@pytest.mark.parametrize('name, proposed', [
    ('logits', "'logits/BiasAdd'"), ('logits/', "'logits/BiasAdd'"), ('logits:0', "'logits/BiasAdd'"),
    ('conv1', "'conv1/Relu'"),
    ('block', "'block/conv/BiasAdd'"), ('logits/BiasAd', "'logits/BiasAdd'"), ('image', "'images'")])
def test_proposals(view, name, proposed):
    assert did_you_mean(view, name).startswith('; did you mean {}'.format(proposed)), did_you_mean(view, name)


def test_a_scope_has_one_proposal_only(view):
    assert did_you_mean(view, 'logits') == "; did you mean 'logits/BiasAdd'?"


@pytest.mark.parametrize('name', ['zzz', 'qqq/'])
def test_nothing_similar(view, name):
    assert did_you_mean(view, name) == '.'


def test_a_scope_of_constants_has_no_result(view):
    assert did_you_mean(view, 'constants') == "; did you mean 'constants/one'?"
