"""The weights of dead channels that dominate become zero, and the outputs of the network on the data stay."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.equalization.graphs import Builder, planned, run_on
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.ptq.equalization.dead_channels import reads_channels_alone, silence_dead_channels
from vai_q_tf.ptq.equalization.ranges import observe_ranges

_BIG = 1000


def _silenced(graph, x, outputs=('out',), **fields):
    """(Planned, {short name of a layer: its weights}, {short name: its bias}) of the layers that change.

    Checks that the outputs on `x` do not change.
    """
    network = planned(graph.as_graph_def(), outputs, **fields)
    view, layers = GraphView(network.graph_def), list(network.layers.values())
    axes = {layer.source: layer.channel_axis for layer in layers if reads_channels_alone(view, layer)}
    axes.update((layer.result, layer.channel_axis) for layer in layers)
    ranges = observe_ranges(network.graph_def, axes, [{'x:0': part} for part in np.array_split(x, 2)])
    changed = silence_dead_channels(view, layers, network.arrays, ranges)
    for value in changed.values():
        assert value.dtype == np.float32
    for before, after in zip(run_on(network.graph_def, outputs, x),
                             run_on(editor.with_values(network.graph_def, changed), outputs, x)):
        np.testing.assert_allclose(after, before, atol=2e-3 * np.abs(before).max())
    weights = {name: changed[layer.weight.tensor] for name, layer in network.layers.items() if layer.weight.tensor in changed}
    biases = {name: changed[layer.bias.tensor] for name, layer in network.layers.items()
              if layer.bias and layer.bias.tensor in changed}
    return network, weights, biases


def _images(*shape, dead=()):
    """Random images whose channels `dead` are 0.5 everywhere."""
    x = np.random.RandomState(3).uniform(0.1, 1, shape).astype(np.float32)
    x[..., list(dead)] = 0.5
    return x


def _with_large_output(builder, kernel, channels, number, size=_BIG):
    weights = builder.normal(kernel, kernel, channels, 4)
    weights[..., number] *= size
    return weights


@pytest.mark.parametrize('kernel', [1, 3])
@pytest.mark.parametrize('activation', [tf.nn.relu, tf.nn.relu6])
def test_an_output_that_the_activation_makes_constant(kernel, activation):
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        weights = _with_large_output(builder, kernel, 3, 2)
        weights[..., 2] = -np.abs(weights[..., 2])
        x = activation(builder.conv(builder.x, 4, 'first', kernel, weights, bias=[0.1, 0.2, 0.3, 0.4]))
        tf.identity(builder.conv(x, 3, 'second'), name='out')
    _, changed, biases = _silenced(graph, _images(8, 6, 6, 3), ['second/bias'])
    assert set(changed) == {'first'}
    assert (changed['first'][..., 2] == 0).all()
    np.testing.assert_array_equal(np.delete(changed['first'], 2, -1), np.delete(weights, 2, -1))
    np.testing.assert_array_equal(biases['first'], np.array([0.1, 0.2, 0, 0.4], np.float32))


def test_an_output_that_is_always_clipped_at_six_becomes_a_bias_of_six():
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        weights = np.abs(_with_large_output(builder, 1, 3, 1))
        builder.conv(tf.nn.relu6(builder.conv(builder.x, 4, 'first', 1, weights, bias=np.ones(4))), 3, 'second')
    _, changed, biases = _silenced(graph, _images(8, 6, 6, 3), ['second/bias'])
    assert (changed['first'][..., 1] == 0).all() and biases['first'].tolist() == [1, 6, 1, 1]


def test_without_an_activation_the_constant_is_that_of_the_sum():
    """One dead input channel that only a large output channel reads; biases count."""
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 2])
        weights = np.zeros([1, 1, 2, 3], np.float32)
        weights[0, 0, 1, 2], weights[0, 0, 0, :2] = -40, [1, -2]
        builder.conv(builder.conv(builder.x, 3, 'first', 1, weights, bias=[0, 1, 7]), 3, 'second', 3)
    _, changed, biases = _silenced(graph, _images(8, 6, 6, 2, dead=[1]), ['second/bias'])
    assert not changed['first'][..., 2].any() and biases['first'].tolist() == [0, 1, -13]


def test_large_weights_of_live_channels_and_small_ones_of_dead_channels_stay():
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        weights = _with_large_output(builder, 3, 3, 0)  # alive
        weights[..., 2] = -0.9 * np.abs(weights[..., 0])  # dead after the relu, and not larger
        builder.conv(tf.nn.relu(builder.conv(builder.x, 4, 'first', 3, weights)), 3, 'second')
    assert _silenced(graph, _images(8, 6, 6, 3), ['second/bias'])[1] == {}


def test_an_output_of_the_network_before_its_activation_stays():
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        weights = -np.abs(_with_large_output(builder, 1, 3, 2))
        tf.nn.relu(builder.conv(builder.x, 4, 'first', 1, weights, np.zeros(4)), name='out')
    assert _silenced(graph, _images(8, 6, 6, 3), ['first/bias', 'out'])[1] == {}


@pytest.mark.parametrize('negative', [True, False])
def test_without_a_bias_only_zeros_are_dead(negative):
    """After a relu a negative channel is 0; a positive one is cut at 6, which only a bias could replace."""
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        weights = np.abs(_with_large_output(builder, 1, 3, 1))
        weights[..., 1] *= -1 if negative else 1
        builder.conv(tf.nn.relu6(builder.conv(builder.x, 4, 'first', 1, weights, bias=False)), 3, 'second')
    _, changed, biases = _silenced(graph, _images(8, 6, 6, 3), ['second/bias'])
    assert set(changed) == ({'first'} if negative else set()) and not biases


@pytest.mark.parametrize('multiplier', [1, 2])
def test_depthwise(multiplier):
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        weights = np.abs(builder.normal(3, 3, 3, multiplier))
        weights[:, :, 1, -1] *= -_BIG
        builder.conv(tf.nn.relu(builder.depthwise(builder.x, 'first', multiplier, weights, bias=np.zeros(3 * multiplier))),
                     3, 'second')
    _, changed, _ = _silenced(graph, _images(8, 6, 6, 3), ['second/bias'])
    expected = weights.copy()
    expected[:, :, 1, -1] = 0
    np.testing.assert_array_equal(changed['first'], expected)


def _large_input(builder, kernel, number=1):
    weights = builder.normal(kernel, kernel, 3, 4)
    weights[:, :, number] *= _BIG
    return weights


@pytest.mark.parametrize('padding', ['VALID', 'SAME'])
def test_an_input_of_a_kernel_of_one_goes_into_the_bias(padding):
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        weights = _large_input(builder, 1)
        builder.conv(builder.x, 4, 'first', 1, weights, np.arange(4), padding)
    _, changed, biases = _silenced(graph, _images(8, 6, 6, 3, dead=[1]), ['first/bias'])
    assert not changed['first'][:, :, 1].any()
    np.testing.assert_array_equal(changed['first'][:, :, [0, 2]], weights[:, :, [0, 2]])
    np.testing.assert_allclose(biases['first'], np.arange(4) + 0.5 * weights[0, 0, 1], rtol=1e-6)


@pytest.mark.parametrize('transposed', [False, True])
def test_an_input_of_a_dense_layer(transposed):
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 3])
        weights = _large_input(builder, 1)[0, 0]
        builder.dense(builder.x, 4, 'first', weights.T if transposed else weights, np.zeros(4), transposed)
    _, changed, biases = _silenced(graph, _images(20, 3, dead=[1]), ['first/bias'])
    assert not (changed['first'].T if transposed else changed['first'])[1].any()
    np.testing.assert_allclose(biases['first'], 0.5 * weights[1], rtol=1e-6)


def test_an_input_that_only_the_large_weights_of_live_channels_read_stays():
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        weights = _large_input(builder, 1, number=0)
        builder.conv(builder.x, 4, 'first', 1, weights)
    assert _silenced(graph, _images(8, 6, 6, 3, dead=[1]), ['first/bias'])[1] == {}


@pytest.mark.parametrize('kernel, padding', [(3, 'SAME'), (3, 'VALID'), (1, [[0, 0], [1, 1], [1, 1], [0, 0]])])
def test_inputs_of_layers_with_taps_or_padding_stay(kernel, padding):
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        builder.conv(builder.x, 4, 'first', kernel, _large_input(builder, kernel), np.zeros(4), padding)
    assert _silenced(graph, _images(8, 6, 6, 3, dead=[1]), ['first/bias'])[1] == {}


def test_an_input_without_a_bias():
    for dead in (0, 0.5):
        with tf.Graph().as_default() as graph:
            builder = Builder([None, 6, 6, 3])
            builder.conv(builder.x, 4, 'first', 1, _large_input(builder, 1), bias=False)
        x = _images(8, 6, 6, 3)
        x[..., 1] = dead
        assert set(_silenced(graph, x, ['first'])[1]) == (set() if dead else {'first'})


def test_data_that_a_matmul_transposes():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [5, None], name='x')
        weights = np.ones([5, 3], np.float32)
        weights[:, 1] = -_BIG
        x = tf.nn.bias_add(tf.matmul(x, weights, transpose_a=True, name='first'), tf.zeros(3), name='bias')
        tf.nn.relu(x, name='out')
    network = planned(graph.as_graph_def(), ['out'])
    layer, view = network.layers['first'], GraphView(network.graph_def)
    assert not reads_channels_alone(view, layer)
    feeds = [{'x:0': np.random.RandomState(0).uniform(0.1, 1, [5, size])} for size in (4, 7)]
    ranges = observe_ranges(network.graph_def, {layer.result: -1}, feeds)
    changed = silence_dead_channels(view, [layer], network.arrays, ranges)
    assert changed[layer.weight.tensor].sum(0).tolist() == [5, 0, 5]


def test_a_bias_that_is_added_as_an_image():
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        weights = -np.abs(_with_large_output(builder, 1, 3, 2))
        weights[..., [0, 1, 3]] *= -1
        x = builder.conv(builder.x, 4, 'first', 1, weights, bias=False)
        tf.nn.relu(tf.add(x, np.full([1, 1, 1, 4], 0.25, np.float32)), name='out')
    _, changed, biases = _silenced(graph, _images(8, 6, 6, 3))
    assert not changed['first'][..., 2].any() and biases['first'].ravel().tolist() == [0.25, 0.25, 0, 0.25]
    assert biases['first'].size == 4


def test_a_layer_of_dead_channels_alone():
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        weights = -np.abs(builder.normal(3, 3, 3, 4))
        builder.conv(tf.nn.relu(builder.conv(builder.x, 4, 'first', 3, weights, np.zeros(4))), 3, 'second', 1)
    _, changed, _ = _silenced(graph, _images(8, 6, 6, 3), ['second/bias'])
    assert not changed['first'].any()


def test_nothing_changes_without_dead_channels():
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        builder.conv(tf.nn.relu(builder.conv(builder.x, 4, 'first')), 3, 'second', 1)
    assert _silenced(graph, _images(8, 6, 6, 3), ['second/bias'])[1:] == ({}, {})
