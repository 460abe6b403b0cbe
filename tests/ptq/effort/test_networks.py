"""Efforts on networks of all kinds: on fresh data they are never worse than `fast` by more than noise."""
import functools
import sys
import tempfile
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.ptq import checking
from tests.ptq.test_alignment_accuracy import _EXAMPLE, needs_digits
from tests.random_networks import SIZE, UNUSUAL, networks
from tests.support import read_graph, run
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.lint.lint import lint
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.ptq.effort.data import FEWEST_IMAGES
from vai_q_tf.ptq.equalization.pairs import find_pairs
from vai_q_tf.ptq.fitting.layers import find_layers
from vai_q_tf.ptq.quantize import quantize_frozen

_NOISE = 1.0  # dB; a few rare values in the fresh data make as much of a difference
_BATCHES = st.sampled_from((32, FEWEST_IMAGES // 4))  # images in each of four batches
_QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


def _random_images(step, count=32):
    return {'x': np.random.RandomState(step).uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)}


def _quality(graph_def, model, outputs, feed):
    """Signal to noise in dB, of the mean relative error of the outputs."""
    names = {node.name for node in model.node}
    given = run(model, [name + '/aquant' if name + '/aquant' in names else name for name in outputs], feed)
    expected = run(graph_def, outputs, feed)
    error = np.mean([np.square(one - other, dtype=np.float64).sum() / (np.square(one, dtype=np.float64).sum() or 1)
                     for one, other in zip(expected, given)])
    return -10 * np.log10(error + 1e-12)


@checking.unmeasured()
def _quantized(graph_def, outputs, feed, effort, **fields):
    with tempfile.TemporaryDirectory() as directory:
        path = quantize_frozen(graph_def, feed, QuantizeConfig(
            list(feed(0)), outputs, output_dir=directory, **dict({'calib_iter': 4}, **fields)), effort=effort)
        model = read_graph(path)
    assert not [str(finding) for finding in lint(model) if finding.rule not in UNUSUAL]
    checking.assert_positions(model)
    return model


def _check_random(network, efforts, batch):
    with tf.Graph().as_default() as graph:
        outputs = [output.op.name for output in network.build()]
    graph_def = graph.as_graph_def()
    feed = functools.partial(_random_images, count=batch)
    models = {effort: _quantized(graph_def, outputs, feed, effort) for effort in efforts}
    found = {effort: _quality(graph_def, model, outputs, _random_images(99, 512)) for effort, model in models.items()}
    assert all(found[effort] > found['fast'] - _NOISE for effort in efforts), found


@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=_QUIET)
@given(networks(), _BATCHES)
def test_random_networks(network, batch):
    _check_random(network, ('fast', 'standard'), batch)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, phases=[Phase.generate], suppress_health_check=_QUIET)
@given(networks(), _BATCHES)
def test_many_random_networks(network, batch):
    _check_random(network, ('fast', 'standard', 'high'), batch)


# trained networks

def _trained(images, labels, activation, seed, depthwise, steps=120):
    """The GraphDef of a network for digits of 14 x 14 pixels; its input is 'x', its output 'logits/BiasAdd'."""
    one_thread = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, use_per_session_threads=True)
    with tf.Graph().as_default() as graph, tf.Session(config=one_thread) as session:
        tf.set_random_seed(seed)
        x, wanted = tf.placeholder(tf.float32, [None, 14, 14, 1], 'x'), tf.placeholder(tf.int32, [None])
        net = tf.layers.conv2d(x, 12, 3, padding='same', activation=activation)
        net = tf.layers.max_pooling2d(net, 2, 2)
        if depthwise:
            net = tf.keras.layers.DepthwiseConv2D(3, padding='same')(net)
            net = activation(net)
        net = tf.layers.conv2d(net, 16, 3, padding='same', activation=activation)
        net = tf.reduce_mean(tf.layers.conv2d(net, 24, 3, activation=activation), [1, 2])
        loss = tf.losses.sparse_softmax_cross_entropy(wanted, tf.layers.dense(net, 10, name='logits'))
        train = tf.train.AdamOptimizer(1e-2).minimize(loss)
        session.run(tf.global_variables_initializer())
        random = np.random.RandomState(seed)
        for _ in range(steps):
            chosen = random.choice(len(labels), 64)
            session.run(train, {x: images[chosen], wanted: labels[chosen]})
        return tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ['logits/BiasAdd'])


