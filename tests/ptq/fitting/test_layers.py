"""Layers of all weighted ops: constants, results and channels, checked with what TensorFlow computes from a single weight."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.fitting.planned import constant, images, planned
from tests.support import run
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.ptq.fitting.layers import activate, find_layers


def _image():
    return tf.placeholder(tf.float32, [None, 6, 6, 4], name='x')


def _conv():
    return tf.nn.conv2d(_image(), constant(3, 2, 4, 5, name='w'), 1, 'SAME')


def _depthwise(multiplier):
    return tf.nn.depthwise_conv2d_native(_image(), constant(3, 3, 4, multiplier, name='w'), [1] * 4, 'SAME')


def _transposed():
    x = _image()
    return tf.nn.conv2d_transpose(x, constant(3, 2, 5, 4, name='w'), tf.stack([tf.shape(x)[0], 12, 12, 5]), 2, 'SAME')


def _volume():
    x = tf.placeholder(tf.float32, [None, 4, 4, 4, 2], name='x')
    return tf.nn.conv3d(x, constant(2, 3, 2, 2, 5, name='w'), [1] * 5, 'SAME')


def _matmul(transpose):
    x = tf.placeholder(tf.float32, [None, 7], name='x')
    return tf.matmul(x, constant(*((5, 7) if transpose else (7, 5)), name='w'), transpose_b=transpose)


def _dilated():
    return tf.nn.convolution(_image(), constant(3, 3, 4, 5, name='w'), 'SAME', dilation_rate=[2, 2])


def _sequence():
    x = tf.placeholder(tf.float32, [None, 6, 4], name='x')
    return tf.nn.conv1d(x, constant(3, 4, 5, name='w'), 1, 'SAME')


_OPS = {
    'conv': _conv, 'depthwise': lambda: _depthwise(1), 'depthwise 2': lambda: _depthwise(2), 'transposed': _transposed,
    'volume': _volume, 'matmul': lambda: _matmul(False), 'matmul transposed': lambda: _matmul(True), 'dilated': _dilated,
    'sequence': _sequence}
_BIASES = {
    'none': lambda x, b: x, 'BiasAdd': tf.nn.bias_add, 'Add': tf.add, 'AddV2': lambda x, b: tf.raw_ops.AddV2(x=x, y=b),
    'Add first': lambda x, b: tf.add(b, x), 'full': lambda x, b: tf.add(x, tf.reshape(b, [1] * (x.shape.ndims - 1) + [-1]))}
_ACTIVATIONS = {
    '': lambda x: x, 'Relu': tf.nn.relu, 'Relu6': tf.nn.relu6, 'leaky': lambda x: tf.nn.leaky_relu(x, 0.1)}


def _only_layer(op, bias='none', activation=''):
    """(Planned, its Layer)"""
    x = _OPS[op]()
    channels = int(x.shape[-1])
    if bias != 'none':
        x = _BIASES[bias](x, constant(channels, name='b'))
    case = planned([tf.identity(_ACTIVATIONS[activation](x), 'out')])
    (layer,) = find_layers(case.graph_def, case.plan)
    return case, layer


def _feed(case):
    return {'x': images(*[2 if size == -1 else size for size in GraphView(case.graph_def).shape('x')])}


def _result(case, layer, values):
    graph_def = editor.with_values(case.graph_def, values)
    return np.moveaxis(run(graph_def, [layer.result], _feed(case))[0], layer.channel_axis, -1)


@pytest.mark.parametrize('op', sorted(_OPS))
@pytest.mark.parametrize('bias', ['none', 'BiasAdd'])
def test_a_single_weight_acts_where_its_map_says(op, bias):
    """[group, product, channel]: a product is a value of the input, the same for all channels of the group."""
    case, layer = _only_layer(op, bias)
    shape = GraphView(case.graph_def).value(layer.weight.tensor).shape
    random, by_product = np.random.RandomState(0), {}
    for index in random.permutation(int(np.prod(shape)))[:16]:
        one_hot = np.zeros(shape, np.float32)
        one_hot.flat[index] = 1
        maps = layer.grouped(one_hot)
        ((group, product, channel),) = np.argwhere(maps)
        assert layer.ungrouped(maps, shape).dtype == np.float32
        np.testing.assert_array_equal(layer.ungrouped(maps, shape), one_hot)
        for other in range(maps.shape[2]):
            moved = np.zeros_like(maps)
            moved[group, product, other] = 1
            given = _result(case, layer, dict({layer.weight.tensor: layer.ungrouped(moved, shape)}, **(
                {layer.bias.tensor: np.zeros(layer.bias and maps.shape[0] * maps.shape[2])} if layer.bias else {})))
            number = group * maps.shape[2] + other
            assert not np.delete(given, number, axis=-1).any() and given[..., number].any()
            expected = by_product.setdefault((group, product), given[..., number])
            np.testing.assert_array_equal(given[..., number], expected)
    values = list(by_product.values())
    assert all(not np.array_equal(one, other) for number, one in enumerate(values) for other in values[:number])


@pytest.mark.parametrize('op', sorted(_OPS))
@pytest.mark.parametrize('bias', sorted(_BIASES))
def test_the_bias_is_added_to_the_channels_of_the_result(op, bias):
    case, layer = _only_layer(op, bias)
    if bias == 'none':
        assert layer.bias is None and layer.constants == (layer.weight.tensor,)
        return
    assert layer.constants == (layer.weight.tensor, layer.bias.tensor)
    view = GraphView(case.graph_def)
    value, weights = view.value(layer.bias.tensor), view.value(layer.weight.tensor)
    expected = np.arange(value.size) + 1
    given = _result(case, layer, {layer.bias.tensor: expected.reshape(value.shape), layer.weight.tensor: 0 * weights})
    np.testing.assert_array_equal(given, np.broadcast_to(expected, given.shape))


@pytest.mark.parametrize('activation', sorted(_ACTIVATIONS))
@pytest.mark.parametrize('op', ['conv', 'matmul', 'dilated'])
def test_the_activation_function_is_the_one_after_the_result(op, activation):
    case, layer = _only_layer(op, 'BiasAdd', activation)
    assert layer.activation == ('' if activation == 'leaky' else activation)
    if activation in ('Relu', 'Relu6'):
        result, output = run(case.graph_def, [layer.result, case.tensors[layer.output].tensor], {
            'x': 9 * _feed(case)['x']})
        np.testing.assert_array_equal(activate(result, activation), output)
        assert (result < 0).any() and (result > 6).any()


def test_a_result_that_others_read_has_no_activation_function():
    x = tf.nn.bias_add(_conv(), constant(5, name='b'))
    case = planned([tf.nn.relu(x, name='one'), tf.negative(x, name='other')])
    (layer,) = find_layers(case.graph_def, case.plan)
    assert layer.activation == '' and layer.result == x.op.name
    assert case.tensors[layer.output].tensor == 'one'


def test_sources_results_and_outputs():
    x = tf.nn.relu(tf.nn.bias_add(_conv(), constant(5, name='b')), name='first')
    x = tf.nn.conv2d(tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool'), constant(1, 1, 5, 2, name='w2'), 1, 'SAME', name='second')
    case = planned([x])
    first, second = find_layers(case.graph_def, case.plan)
    assert (first.source, second.source) == ('x', 'pool')
    assert [case.tensors[layer.output].tensor for layer in (first, second)] == ['first', 'second']
    assert first.weight.tensor == 'w' and first.bias.tensor == 'b' and second.weight.tensor == 'w2'
    assert second.node == second.result == 'second' and first.node == 'Conv2D' and first.result == 'BiasAdd'


@pytest.mark.parametrize('passes', [True, False])
def test_shared_weights_make_no_layer(passes):
    """The passes give each op its own weights."""
    x, weights = _image(), constant(3, 3, 4, 4, name='w')
    x = tf.nn.conv2d(tf.nn.conv2d(x, weights, 1, 'SAME'), weights, 1, 'SAME')
    case = planned([tf.nn.conv2d(x, constant(1, 1, 4, 2, name='own'), 1, 'SAME', name='out')], passes=passes)
    layers = find_layers(case.graph_def, case.plan)
    assert [layer.node for layer in layers] == ['Conv2D', 'Conv2D_1', 'out'][0 if passes else 2:]
    assert len({layer.weight.tensor for layer in layers}) == len(layers)


def test_weights_with_a_float_reader_make_no_layer():
    weights = constant(3, 3, 4, 5, name='w')
    tf.reduce_sum(weights, name='sum')
    case = planned([tf.nn.conv2d(_image(), weights, 1, 'SAME', name='out')], passes=False)
    assert case.plan.groups and not find_layers(case.graph_def, case.plan)


def test_a_shared_bias_is_none():
    """The result is then that of the weighted op."""
    bias = constant(4, name='b')
    x = tf.nn.bias_add(tf.nn.conv2d(_image(), constant(3, 3, 4, 4, name='w1'), 1, 'SAME', name='one'), bias)
    x = tf.nn.bias_add(tf.nn.conv2d(x, constant(2, 2, 4, 4, name='w2'), 1, 'SAME', name='two'), bias)
    case = planned([tf.nn.relu(x, name='out')], passes=False)
    assert [(layer.bias, layer.result, layer.activation) for layer in find_layers(case.graph_def, case.plan)] == [
        (None, 'one', ''), (None, 'two', '')]


def test_a_batch_norm_that_is_not_folded_is_no_layer():
    x = tf.nn.relu(_conv())
    x = tf.nn.batch_normalization(x, *(constant(5, seed=seed)**2 for seed in range(4)), 1e-3)
    case = planned([tf.nn.relu(x, name='out')])
    assert len({group.node for group in case.plan.groups}) == 2
    assert [layer.node for layer in find_layers(case.graph_def, case.plan)] == ['Conv2D']


@pytest.mark.parametrize('bias', ['BiasAdd', 'Add'])
def test_channels_first(bias):
    """Checks the graph alone, since TensorFlow has no CPU kernel for this format."""
    x = tf.placeholder(tf.float32, [None, 4, 6, 6], name='x')
    x = tf.nn.conv2d(x, constant(3, 3, 4, 5, name='w'), 1, 'SAME', data_format='NCHW')
    if bias == 'BiasAdd':
        x = tf.nn.bias_add(x, constant(5, name='b'), data_format='NCHW')
    else:
        x = x + constant(1, 5, 1, 1, name='b')
    case = planned([tf.nn.relu(x, name='out')])
    (layer,) = find_layers(case.graph_def, case.plan)
    assert layer.channel_axis == 1 and layer.activation == 'Relu' and layer.bias.tensor == 'b'
    assert layer.grouped(np.zeros([3, 3, 4, 5])).shape == (1, 36, 5)


def test_a_layer_comes_after_those_that_it_reads():
    """For any order of the nodes of the graph."""
    x = _image()
    for number in range(3):
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(
            x, constant(1, 1, 4, 4, name='w{}'.format(number)), 1, 'SAME', name='conv{}'.format(number)), [.1, .2, .3, .4]))
    case = planned([tf.identity(x, 'out')])
    backwards = editor.subgraph(case.graph_def, list(case.graph_def.node)[::-1])
    for graph_def in (case.graph_def, backwards):
        assert [layer.node for layer in find_layers(graph_def, case.plan)] == ['conv0', 'conv1', 'conv2']
