"""Equalization against its cost computed channel by channel, and against the float function, which it must not change."""
import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.equalization.graphs import Builder, planned, run_on
from vai_q_tf.fixed_point import search_position
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.ptq.equalization import noise_equalization
from vai_q_tf.ptq.equalization.channels import FACTORS, Clip, observe_channels
from vai_q_tf.ptq.equalization.noise_equalization import equalize
from vai_q_tf.ptq.equalization.pairs import find_pairs
from vai_q_tf.ptq.fitting.layers import activate


def _rescaled(weights, seed, axis=-1):
    shape = [1] * weights.ndim
    shape[axis] = -1
    return weights * 2.0**np.random.RandomState(seed).uniform(-3, 3, weights.shape[axis]).reshape(shape)


def _convolutions(activation=tf.nn.relu, channels=(3, 5, 4, 2), bits=8):
    """Three convolutions, the first two with channels of sizes from 1/8 to 8."""
    def build(builder):
        x = builder.x
        for number, name in enumerate(['first', 'second', 'third']):
            weights = builder.normal(3 if number < 2 else 1, 3 if number < 2 else 1, *channels[number:number + 2])
            x = builder.conv(x, channels[number + 1], name, len(weights), _rescaled(weights, number) if number < 2 else weights)
            x = activation(x) if number < 2 else x
    return build, ('third/bias',), bits


def _depthwise(activation=tf.nn.relu6, bits=8):
    """A convolution, a depthwise one with two results per channel, a convolution, and a dense layer."""
    def build(builder):
        x = activation(builder.conv(builder.x, 3, 'first', weights=_rescaled(builder.normal(3, 3, 3, 3), 0)))
        x = tf.nn.relu(builder.depthwise(x, 'second', 2, weights=_rescaled(builder.normal(3, 3, 3, 2), 1, axis=2)))
        x = builder.conv(x, 4, 'third', weights=_rescaled(builder.normal(3, 3, 6, 4), 3), bias=False)
        x = tf.reduce_mean(tf.nn.relu(x), [1, 2])
        builder.dense(x, 3, 'fourth', transposed=True)
    return build, ('fourth/bias',), bits


class _Case:
    def __init__(self, build, outputs, bits, seed=0):
        with tf.Graph().as_default() as graph:
            build(Builder([None, 6, 6, 3], seed))
        self.network, self.outputs = planned(graph.as_graph_def(), outputs, weight_bit=bits), outputs
        layers = list(self.network.layers.values())
        self.layers = {layer.node: layer for layer in layers}
        self.pairs = find_pairs(self.network.graph_def, self.network.plan, layers)
        self.x = np.random.RandomState(7).normal(0, 1, [16, 6, 6, 3]).astype(np.float32)
        tensors = {tensor: -1 for layer in layers for tensor in (layer.source, layer.result)}
        self.positions = {layer.node: search_position(activate(
            run_on(self.network.graph_def, [layer.result], self.x)[0], layer.activation), 8, method=1) for layer in layers}
        self.clips = {pair.head.result: self.clip(pair) for pair in self.pairs}
        self.channels = observe_channels(self.network.graph_def, tensors, [{'x:0': self.x}], clips=self.clips)
        self.maps = {layer.node: layer.grouped(self.network.array(layer.weight)).astype(np.float64) for layer in layers}

    def clip(self, pair):
        """A relu6 becomes a relu, which the largest number clips."""
        limit = 127 * 2.0**-self.positions[pair.head.node]
        return Clip(FACTORS * (limit / 6 if pair.relu6 else 1), limit, bool(pair.relu6))

    def equalized(self):
        """({layer: scales}, {layer: maps})"""
        maps = {name: each.copy() for name, each in self.maps.items()}
        return equalize(self.pairs, maps, self.channels, self.clips, self.positions), maps

    def with_scales(self, maps, scales):
        """The graph with maps and scaled biases."""
        values = {}
        for name, layer in self.layers.items():
            values[layer.weight.tensor] = layer.ungrouped(maps[name], self.network.array(layer.weight).shape)
            if layer.bias and name in scales:
                values[layer.bias.tensor] = (self.network.array(layer.bias) * scales[name]).astype(np.float32)
        return editor.with_values(self.network.graph_def, values)


# The definition, with loops.

def _result_channels(maps):
    """The index (group, column) in the maps for each channel of the result."""
    return list(itertools.product(range(maps.shape[0]), range(maps.shape[2])))


def _readers(layer, maps, channel, inputs):
    """The (weight, channel of the result) of all readers of an input channel."""
    groups, products, columns = maps.shape
    if layer.depthwise:
        return [(maps[channel, k, n], channel * columns + n) for k in range(products) for n in range(columns)]
    return [(maps[0, k, n], n) for k in range(channel, products, inputs) for n in range(columns)]


