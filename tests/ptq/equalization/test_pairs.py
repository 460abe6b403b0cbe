"""The pairs of layers, on graphs with one op or two between two convolutions."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.equalization.graphs import Builder, planned
from vai_q_tf.ptq.equalization.pairs import find_pairs, unclipped_by


def _pairs(between, outputs=('second/bias',), size=8, **fields):
    """[(head, tail, relu6)] of a convolution to 4 channels, `between`, and another convolution with 1x1 kernels."""
    with tf.Graph().as_default() as graph:
        builder = Builder([None, size, size, 3])
        x = between(builder.conv(builder.x, 4, 'first'))
        (builder.conv(x, 5, 'second', kernel=1) if x.shape.ndims == 4 else builder.dense(x, 5, 'second'))
    return _found(graph, outputs, **fields)


def _found(graph, outputs, **fields):
    network = planned(graph.as_graph_def(), outputs, **fields)
    return [(pair.head.node, pair.tail.node, bool(pair.relu6)) for pair in find_pairs(
        network.graph_def, network.plan, list(network.layers.values()))]


@pytest.mark.parametrize('between', [
    lambda x: x,
    tf.nn.relu,
    lambda x: tf.nn.max_pool(tf.nn.relu(x), 2, 2, 'VALID'),
    lambda x: tf.nn.avg_pool(tf.nn.relu(x), 2, 2, 'VALID'),
    lambda x: tf.nn.avg_pool(tf.nn.relu(x), 3, 2, 'VALID'),  # with the factor of the DPU after it
    lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]),
    lambda x: tf.nn.relu(x) * 0.5,
    lambda x: 0.5 * tf.nn.relu(x),
    lambda x: tf.reshape(tf.nn.relu(x), [-1, 4, 16, 4]),
    lambda x: tf.squeeze(tf.nn.avg_pool(x, 8, 8, 'VALID'), [1, 2]),
    lambda x: tf.reshape(tf.reduce_mean(x, [1, 2], keepdims=True), [-1, 4]),
    lambda x: tf.reshape(tf.nn.max_pool(x, 8, 8, 'VALID'), [-1, 4]),
])
def test_ops_that_forward_factors(between):
    assert _pairs(between) == [('first', 'second', False)]


@pytest.mark.parametrize('between', [
    tf.nn.sigmoid,
    tf.nn.softplus,
    tf.abs,
    lambda x: tf.nn.relu(x) * -0.5,
    lambda x: tf.nn.relu(x) * 0.0,
    lambda x: tf.nn.relu(x) + 1.0,
    lambda x: x * x,
    lambda x: tf.nn.relu(x) * np.linspace(1, 2, 64, dtype=np.float32).reshape(1, 8, 8, 1),
    lambda x: tf.nn.relu(x) + x,
    lambda x: tf.concat([x, x], -1),
    lambda x: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0),
    lambda x: tf.pad(x, [[0, 0], [0, 0], [0, 0], [0, 2]]),
    lambda x: tf.pad(x, [[0, 0], [0, 0], [0, 0], [0, 4]]),
    lambda x: tf.pad(x, [[0, 0], [0, 0], [0, 0], [4, 0]]),
    lambda x: tf.reshape(x, [-1, 8, 4, 8]),
    lambda x: tf.reshape(x, [-1, 8 * 8 * 4]),
    lambda x: tf.transpose(x, [0, 1, 3, 2]),
])
def test_ops_that_do_not_forward_factors(between):
    assert _pairs(between) == []


def test_a_pool_over_channels_does_not_forward_factors():
    assert _pairs(lambda x: tf.nn.max_pool(x, [1, 1, 1, 2], [1, 1, 1, 2], 'VALID')) == []


@pytest.mark.parametrize('between', [tf.nn.relu6, lambda x: tf.nn.max_pool(tf.nn.relu6(x), 2, 2, 'VALID'),
                                     lambda x: tf.nn.relu6(tf.nn.avg_pool(x, 2, 2, 'VALID'))])
def test_a_relu6_is_reported(between):
    assert _pairs(between) == [('first', 'second', True)]


@pytest.mark.parametrize('between, found', [
    (lambda x: tf.nn.relu6(x, name='six'), {'first': 'six'}),
    (lambda x: tf.nn.max_pool(tf.nn.relu6(x, name='six'), 2, 2, 'VALID'), {'first': 'six'}),
    (lambda x: tf.nn.relu6(tf.nn.max_pool(x, 2, 2, 'VALID')), {}),
    (tf.nn.relu, {})])
def test_a_relu6_whose_result_is_quantized_can_be_a_relu(between, found):
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 8, 8, 3])
        builder.conv(between(builder.conv(builder.x, 4, 'first')), 5, 'second', kernel=1)
    network = planned(graph.as_graph_def(), ['second/bias'])
    pairs = find_pairs(network.graph_def, network.plan, list(network.layers.values()))
    assert len(pairs) == 1 and unclipped_by(pairs, network.plan) == found


def test_leaky_relu():
    assert _pairs(tf.nn.leaky_relu, simulate_dpu=0) == [('first', 'second', False)]


@pytest.mark.parametrize('outputs', [('first/bias', 'second/bias'), ('relu', 'second/bias'), ('pool', 'second/bias')])
def test_an_output_node_between_prevents_a_pair(outputs):
    assert _pairs(lambda x: tf.nn.max_pool(tf.nn.relu(x, name='relu'), 2, 2, 'VALID', name='pool'), outputs) == []


@pytest.mark.parametrize('where', ['first/bias', 'relu', 'pool', ''])
def test_a_second_reader_prevents_a_pair(where):
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 8, 8, 3])
        x = tf.nn.relu(builder.conv(builder.x, 4, 'first'), name='relu')
        x = tf.nn.max_pool(x, 3, 1, 'SAME', name='pool')
        x = builder.conv(x, 4, 'second')
        tf.add(x, graph.get_tensor_by_name((where or 'second/bias') + ':0'), name='sum')
    assert _found(graph, ['sum']) == ([] if where else [('first', 'second', False)])


def test_a_reader_of_the_shape_does_not_count():
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 8, 8, 3])
        x = tf.nn.relu(builder.conv(builder.x, 4, 'first'))
        rows = tf.shape(x)[0]
        tf.reshape(builder.conv(x, 4, 'second'), tf.stack([rows, 256]), name='flat')
    assert _found(graph, ['flat']) == [('first', 'second', False)]


def test_a_chain_has_its_pairs_in_graph_order():
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 8, 8, 3])
        x = tf.nn.relu6(builder.conv(builder.x, 4, 'first'))
        x = tf.nn.relu(builder.depthwise(x, 'second', multiplier=2))
        x = tf.nn.avg_pool(builder.conv(x, 5, 'third', bias=False), 8, 8, 'VALID')
        builder.dense(tf.reshape(x, [-1, 5]), 3, 'fourth', transposed=True)
    assert _found(graph, ['fourth/bias']) == [
        ('first', 'second', True), ('second', 'third', False), ('third', 'fourth', False)]


def test_channels_first_make_no_pair():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 3, 8, 8], name='x')
        for name, channels in (('first', 3), ('second', 4)):
            x = tf.nn.conv2d(x, tf.ones([3, 3, channels, 4]), 1, 'SAME', data_format='NCHW', name=name)
    assert _found(graph, ['second']) == []
