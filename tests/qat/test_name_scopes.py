"""In TensorBoard's graph all new ops are inside layers of the network or in the scope vai_q_tf."""
import pytest
import tensorflow as tf

from vai_q_tf import QuantizeConfig, QuantizePositionHook
from vai_q_tf.qat.evaluation import create_evaluation_graph
from vai_q_tf.qat.training import create_training_graph

v1 = tf.compat.v1


def _network(training):
    net = v1.placeholder(tf.float32, [None, 8, 8, 3], name='images')
    for name in ('folded', 'grown'):
        net = v1.layers.conv2d(net, 4, 3, padding='same', use_bias=False, name=name)
        net = tf.nn.relu(v1.layers.batch_normalization(net, training=training, name=name + '/bn'), name=name + '/relu')
    net = v1.layers.batch_normalization(net + tf.sigmoid(net, name='gate'), training=training, fused=False, name='alone')
    net = tf.concat([net, v1.layers.average_pooling2d(net, 3, 1, 'same', name='pool')], -1, name='joined')
    net = tf.reduce_mean(net, [1, 2], name='mean')
    return v1.layers.dense(net, 2, name='logits')


def _tops(graph):
    return {op.name.partition('/')[0] for op in graph.get_operations()}


@pytest.mark.parametrize('settings', [
    {}, {'recipe': 'finetune', 'bn_fold': 'moving', 'position_update': 'current'},
    {'recipe': 'scratch', 'position_update': 'learned', 'freeze_bn_step': 0.5, 'average_step': 5}], ids=str)
def test_a_training(tmp_path, settings):
    with tf.Graph().as_default() as graph:
        _network(True)
        v1.train.create_global_step()
        before = _tops(graph)
        create_training_graph(graph, QuantizeConfig(['images'], ['logits/BiasAdd'], output_dir=str(tmp_path), **settings))
        QuantizePositionHook(str(tmp_path)).begin()
        new = _tops(graph) - before
    # An op that replaces a top-level op is next to it, and its name begins with that of the op.
    assert {name for name in new if not name.startswith(tuple(before))} == {'vai_q_tf'}


def test_an_evaluation(tmp_path):
    with tf.Graph().as_default() as graph:
        _network(False)
        before = _tops(graph)
        create_evaluation_graph(graph, QuantizeConfig(['images'], ['logits/BiasAdd'], output_dir=str(tmp_path)))
        new = _tops(graph) - before
    assert {name for name in new if not name.startswith(tuple(before))} == {'vai_q_tf'}