def _clipped(weights, factor, limit):
    largest = sorted(map(abs, weights))[::-1][:16]
    return sum(max(weight * factor - limit, 0)**2 for weight in largest)


class _Definition:
    """`equalize` with loops. scales: {head: factors so far}."""

    def __init__(self, case):
        self.case, self.maps = case, {name: each.copy() for name, each in case.maps.items()}
        self.scales = {pair.head.node: np.ones(len(_result_channels(self.maps[pair.head.node]))) for pair in case.pairs}

    def importance(self, layer):
        count = len(_result_channels(self.maps[layer.node]))
        for pair in self.case.pairs:
            if pair.head is layer:
                return [sum(weight**2 for weight, _ in _readers(pair.tail, self.maps[pair.tail.node], channel, count))
                        for channel in range(count)]
        return [1.0] * count

    def input_variances(self, layer, channel):
        """The variances of all inputs that a channel of the result sums."""
        variance = self.case.channels[layer.source].variance.copy()
        for pair in self.case.pairs:
            if pair.tail is layer:
                variance *= self.scales[pair.head.node]**2
        products = self.maps[layer.node].shape[1]
        if layer.depthwise:
            return [variance[channel // self.maps[layer.node].shape[2]]] * products
        return [variance[k % len(variance)] for k in range(products)]

    def costs(self, pair, head_position, tail_position):
        """[scales, channels]"""
        head, tail = self.maps[pair.head.node], self.maps[pair.tail.node]
        importance, where = self.importance(pair.tail), _result_channels(head)
        limits = [(2**(layer.weight.bits - 1) - 0.5) * 2.0**-position
                  for layer, position in ((pair.head, head_position), (pair.tail, tail_position))]
        clip, seen = self.case.clips[pair.head.result], self.case.channels[pair.head.result]
        found = np.zeros([len(FACTORS), len(where)])
        for channel, (group, column) in enumerate(where):
            now = self.scales[pair.head.node][channel]
            readers = _readers(pair.tail, tail, channel, len(where))
            energy = sum(weight**2 * importance[result] for weight, result in readers) * now**2
            inputs = self.input_variances(pair.head, channel)
            signal = self.case.channels[pair.tail.source].variance[channel]
            # of all results; of a depthwise layer, of those that read this channel
            mean_importance = np.mean([importance[result] for _, result in readers])
            for number, (factor, scale) in enumerate(zip(FACTORS, clip.scales)):
                noise = 4.0**-self.case.positions[pair.head.node] / 12
                noise += sum(inputs) * 4.0**-head_position / 12
                noise += np.mean(inputs) * _clipped(head[group, :, column], scale / now, limits[0])
                cost = noise * energy / scale**2
                cost += 30 * seen.clipping[number, channel] * energy
                largest = 3 * max(seen.range.high[channel], 0 if pair.head.activation else -seen.range.low[channel])
                if factor > 1 and (pair.relu6 or largest * scale > clip.limit):
                    cost = np.inf
                rounding = len(readers) * mean_importance * 4.0**-tail_position / 12
                clipped = mean_importance * _clipped([weight for weight, _ in readers], now / scale, limits[1])
                found[number, channel] = cost + signal * scale**2 * (rounding + clipped)
        return found

    def best(self, pair):
        """(cost, scales)"""
        candidates = []
        for layer in (pair.head, pair.tail):
            first = search_position(self.maps[layer.node], layer.weight.bits, method=0, mode=layer.weight.mode)
            candidates.append(range(first - 1, first + 5))
        costs = [self.costs(pair, *positions) for positions in itertools.product(*candidates)]
        best = min(costs, key=lambda cost: cost.min(0).sum())
        return best.min(0).sum(), self.case.clips[pair.head.result].scales[best.argmin(0)]

    def step(self, pair, scales):
        head, tail = self.maps[pair.head.node], self.maps[pair.tail.node]
        for channel, (group, column) in enumerate(_result_channels(head)):
            factor = scales[channel] / self.scales[pair.head.node][channel]
            head[group, :, column] *= factor
            if pair.tail.depthwise:
                tail[channel] /= factor
            else:
                tail[0, channel::len(scales)] /= factor
        self.scales[pair.head.node] = scales


_CASES = {'convolutions': _convolutions(), 'relu6': _convolutions(tf.nn.relu6), '4 bits': _convolutions(bits=4),
          'depthwise': _depthwise(), 'depthwise, 5 bits': _depthwise(tf.nn.relu, 5)}


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.slow] * (name in ('convolutions', 'depthwise'))) for name in sorted(_CASES)])
def test_scales_are_those_of_the_definition(name):
    case = _Case(*_CASES[name])
    definition, totals = _Definition(case), {pair.head.node: [] for pair in case.pairs}
    assert len(case.pairs) == (3 if 'depthwise' in name else 2)
    for _ in range(2):
        for pair in case.pairs:
            cost, scales = definition.best(pair)
            totals[pair.head.node].append(cost)
            definition.step(pair, scales)
    scales, maps = case.equalized()
    assert {pair.head.node for pair in case.pairs} == set(scales)
    for node, expected in definition.scales.items():
        np.testing.assert_allclose(scales[node], expected, err_msg=node)
    for node, expected in definition.maps.items():
        np.testing.assert_allclose(maps[node], expected, rtol=1e-9)
    # With relu6s clipping would cost more than it gains.
    assert any(np.ptp(each) > 0 for each in scales.values()) != (name == 'relu6')
    assert all(np.isfinite(each).all() for each in totals.values())


