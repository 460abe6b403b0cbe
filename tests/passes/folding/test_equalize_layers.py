"""Cross-layer equalization: the function stays, ranges become equal, and the steps are those of a few lines of NumPy."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import assert_shapes, config, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.folding.equalize_layers import equalize_layers, equalize_weights

_RANDOM = np.random.RandomState(3)


def _uneven(*shape, axis=-1):
    """Random weights whose ranges differ by channel."""
    value = _RANDOM.uniform(-1, 1, shape)
    scales = np.exp(_RANDOM.uniform(-2, 3, shape[axis]))
    return np.float32(value * np.moveaxis(np.broadcast_to(scales, np.moveaxis(value, axis, -1).shape), -1, axis))


def _constant(value, name):
    return tf.constant(np.float32(value), name=name)


def _conv(x, inputs, outputs, name, size=3):
    return tf.nn.conv2d(x, _constant(_uneven(size, size, inputs, outputs), name + '/w'), 1, 'SAME', name=name)


def _input(channels=3, size=8):
    return tf.placeholder(tf.float32, [None, size, size, channels], name='x')


def _weights(graph_def):
    return {name: tf.make_ndarray(node.attr['value'].tensor) for name, node in nodes(graph_def).items()
            if node.op == 'Const' and node.attr['dtype'].type == tf.float32.as_datatype_enum}


def _equalize(graph_def, protected=('x', 'out'), **fields):
    """The result, after checks: the graph is unchanged; shapes and names stay."""
    before = graph_def.SerializeToString(deterministic=True)
    result = equalize_layers(graph_def, frozenset(protected), config(do_cle=1, **fields))
    assert graph_def.SerializeToString(deterministic=True) == before
    assert_shapes(result)
    assert [node.name for node in result.node] == [node.name for node in graph_def.node]
    return result


def _assert_same_function(graph_def, result, x, fetch='out', tolerance=2e-5):
    expected, out = [run(graph, [fetch], {'x': x})[0] for graph in (graph_def, result)]
    np.testing.assert_allclose(out, expected, atol=tolerance * np.abs(expected).max())


def _assert_changed(graph_def, result, *names):
    before, after = _weights(graph_def), _weights(result)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == set(names)


_BETWEEN = {
    'nothing': lambda x: x,
    'relu': tf.nn.relu,
    'leaky': lambda x: tf.nn.leaky_relu(x, 0.3),
    'max_pool': lambda x: tf.nn.max_pool2d(x, 2, 2, 'SAME'),
    'avg_pool': lambda x: tf.nn.avg_pool2d(x, 3, 2, 'SAME'),
    'pad': lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]),
    'mirror_pad': lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], 'REFLECT'),
    'scalar': lambda x: x * tf.constant(-0.5),
    'scalar_first': lambda x: tf.constant([0.5]) * x,
    'reshape': lambda x: tf.reshape(x, [-1, 4, 16, 6]),
    'identity': tf.identity,
    'several': lambda x: tf.nn.relu(tf.pad(tf.nn.max_pool2d(tf.nn.relu(x), 2, 2, 'VALID'), [[0, 0], [1, 1], [1, 1], [0, 0]])),
}
_BIASES = {
    'none': lambda x: x,
    'bias_add': lambda x: tf.nn.bias_add(x, _constant(_uneven(6), 'b')),
    'add': lambda x: tf.add(x, _constant(_uneven(6), 'b')),
    'add_first': lambda x: tf.add(_constant(_uneven(1, 1, 6), 'b'), x),
    'read': lambda x: tf.nn.bias_add(x, tf.identity(_constant(_uneven(6), 'b'))),
}


@pytest.mark.parametrize('bias', sorted(_BIASES))
@pytest.mark.parametrize('between', sorted(_BETWEEN))
def test_a_pair(between, bias):
    def build():
        y = _BETWEEN[between](_BIASES[bias](_conv(_input(), 3, 6, 'first')))
        tf.nn.relu(_conv(y, 6, 4, 'second'), name='out')
    graph_def = frozen(build)
    result = _equalize(graph_def)
    _assert_changed(graph_def, result, 'first/w', 'second/w', *['b'] * (bias != 'none'))
    assert ops(result) == ops(graph_def)
    _assert_same_function(graph_def, result, values(2, 8, 8, 3))


def _ranges(weights, head='first/w', tail='second/w', bias=None):
    first = np.abs(weights[head]).max((0, 1, 2))
    first = first if bias is None else np.maximum(first, np.abs(weights[bias]))
    return first, np.abs(weights[tail]).max((0, 1, 3))


def test_ranges_of_a_pair_become_equal():
    def build():
        y = tf.nn.relu(tf.nn.bias_add(_conv(_input(), 3, 6, 'first'), _constant(_uneven(6), 'b')))
        _conv(y, 6, 4, 'second')
    graph_def = frozen(build)
    before = _ranges(_weights(graph_def), bias='b')
    after = _ranges(_weights(_equalize(graph_def, ['x', 'second'])), bias='b')
    assert np.ptp(np.log(before[0] / before[1])) > 1  # the task is not trivial
    np.testing.assert_allclose(*after, rtol=1e-5)
    np.testing.assert_allclose(after[0], np.sqrt(before[0] * before[1]), rtol=1e-5)


def test_three_layers_follow_the_formulas():
    def build():
        y = tf.nn.relu(tf.nn.bias_add(_conv(_input(), 3, 6, 'a'), _constant(_uneven(6), 'ab')))
        depthwise = tf.nn.depthwise_conv2d_native(y, _constant(_uneven(3, 3, 6, 2, axis=2), 'd/w'), [1] * 4, 'SAME', name='d')
        _conv(tf.nn.relu(tf.nn.bias_add(depthwise, _constant(_uneven(12), 'db'))), 12, 5, 'out', size=1)
    graph_def = frozen(build)
    result = _equalize(graph_def)
    w = _weights(graph_def)

    def scales(head, bias, tail):
        h, t = np.maximum(np.abs(head).reshape(-1, len(bias)).max(0), np.abs(bias)), np.abs(tail).max((0, 1, 3))
        return np.where(h + t < 0.5, 1, np.clip(np.sqrt(t / h), 0.01, 100))

    for _ in range(10):
        s = scales(w['a/w'], w['ab'], w['d/w'])
        w['a/w'], w['ab'], w['d/w'] = w['a/w'] * s, w['ab'] * s, w['d/w'] / s[:, None]
        s = scales(w['d/w'], w['db'], w['out/w'])
        w['d/w'], w['db'], w['out/w'] = w['d/w'] * s.reshape(6, 2), w['db'] * s, w['out/w'] / s[:, None]
    for name, value in _weights(result).items():
        np.testing.assert_allclose(value, w[name], rtol=1e-4, err_msg=name)
    _assert_same_function(graph_def, result, values(2, 8, 8, 3))


@pytest.mark.parametrize('first,second,expected', [
    ([1.0, 1.0], [4.0, 0.04], [2.0, 0.2]),  # sqrt(T / H)
    ([1e-6, 1.0], [1e3, 1.0], [1e4, 1.0]),  # 100 in each of two steps, then below 0.5
    ([0.1, 0.2], [0.3, 0.29], [1.0, 1.0]),  # less than 0.5 together
    ([0.0, 1.0], [2.0, 1.0], [100.0, 1.0]),
    ([1.0, 1.0], [0.0, 1.0], [0.01, 1.0]),
])
def test_scales_and_their_limits(first, second, expected):
    def build():
        x = tf.placeholder(tf.float32, [None, 1, 1, 1], name='x')
        y = tf.nn.conv2d(x, _constant(np.reshape(first, [1, 1, 1, 2]), 'a'), 1, 'VALID')
        tf.nn.conv2d(y, _constant(np.reshape(second, [1, 1, 2, 1]), 'b'), 1, 'VALID', name='out')
    weights = _weights(_equalize(frozen(build)))
    for channel, scale in enumerate(expected):
        a, b = weights['a'].flat[channel], weights['b'].flat[channel]
        assert a == pytest.approx(first[channel] * scale, rel=1e-5)
        assert b == pytest.approx(second[channel] / scale, rel=1e-5)


def test_a_second_run_changes_little():
    def build():
        _conv(tf.nn.relu(_conv(tf.nn.relu(_conv(_input(), 3, 6, 'a')), 6, 5, 'b')), 5, 4, 'out')
    once = _equalize(frozen(build))
    twice = _weights(_equalize(once))
    for name, value in _weights(once).items():
        np.testing.assert_allclose(twice[name], value, rtol=0.02, err_msg=name)


def test_channels_first():
    def build():
        x = tf.placeholder(tf.float32, [None, 3, 8, 8], name='x')
        y = tf.nn.conv2d(x, _constant(_uneven(3, 3, 3, 6), 'a'), 1, 'SAME', data_format='NCHW')
        y = tf.nn.relu(tf.add(y, _constant(_uneven(6, 1, 1, axis=0), 'ab')))
        y = tf.nn.conv2d(y, _constant(_uneven(3, 3, 6, 5), 'b'), 1, 'SAME', data_format='NCHW')
        y = tf.nn.bias_add(y, _constant(_uneven(5), 'bb'), 'NCHW')
        tf.nn.conv2d(y, _constant(_uneven(3, 3, 5, 4), 'c'), 1, 'SAME', data_format='NCHW', name='out')
    graph_def = frozen(build)
    weights = _weights(_equalize(graph_def))

    def compute(w):  # TensorFlow has no such convolution on a CPU
        with tf.Graph().as_default(), tf.Session() as session:
            y = tf.nn.conv2d(tf.constant(values(2, 8, 8, 3)), w['a'], 1, 'SAME') + w['ab'].ravel()
            y = tf.nn.conv2d(tf.nn.relu(y), w['b'], 1, 'SAME') + w['bb']
            return session.run(tf.nn.conv2d(y, w['c'], 1, 'SAME'))
    expected = compute(_weights(graph_def))
    assert all(not np.array_equal(weights[name], value) for name, value in _weights(graph_def).items())
    np.testing.assert_allclose(compute(weights), expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize('transposed', [False, True])
def test_fully_connected_layers(transposed):
    def build():
        x = tf.placeholder(tf.float32, [None, 5], name='x')
        y = tf.matmul(x, _constant(_uneven(6, 5, axis=0) if transposed else _uneven(5, 6), 'a'), transpose_b=transposed)
        y = tf.nn.relu(tf.nn.bias_add(y, _constant(_uneven(6), 'b')))
        tf.matmul(y, _constant(_uneven(4, 6) if transposed else _uneven(6, 4), 'c'), transpose_b=transposed, name='out')
    graph_def = frozen(build)
    result = _equalize(graph_def)
    _assert_changed(graph_def, result, 'a', 'b', 'c')
    _assert_same_function(graph_def, result, values(7, 5))


@pytest.mark.parametrize('reshape', [
    lambda x: tf.squeeze(x, [1, 2]),
    lambda x: tf.reshape(x, [-1, 6]),
    lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], 6])),
])
def test_a_convolution_before_a_fully_connected_layer(reshape):
    def build():
        y = tf.nn.avg_pool2d(tf.nn.relu(_conv(_input(), 3, 6, 'a')), 8, 8, 'VALID')
        tf.matmul(reshape(y), _constant(_uneven(6, 4), 'c'), name='out')
    graph_def = frozen(build)
    result = _equalize(graph_def)
    _assert_changed(graph_def, result, 'a/w', 'c')
    _assert_same_function(graph_def, result, values(2, 8, 8, 3))


def test_a_relu6_becomes_a_relu_within_a_pair_only():
    def build():
        y = tf.nn.relu6(_conv(_input(), 3, 6, 'a'), name='between')
        y = tf.nn.relu6(_conv(y, 6, 4, 'b'), name='after')
        y = tf.nn.relu6(y + 3.0, name='clipped') / 6.0
        tf.identity(y, name='out')
    graph_def = frozen(build)
    result = _equalize(graph_def)
    by_name = nodes(result)
    assert [by_name[name].op for name in ('between', 'after', 'clipped')] == ['Relu', 'Relu6', 'Relu6']
    _assert_changed(graph_def, result, 'a/w', 'b/w')
    x = values(2, 8, 8, 3) * np.float32(0.001)  # nothing reaches 6
    _assert_same_function(graph_def, result, x)


def test_a_relu6_of_a_pair_that_needs_no_scale_stays():
    def build():
        y = tf.nn.conv2d(_input(1, 1), _constant(np.full([1, 1, 1, 2], 0.1), 'a'), 1, 'VALID')
        tf.nn.conv2d(tf.nn.relu6(y), _constant(np.full([1, 1, 2, 1], 0.1), 'b'), 1, 'VALID', name='out')
    graph_def = frozen(build)
    assert _equalize(graph_def) is graph_def


def test_a_relu6_ends_the_chain_if_it_is_not_replaced():
    def build():
        y = tf.nn.relu6(_conv(_input(), 3, 6, 'a'), name='between')
        _conv(tf.nn.relu(_conv(y, 6, 4, 'b')), 4, 2, 'out')
    graph_def = frozen(build)
    result = _equalize(graph_def, replace_relu6=0)
    _assert_changed(graph_def, result, 'b/w', 'out/w')
    assert nodes(result)['between'].op == 'Relu6'


def _two_readers(x):
    y = tf.nn.relu(_conv(x, 3, 6, 'a'))
    return _conv(y, 6, 4, 'b') + _conv(y, 6, 4, 'c')


def _residual(x):
    y = _conv(x, 3, 3, 'a') + x
    return _conv(tf.nn.relu(y), 3, 4, 'b')


def _shared_weights(x):
    weights = _constant(_uneven(3, 3, 3, 3), 'w')
    return tf.nn.conv2d(tf.nn.relu(tf.nn.conv2d(x, weights, 1, 'SAME')), weights, 1, 'SAME')


def _read_weights(x):
    y = _conv(x, 3, 6, 'a')
    return _conv(tf.nn.relu(y), 6, 4, 'b') + tf.reduce_sum(tf.get_default_graph().get_tensor_by_name('a/w:0'))


def _shared_bias(x):
    bias = _constant(_uneven(4), 'bias')
    return tf.nn.bias_add(_conv(tf.nn.relu(tf.nn.bias_add(_conv(x, 3, 4, 'a'), bias)), 4, 4, 'b'), bias)


def _reshaped_width(x):
    y = tf.nn.conv2d(tf.transpose(x, [0, 3, 1, 2]), _constant(_uneven(3, 3, 3, 8), 'a'), 1, 'SAME', data_format='NCHW')
    return tf.matmul(tf.reshape(y, [-1, 8]), _constant(_uneven(8, 4), 'b'))


_ENDS = {
    'two_readers': _two_readers,
    'residual': _residual,
    'shared_weights': _shared_weights,
    'read_weights': _read_weights,
    'shared_bias': _shared_bias,
    'sigmoid': lambda x: _conv(tf.sigmoid(_conv(x, 3, 6, 'a')), 6, 4, 'b'),
    'scale_per_channel': lambda x: _conv(_conv(x, 3, 6, 'a') * _constant(_uneven(6), 's'), 6, 4, 'b'),
    'scale_computed': lambda x: _conv(_conv(x, 3, 6, 'a') * tf.reduce_mean(x), 6, 4, 'b'),
    'late_bias': lambda x: _conv(tf.nn.relu(_conv(x, 3, 6, 'a')) + _constant(_uneven(6), 's'), 6, 4, 'b'),
    'scalar_bias': lambda x: _conv(_conv(x, 3, 6, 'a') + 0.5, 6, 4, 'b'),
    'bias_per_column': lambda x: _conv(_conv(x, 3, 8, 'a') + _constant(_uneven(8, 1, axis=0), 's'), 8, 4, 'b'),
    'other_channels': lambda x: _conv(tf.reshape(_conv(x, 3, 6, 'a'), [-1, 8, 16, 3]), 3, 4, 'b'),
    'channels_padded': lambda x: _conv(tf.pad(_conv(x, 3, 6, 'a'), [[0, 0], [0, 0], [0, 0], [1, 0]]), 7, 4, 'b'),
    'pad_value': lambda x: _conv(tf.pad(_conv(x, 3, 6, 'a'), [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1), 6, 4, 'b'),
    'computed_weights': lambda x: tf.nn.conv2d(_conv(x, 3, 6, 'a'), _constant(_uneven(3, 3, 6, 4), 'w') * 2, 1, 'SAME'),
    'channels_first': _reshaped_width,
    'one_layer': lambda x: _conv(x, 3, 6, 'a'),
}


@pytest.mark.parametrize('case', sorted(_ENDS))
def test_where_chains_end(case):
    graph_def = frozen(lambda: tf.identity(_ENDS[case](_input()), name='out'))
    assert _equalize(graph_def) is graph_def


@pytest.mark.parametrize('protected', ['a', 'a/w', 'bias', 'add', 'relu'])
def test_protected_nodes_end_the_chain(protected):
    def build():
        y = tf.nn.bias_add(_conv(_input(), 3, 6, 'a'), _constant(_uneven(6), 'bias'), name='add')
        _conv(tf.nn.relu(y, name='relu'), 6, 4, 'out')
    graph_def = frozen(build)
    assert _equalize(graph_def, ['x', 'out', protected]) is graph_def


def test_weights_in_other_forms():
    def build():
        y = tf.nn.conv2d(_input(), tf.identity(_constant(_uneven(3, 3, 3, 6), 'a'), name='a/read'), 1, 'SAME', name='first')
        y = tf.nn.conv2d(tf.nn.relu(y), _constant(_uneven(3, 3, 6, 4), 'b'), 1, 'SAME', dilations=2)
        tf.identity(y, name='out')
    graph_def = frozen(build)
    result = _equalize(graph_def)
    _assert_changed(graph_def, result, 'a', 'b')
    _assert_same_function(graph_def, result, values(2, 8, 8, 3))


def test_float64_stays():
    def build():
        x = tf.placeholder(tf.float64, [None, 5], name='x')
        tf.matmul(tf.matmul(x, tf.constant(np.float64(_uneven(5, 6)))), tf.constant(np.float64(_uneven(6, 4))), name='out')
    graph_def = frozen(build)
    assert _equalize(graph_def) is graph_def


def test_scales_by_the_weights_alone():
    """For raw pixels weights are about 0.01 and biases about 3; with the biases the ranges of the weights stay unequal."""
    with tf.Graph().as_default() as graph:
        first, bias = 0.01 * _uneven(3, 3, 3, 6), _RANDOM.uniform(2, 4, 6)
        y = tf.nn.bias_add(tf.nn.conv2d(_input(), _constant(first, 'w1'), 1, 'SAME', name='c1'), _constant(bias, 'b'))
        tf.nn.conv2d(tf.nn.relu(y), _constant(_uneven(3, 3, 6, 4, axis=2), 'w2'), 1, 'SAME', name='out')
    graph_def = graph.as_graph_def(add_shapes=True)
    result = equalize_weights(graph_def, frozenset(['x', 'out']), config(do_cle=1))
    _assert_same_function(graph_def, result, _RANDOM.uniform(0, 255, (2, 8, 8, 3)))
    before, after = _weights(graph_def), _weights(result)
    scales = np.sqrt(np.abs(before['w2']).max((0, 1, 3)) / np.abs(before['w1']).max((0, 1, 2)))
    np.testing.assert_allclose(after['w1'], before['w1'] * scales, rtol=1e-4)
    np.testing.assert_allclose(after['b'], before['b'] * scales, rtol=1e-4)
    np.testing.assert_allclose(after['w2'], before['w2'] / scales[:, None], rtol=1e-4)
    with_biases = _weights(equalize_layers(graph_def, frozenset(['x', 'out']), config(do_cle=1)))
    ranges = np.abs(with_biases['w1']).max((0, 1, 2)) / np.abs(with_biases['w2']).max((0, 1, 3))
    assert ranges.max() / ranges.min() > 2


@pytest.mark.parametrize('dead', ['w1', 'w2'])
def test_a_channel_that_is_almost_dead_is_not_scaled(dead):
    """Its bias, or its weights in the first layer, would determine the position of the whole tensor."""
    values = {'w1': _RANDOM.uniform(-1, 1, (3, 3, 3, 6)), 'w2': _RANDOM.uniform(-1, 1, (3, 3, 6, 4))}
    if dead == 'w1':
        values['w1'][..., 2] *= 1e-5
    else:
        values['w2'][:, :, 2] *= 1e-5
    with tf.Graph().as_default() as graph:
        y = tf.nn.conv2d(_input(), _constant(values['w1'], 'w1'), 1, 'SAME', name='c1')
        y = tf.nn.bias_add(y, _constant(np.full(6, 0.5), 'b'))
        tf.nn.conv2d(tf.nn.relu(y), _constant(values['w2'], 'w2'), 1, 'SAME', name='out')
    result = _weights(equalize_weights(graph.as_graph_def(add_shapes=True), frozenset(['x', 'out']), config(do_cle=1)))
    assert result['b'][2] == 0.5
    np.testing.assert_array_equal(result['w1'][..., 2], np.float32(values['w1'][..., 2]))
    np.testing.assert_array_equal(result['w2'][:, :, 2], np.float32(values['w2'][:, :, 2]))
    assert len(set(result['b'])) == 6
