"""Fitted weights: on the grid, legal, better on the data; and layers that are not fitted."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.fitting.planned import constant, images, planned, positions_of
from tests.support import run
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.ptq.fitting import weight_fit
from vai_q_tf.ptq.fitting.layers import find_layers
from vai_q_tf.ptq.fitting.positions import LegalPositions
from vai_q_tf.ptq.fitting.state import quantized_constant
from vai_q_tf.ptq.fitting.weight_fit import WeightFit


def _conv(x, **options):
    return tf.nn.conv2d(x, constant(3, 3, 3, 4, name='w'), 1, 'SAME', **options)


def _image():
    return tf.placeholder(tf.float32, [None, 8, 8, 3], name='x')


def _case(x, **fields):
    case = planned([tf.identity(x, 'out')], **fields)
    (layer,) = find_layers(case.graph_def, case.plan)
    return case, layer


def _fit(case, layer, data=None, results=None, refits=True, weights=None):
    """(weights before, weights and position after)"""
    data = [images(4, 8, 8, 3, seed=number) for number in range(3)] if data is None else data
    if results is None:
        results = [run(case.graph_def, [layer.result], {'x': value})[0] for value in data]
    weights = GraphView(case.graph_def).value(layer.weight.tensor) if weights is None else weights
    return (weights,) + WeightFit(case.graph_def, case.legal, refits)(
        layer, weights, data, results, positions_of(case, **{layer.weight.name: 5}))


def _assert_left(before, weights, position):
    np.testing.assert_array_equal(weights, before)
    assert position == 5


@pytest.mark.parametrize('bits', [2, 4, 8, 16])
@pytest.mark.parametrize('refits', [False, True])
@pytest.mark.parametrize('op', ['conv', 'depthwise', 'matmul'])
def test_fitted_weights_quantize_to_themselves_and_lose_less(op, refits, bits):
    if op == 'conv':
        x = _conv(_image())
    elif op == 'depthwise':
        x = tf.nn.depthwise_conv2d_native(_image(), constant(3, 3, 3, 2, name='w'), [1] * 4, 'VALID')
    else:
        x = tf.matmul(tf.placeholder(tf.float32, [None, 12], name='x'), constant(12, 5, name='w'))
    case, layer = _case(x, weight_bit=bits)
    random = np.random.RandomState(0)
    mix = random.normal(size=[12, 12] if op == 'matmul' else [3, 3])  # of correlated inputs, which can compensate rounding
    data = [np.matmul(random.normal(size=[300, 12] if op == 'matmul' else [4, 8, 8, 3]), mix).astype(np.float32)
            for _ in range(3)]
    feed = [{'x': value} for value in data]
    results = [run(case.graph_def, [layer.result], batch)[0] for batch in feed]
    before, weights, position = _fit(case, layer, data, results, refits)
    np.testing.assert_array_equal(quantized_constant(layer.weight, weights, position), weights)
    assert case.legal.allows(positions_of(case), layer.weight.name, position)

    def error(values):
        graph_def = editor.with_values(case.graph_def, {layer.weight.tensor: values})
        difference = np.concatenate([run(graph_def, [layer.result], batch)[0] - result
                                     for batch, result in zip(feed, results)])
        difference = difference.reshape(-1, difference.shape[-1])
        return np.square(difference - difference.mean(axis=0)).sum()

    plain = min(error(quantized_constant(layer.weight, before, other)) for other in range(position - 3, position + 4))
    assert error(weights) < (1.0 if bits > 2 else 1.05) * plain


@pytest.mark.parametrize('allowed, expected', [((3,), 5), ((6, 7), 6), ((), 5), ((9, 20), 9), ((-2, 20), 5)])
def test_only_legal_positions_are_taken(allowed, expected):
    """The range of the weights is that of position 5; of the legal ones the best is the lowest, which clips nothing."""
    class Allows(LegalPositions):
        def __init__(self):
            """Needs no rules."""

        def allows(self, positions, name, position):
            assert name == layer.weight.name and positions[name] == 5
            return position in allowed
    case, layer = _case(_conv(_image()))
    data = [images(4, 8, 8, 3, seed=number) for number in range(3)]
    weights = GraphView(case.graph_def).value(layer.weight.tensor)
    assert 2 < np.abs(weights).max() < 127 / 32
    weights, position = WeightFit(case.graph_def, Allows(), refits=False)(
        layer, weights, data, data, positions_of(case, **{layer.weight.name: 5}))
    assert position == expected
    np.testing.assert_array_equal(weights, quantized_constant(layer.weight, weights, position))


def test_weights_are_refitted_to_the_results():
    """Weights compensate inputs that are half as large."""
    case, layer = _case(_conv(_image()), weight_bit=16)
    data = [images(4, 8, 8, 3, seed=number) for number in range(3)]
    results = [run(case.graph_def, [layer.result], {'x': 2 * value})[0] for value in data]
    before, weights, _ = _fit(case, layer, data, results)
    assert np.abs(weights - 2 * before).max() < 0.05
    before, weights, _ = _fit(case, layer, data, results, refits=False)
    assert np.abs(weights - before).max() < 0.01


@pytest.mark.parametrize('x', [
    lambda: tf.nn.convolution(_image(), constant(3, 3, 3, 4, name='w'), 'SAME', dilation_rate=[2, 2]),
    lambda: tf.raw_ops.DepthwiseConv2dNative(input=_image(), filter=constant(3, 3, 3, 1, name='w'), strides=[1] * 4,
                                             padding='VALID', dilations=[1, 2, 2, 1]),
    lambda: tf.nn.conv2d_transpose(_image(), constant(3, 3, 4, 3, name='w'), [12, 8, 8, 4], 1, 'SAME'),
    lambda: tf.matmul(tf.placeholder(tf.float32, [5, 4], name='x'), constant(5, 4, name='w'), transpose_a=True),
], ids=['dilated', 'depthwise with dilations', 'transposed', 'transpose_a'])
def test_layers_that_are_not_sampled_do_not_change(x):
    case, layer = _case(x())
    assert WeightFit(case.graph_def, case.legal)._geometry(layer) is None
    _assert_left(*_fit(case, layer, [np.zeros([1], np.float32)], [np.zeros([1], np.float32)]))


def test_a_layer_of_too_many_products_does_not_change(monkeypatch):
    case, layer = _case(_conv(_image()))
    monkeypatch.setattr(weight_fit, 'MOST_PRODUCTS', 27)
    before, weights, _ = _fit(case, layer)
    assert not np.array_equal(before, weights)
    monkeypatch.setattr(weight_fit, 'MOST_PRODUCTS', 26)
    monkeypatch.setattr(weight_fit, 'take_samples', None)
    _assert_left(*_fit(case, layer))


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e25])
@pytest.mark.parametrize('where', ['inputs', 'results', 'weights'])
@pytest.mark.parametrize('refits', [True, False])
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_weights_do_not_change_for_values_without_a_finite_square(value, where, refits):
    case, layer = _case(_conv(_image()))
    data = [images(4, 8, 8, 3, seed=number) for number in range(3)]
    results = [run(case.graph_def, [layer.result], {'x': batch})[0] for batch in data]
    weights = GraphView(case.graph_def).value(layer.weight.tensor).copy()
    {'inputs': data[1], 'results': results[1], 'weights': weights}[where][0, 0, 0, 0] = value
    before, found, position = _fit(case, layer, data, results, refits, weights)
    if value == 1e25 and where != 'inputs':
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(quantized_constant(layer.weight, found, position), found)
    else:
        _assert_left(before, found, position)


@pytest.mark.parametrize('bits', [1, 8, 24])
def test_inputs_weights_and_results_of_zeros(bits):
    case, layer = _case(_conv(_image()), weight_bit=bits)
    zeros = [np.zeros([4, 8, 8, 3], np.float32)] * 3
    before, weights, position = _fit(case, layer, zeros, [np.zeros([4, 8, 8, 4], np.float32)] * 3)
    np.testing.assert_array_equal(weights, quantized_constant(layer.weight, weights, position))
    assert np.abs(weights - before).max() <= (2.0**-position if bits > 1 else np.abs(before).max())
    before, weights, position = _fit(case, layer, weights=np.zeros([3, 3, 3, 4], np.float32))
    np.testing.assert_array_equal(weights, quantized_constant(layer.weight, weights, position))
    assert np.isfinite(weights).all()