@pytest.mark.parametrize('name', ['convolutions', '4 bits', 'depthwise, 5 bits'])
def test_without_relu6_the_float_function_does_not_change_on_any_data(name):
    case = _Case(*_CASES[name])
    scales, maps = case.equalized()
    scaled = case.with_scales(maps, scales)
    assert any(np.ptp(factors) > 0 for factors in scales.values())
    for size, seed in ((1, 1), (100, 2), (0.01, 3)):
        x = (size * np.random.RandomState(seed).standard_cauchy([8, 6, 6, 3])).astype(np.float32)
        before, = run_on(case.network.graph_def, case.outputs, x)
        after, = run_on(scaled, case.outputs, x)
        np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


def test_inner_results_are_multiplied_by_the_scales():
    """The walk relies on it."""
    case = _Case(*_depthwise(tf.nn.relu))
    scales, maps = case.equalized()
    results = {name: layer.result for name, layer in case.layers.items()}
    before = run_on(case.network.graph_def, list(results.values()), case.x)
    after = run_on(case.with_scales(maps, scales), list(results.values()), case.x)
    for name, one, other in zip(results, before, after):
        np.testing.assert_allclose(other, one * scales.get(name, 1), atol=1e-5 * np.abs(other).max())


def test_channels_are_not_scaled_beyond_the_limit():
    """Small channels have more room than those near the limit; after a relu6, 6 is the most that any data can give."""
    def build(activation):
        def of(builder):
            weights = np.tile(np.abs(builder.normal(1, 1, 3, 1)), (1, 1, 1, 6)) * [[[[6, 6, 6, 0.1, 0.1, 0.1]]]]
            builder.conv(activation(builder.conv(builder.x, 6, 'first', 1, weights, bias=False)), 4, 'second', 1)
        return of, ('second/bias',), 8
    for activation in (tf.nn.relu6, tf.nn.relu):
        case = _Case(*build(activation))
        scales, clip = case.equalized()[0]['first'], case.clips[case.pairs[0].head.result]
        if activation == tf.nn.relu6:
            assert (6 * scales <= clip.limit * (1 + 1e-6)).all()
        else:
            largest = case.channels[case.pairs[0].head.result].range.high * scales
            assert (largest <= clip.limit).all() and (scales[3:] >= 2 * scales[0]).all()


def test_a_rescaling_is_undone():
    """A balanced network whose channels are multiplied before a relu and divided after it, within the range of FACTORS."""
    factors = 2.0**np.random.RandomState(0).uniform(-2, 2, 16)

    def build(builder):
        weights, tail = builder.normal(3, 3, 3, 16), builder.normal(3, 3, 16, 4)
        x = tf.nn.relu(builder.conv(builder.x, 16, 'first', weights=weights * factors, bias=np.zeros(16)))
        builder.conv(x, 4, 'second', weights=tail / factors[:, None])
    left = _Case(build, ('second/bias',), 8).equalized()[0]['first'] * factors
    assert np.log2(factors).std() > 1 and np.log2(left).std() < 0.5


@pytest.mark.parametrize('what', ['constant', 'unread'])
def test_channels_without_signal_or_reader_stay(what):
    def build(builder):
        weights, tail = _rescaled(builder.normal(1, 1, 3, 5), 0), builder.normal(1, 1, 5, 4)
        (weights if what == 'constant' else np.swapaxes(tail, 2, 3))[..., 3] = 0
        builder.conv(builder.conv(builder.x, 5, 'first', 1, weights), 4, 'second', 1, tail)
    scales = _Case(build, ('second/bias',), 8).equalized()[0]['first']
    assert scales[3] == 1 and (scales != 1).any()


def test_equal_runs_give_equal_results():
    one, other = (_Case(*_CASES['depthwise']).equalized() for _ in range(2))
    for before, after in zip(one, other):
        assert all((before[name] == after[name]).all() for name in before)


def test_the_constants_of_the_definition():
    assert (noise_equalization._SWEEPS, noise_equalization._CLIP_WEIGHT, noise_equalization._LARGEST) == (2, 30, 16)