def _rescaled(graph_def, seed):
    """The network with the channels between its layers multiplied by 2^U(-3, 3) and divided after a relu; number of pairs."""
    config = QuantizeConfig(['x'], ['logits/BiasAdd'], simulate_dpu=0)
    graph_def = optimise(graph_def, config)
    view, plan = GraphView(graph_def), annotate(GraphView(graph_def), config)
    layers, random = find_layers(graph_def, plan), np.random.RandomState(seed)
    values = {name: view.value(name) for layer in layers for name in layer.constants}
    pairs = find_pairs(graph_def, plan, layers)
    for head, tail, _ in pairs:
        factors = (2.0**random.uniform(-3, 3, values[head.bias.tensor].size)).astype(np.float32)
        values[head.bias.tensor] = values[head.bias.tensor] * factors
        weights = values[head.weight.tensor]
        values[head.weight.tensor] = weights * (factors[:, None] if head.depthwise else factors)
        values[tail.weight.tensor] = values[tail.weight.tensor] / factors[:, None]
    return editor.with_values(graph_def, values), len(pairs)


class _Digits:
    def __init__(self):
        import data
        training, test = data.load()
        self.images, self.test = (self._halved(each.images) for each in (training, test))
        self.labels, self.test_labels = training.labels, test.labels

    @staticmethod
    def _halved(images):
        return images.reshape(-1, 14, 2, 14, 2, 1).mean((2, 4))

    def feed(self, step):
        return {'x': self.images[step * 32:step * 32 + 32]}

    def judged(self, graph_def, effort, bits):
        """(signal to noise, bool array: which digits are recognised) on test data."""
        model = _quantized(graph_def, ['logits/BiasAdd'], self.feed, effort, weight_bit=bits, activation_bit=bits)
        logits, = run(model, ['logits/BiasAdd/aquant'], {'x': self.test})
        return _quality(graph_def, model, ['logits/BiasAdd'], {'x': self.test}), logits.argmax(-1) == self.test_labels


@pytest.fixture(scope='module')
def digits():
    with mock.patch.object(sys, 'path', [_EXAMPLE] + sys.path):
        return _Digits()


def _as_accurate(one, other):
    """Whether one network recognises as many of the same digits as another, but for three standard errors of the difference."""
    difference = np.subtract(one, other, dtype=np.float64)
    return difference.mean() >= -3 * difference.std() / len(difference)**0.5


_KINDS = [(tf.nn.relu, False), (tf.nn.relu6, False), (tf.nn.relu, True), (tf.nn.relu6, True)]


def _check_trained(digits, activation, depthwise, seed, bits):
    graph_def = _trained(digits.images, digits.labels, activation, seed, depthwise)
    fast, standard, high = (digits.judged(graph_def, effort, bits) for effort in ('fast', 'standard', 'high'))
    found = [(noise, right.mean()) for noise, right in (fast, standard, high)]
    assert standard[0] > fast[0] - _NOISE and high[0] > standard[0] - _NOISE, found
    assert _as_accurate(standard[1], fast[1]) and _as_accurate(high[1], fast[1]), found


@needs_digits
def test_a_trained_network(digits):
    _check_trained(digits, tf.nn.relu6, True, 0, 6)


@needs_digits
@pytest.mark.slow
@pytest.mark.parametrize('bits', [8, 5])
@pytest.mark.parametrize('seed', [1, 2])
@pytest.mark.parametrize('activation, depthwise', _KINDS)
def test_trained_networks(digits, activation, depthwise, seed, bits):
    _check_trained(digits, activation, depthwise, seed, bits)


@needs_digits
@pytest.mark.parametrize('depthwise, bits', [
    (False, 8), pytest.param(True, 8, marks=pytest.mark.slow), pytest.param(False, 6, marks=pytest.mark.slow)])
def test_rescaled_channels_are_repaired(digits, depthwise, bits):
    balanced = _trained(digits.images, digits.labels, tf.nn.relu, 3, depthwise)
    rescaled, pairs = _rescaled(balanced, 4)
    assert pairs == 2 + depthwise
    one, other = (run(graph_def, ['logits/BiasAdd'], {'x': digits.test})[0] for graph_def in (balanced, rescaled))
    np.testing.assert_allclose(other, one, atol=1e-4 * np.abs(one).max())
    wanted, repaired = (digits.judged(graph_def, 'high', bits) for graph_def in (balanced, rescaled))
    fast = digits.judged(rescaled, 'fast', bits)
    found = [(noise, right.mean()) for noise, right in (wanted, repaired, fast)]
    assert _as_accurate(repaired[1], wanted[1]) and repaired[0] > max(fast[0] + 5, wanted[0] - 2), found
