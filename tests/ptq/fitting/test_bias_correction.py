"""Corrected biases against the means of all values and an exhaustive search of positions."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.fitting.planned import constant, planned, positions_of
from vai_q_tf.fixed_point import limits
from vai_q_tf.ptq.fitting import bias_correction
from vai_q_tf.ptq.fitting.bias_correction import correct_bias, summarise
from vai_q_tf.ptq.fitting.layers import activate, find_layers
from vai_q_tf.ptq.fitting.positions import LegalPositions
from vai_q_tf.ptq.fitting.state import quantized_constant

CHANNELS = 4


def _case(activation=tf.identity, shape=(CHANNELS,), data_format='NHWC', **fields):
    """A 1x1 convolution with a bias of a shape: (Planned, Layer)."""
    tf.reset_default_graph()
    size = [None, 6, 6, 3] if data_format == 'NHWC' else [None, 3, 6, 6]
    x = tf.nn.conv2d(tf.placeholder(tf.float32, size, name='x'), constant(1, 1, 3, CHANNELS, name='w'), 1, 'SAME',
                     data_format=data_format)
    case = planned([tf.identity(activation(x + constant(*shape, name='b')), 'out')], passes=False, **fields)
    (layer,) = find_layers(case.graph_def, case.plan)
    return case, layer


def _results(batches=3, noise=0.05, offset=(0.4, -0.3, 0.2, 0.0), seed=0):
    """(expected, actual): batches of several sizes, each channel with a mean error."""
    random = np.random.RandomState(seed)
    expected = [random.normal(size=[2 + number, 6, 6, CHANNELS]).astype(np.float32) for number in range(batches)]
    return expected, [(value - np.array(offset) + noise * random.normal(size=value.shape)).astype(np.float32)
                      for value in expected]


def _correct(case, layer, bias, expected, actual, positions=None):
    positions = positions or positions_of(case)
    summary = summarise(expected, layer.channel_axis)
    goal = summary._replace(rows=activate(summary.rows, layer.activation))
    return correct_bias(layer, bias, goal, summarise(actual, layer.channel_axis), positions, case.legal, case.tensors)


def mean_error(expected, actual, axis):
    """The mean of expected - actual of each channel, by the summaries."""
    return summarise(expected, axis).mean - summarise(actual, axis).mean


def test_rows_are_those_of_the_same_places_of_both():
    expected, actual = _results(noise=0)
    rows = [summarise(values, -1).rows for values in (expected, actual)]
    assert rows[0].shape == (324, CHANNELS)  # (2 + 3 + 4) * 6 * 6, all places
    np.testing.assert_allclose(rows[0] - rows[1], np.tile([0.4, -0.3, 0.2, 0.0], (324, 1)), atol=1e-6)


def test_mean_errors_are_those_of_all_values_of_a_channel():
    expected, actual = _results()
    flat = [np.concatenate([value.reshape(-1, CHANNELS) for value in values]).astype(float) for values in (expected, actual)]
    np.testing.assert_allclose(mean_error(expected, actual, -1), (flat[0] - flat[1]).mean(axis=0), atol=1e-6)
    moved = [[np.moveaxis(value, -1, 1) for value in values] for values in (expected, actual)]
    np.testing.assert_allclose(mean_error(*moved, 1), (flat[0] - flat[1]).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize('shape, data_format', [
    ((CHANNELS,), 'NHWC'), ((1, 1, 1, CHANNELS), 'NHWC'), ((1, CHANNELS, 1, 1), 'NCHW')])
def test_the_mean_is_that_of_the_float_network(shape, data_format):
    """A bias of many bits leaves an error of at most half a step."""
    case, layer = _case(shape=shape, data_format=data_format, nodes_bit=['b:16'])
    axis = layer.channel_axis
    expected, actual = ([np.moveaxis(value, -1, axis) for value in values] for values in _results())
    before = np.linspace(-1, 1, CHANNELS).astype(np.float32).reshape(shape)
    corrected, position = _correct(case, layer, before, expected, actual)
    assert corrected.shape == shape and corrected.dtype == np.float32 and position >= 13
    change = (quantized_constant(layer.bias, corrected, position) - before).reshape(-1)
    left = [one - other - change.reshape([-1 if axis in (number, number - 4) else 1 for number in range(4)])
            for one, other in zip(expected, actual)]
    assert np.abs(mean_error(left, [0 * value for value in left], axis)).max() <= 2.0**-(position + 1) + 1e-6
    np.testing.assert_allclose(corrected.reshape(-1), before.reshape(-1) + mean_error(expected, actual, axis), atol=1e-6)


_FUNCTIONS = {'none': (tf.identity, lambda x: x), 'relu': (tf.nn.relu, lambda x: np.maximum(x, 0)),
              'relu6': (tf.nn.relu6, lambda x: np.minimum(np.maximum(x, 0), 6))}


@pytest.mark.parametrize('name', sorted(_FUNCTIONS))
@pytest.mark.parametrize('bits', [3, 4, 8])
def test_the_position_is_the_best_of_the_legal_ones(name, bits, monkeypatch):
    monkeypatch.setattr(bias_correction, '_ROWS', 10**6)
    op, function = _FUNCTIONS[name]
    case, layer = _case(op, nodes_bit=['b:{}'.format(bits)])
    found = []
    for seed in range(6):
        expected, actual = _results(seed=seed, offset=np.random.RandomState(seed).uniform(-3, 3, CHANNELS))
        before = quantized_constant(layer.bias, np.random.RandomState(seed).normal(size=CHANNELS), bits - 2)
        positions = positions_of(case, **{'b/wquant': bits - 2})
        corrected, position = _correct(case, layer, before, expected, actual, positions)
        low, high = limits(positions[layer.output], 8)
        errors = {}
        for candidate in range(-8, 25):
            if case.legal.allows(positions, 'b/wquant', candidate):
                change = quantized_constant(layer.bias, corrected, candidate) - before
                errors[candidate] = sum(
                    np.square(np.clip(function(other + change), low, high).astype(float) - function(one)).sum()
                    for one, other in zip(expected, actual))
        assert errors[position] <= min(errors.values()) * (1 + 1e-5), (position, errors)
        found.append(position)
    assert len(set(found)) > 1 or bits == 8


def test_dead_channels_do_not_set_the_range():
    """A bias of -50 before a relu may be clipped."""
    case, layer = _case(tf.nn.relu)
    expected, actual = _results()
    before = np.array([-50, 0.3, -0.2, 0.1], np.float32)
    for values in (expected, actual):
        for value in values:
            value[..., 0] -= 50
    corrected, position = _correct(case, layer, before, expected, actual)
    assert position >= 5 and corrected[0] == pytest.approx(-49.6, abs=0.1)
    case, layer = _case()
    _, position = _correct(case, layer, before, expected, actual, positions_of(case, **{layer.output: 1}))
    assert position <= 1


class _Allows(LegalPositions):
    """Has the given positions only."""

    def __init__(self, *legal):
        self._legal = legal

    def allows(self, positions, name, position):
        assert name == 'b/wquant' and positions['b/wquant'] == 7
        return position in self._legal


@pytest.mark.parametrize('allowed, expected', [
    ((6, 11), 7), ((6, 8, 11), 8), ((10, 12), 7), ((), 7), ((-3, 2), 7), ((8, 9, 10), 8)])
def test_only_legal_positions_are_taken(allowed, expected):
    """The range of the bias is that of 8: lower positions are not tried, higher ones clip. It stays at 7 if none is better."""
    case, layer = _case()
    summaries = [summarise(values, -1) for values in _results()]
    corrected, position = correct_bias(layer, np.zeros(CHANNELS, np.float32), *summaries, positions_of(case),
                                       _Allows(*allowed), case.tensors)
    assert np.abs(corrected).max() < 0.497 and position == expected


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_a_channel_that_is_not_finite_keeps_its_bias(value):
    case, layer = _case()
    before = np.array([0.5, 0.25, -0.25, 0.125], np.float32)
    for number in (0, 1):
        results = _results()
        results[number][1][0, 0, 0, 1] = value
        corrected, position = _correct(case, layer, before, *results)
        assert corrected[1] == 0.25
        np.testing.assert_allclose(corrected[[0, 2, 3]], before[[0, 2, 3]] + [0.4, 0.2 - 0.0, 0.0], atol=0.05)
        assert case.legal.allows(positions_of(case), 'b/wquant', position)


@pytest.mark.parametrize('bits', [1, 8, 24])
def test_a_bias_of_zeros_without_an_error(bits):
    case, layer = _case(nodes_bit=['b:{}'.format(bits)])
    expected, _ = _results()
    corrected, position = _correct(case, layer, np.zeros(CHANNELS, np.float32), expected, expected)
    assert not corrected.any() and position == positions_of(case)['b/wquant']
