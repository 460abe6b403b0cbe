"""Random small networks: the passes keep what they compute, and their quantized models are right."""
import collections
import re
import tempfile
from typing import List, NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ptq import checking
from vai_q_tf.report.inspect import inspect

_SIZE = 8


class _Network(NamedTuple):
    """A frozen network and its output nodes; it is printed as the choices that made it."""
    graph_def: tf.GraphDef
    outputs: List[str]
    choices: List[str]

    def __repr__(self):
        return ' '.join(self.choices)


class _Builder:
    """Adds layers with random weights behind `self.x`; what a layer needs to choose, `draw` chooses."""

    def __init__(self, draw):
        self._draw, self.choices = draw, []
        self._random = np.random.RandomState(draw(st.integers(0, 99)))
        self.x = tf.placeholder(tf.float32, [None, _SIZE, _SIZE, 3], name='input')
        self._earlier = []

    def choose(self, *choices):
        chosen = self._draw(st.sampled_from(choices))
        self.choices.append(getattr(chosen, '__name__', str(chosen)))
        return chosen

    def add(self, layer):
        self.choices.append('\n' + layer)
        self._earlier.append(self.x)
        self.x = getattr(self, layer)(self.x)

    def constant(self, *shape, low=0.5, high=1.5):
        return tf.constant(self._random.uniform(low, high, shape).astype(np.float32))

    def weights(self, *shape, fan_in):
        return tf.constant((self._random.normal(size=shape) * (1.5 / fan_in) ** 0.5).astype(np.float32))

    def conv(self, x):
        kernel, filters = self.choose(1, 2, 3), self.choose(2, 4, 6)
        shape = [kernel, kernel, int(x.shape[-1]), filters]
        weights = self.weights(*shape, fan_in=np.prod(shape[:3]))
        padding = self.choose('SAME', 'VALID') if _side(x) > 2 else 'SAME'
        return self._finish(tf.nn.conv2d(x, weights, self.choose(1, 2), padding))

    def dilated(self, x):
        weights = self.weights(3, 3, int(x.shape[-1]), 4, fan_in=9 * int(x.shape[-1]))
        return self._finish(tf.nn.convolution(x, weights, 'SAME', dilation_rate=[2, 2]))

    def depthwise(self, x):
        multiplier = self.choose(1, 1, 2)
        return self._finish(tf.nn.depthwise_conv2d_native(
            x, self.weights(3, 3, int(x.shape[-1]), multiplier, fan_in=9), [1] * 4, 'SAME'))

    def transposed(self, x):
        if _side(x) > 8:
            return x
        shape = tf.stack([tf.shape(x)[0], 2 * _side(x), 2 * _side(x), 4])
        x = tf.nn.conv2d_transpose(x, self.weights(3, 3, 4, int(x.shape[-1]), fan_in=3 * int(x.shape[-1])), shape, 2, 'SAME')
        return self._finish(x)

    def residual(self, x):
        weights = self.weights(1, 1, int(x.shape[-1]), int(x.shape[-1]), fan_in=int(x.shape[-1]))
        other = self.bias(tf.nn.conv2d(x, weights, 1, 'SAME')) if self.choose(True, False) else x * self.constant()
        return self.activation(x + other if self.choose(True, False) else other + x)

    def concat(self, x):
        same = [other for other in self._earlier if other.shape[1:3].as_list() == x.shape[1:3].as_list()]
        if self.choose(True, False) and same:
            return tf.concat([x, self.choose(*same)], -1)
        weights = self.weights(3, 3, int(x.shape[-1]), 3, fan_in=9 * int(x.shape[-1]))
        return tf.concat([self._finish(tf.nn.conv2d(x, weights, 1, 'SAME')), x], -1)

    def pool(self, x):
        pool = self.choose(tf.nn.max_pool2d, tf.nn.avg_pool2d)
        return pool(x, *self.choose((2, 2), (3, 1), (3, 2)), 'SAME')

    def pad(self, x):
        return tf.pad(x, [[0, 0], [1, 0], [1, 0], [0, 0]])

    def gate(self, x):
        """Squeeze and excite."""
        channels = int(x.shape[-1])
        y = tf.reduce_mean(x, [1, 2], keepdims=True)
        y = self.bias(tf.nn.conv2d(y, self.weights(1, 1, channels, channels, fan_in=channels), 1, 'SAME'))
        return x * (tf.nn.relu6(y + 3.0) / 6.0)

    def resize(self, x):
        if _side(x) > 8:
            return x
        size = tf.shape(x)[1:3] * 2 if self.choose(True, False) else [2 * _side(x)] * 2
        resized = self.choose(tf.image.resize_nearest_neighbor, tf.image.resize_bilinear)(x, size)
        resized.set_shape([None, 2 * _side(x), 2 * _side(x), x.shape[-1]])
        return resized

    def norm(self, x, *more):
        """A batch norm of random statistics, in one of the ways to write it."""
        channels = int(x.shape[-1])
        gamma, variance = self.constant(channels), self.constant(channels)
        beta, mean = self.constant(channels, low=-0.3, high=0.3), self.constant(channels, low=-0.3, high=0.3)
        kind = self.choose('fused', 'library', *more)
        if kind == 'fused':
            return tf.nn.fused_batch_norm(x, gamma, beta, mean, variance, is_training=False)[0]
        if kind == 'library':
            return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)
        return beta + gamma * ((x - mean) / tf.sqrt(variance + 1e-3))

    def bias(self, x):
        bias = self.constant(int(x.shape[-1]), low=-0.3, high=0.3)
        return self.choose(tf.nn.bias_add, tf.add)(x, bias)

    def island(self, x):
        """An op without a quantization rule."""
        return _FLOAT_OPS[self.choose(*_FLOAT_OPS)](x)

    def island_norm(self, x):
        """What a batch norm, or a part of one, is behind such an op."""
        x, channels = self.island(x), int(x.shape[-1])
        shape = self.choose([channels], [1, 1, channels], [1, 1, 1, channels], [1], [])
        vector = self.constant(*shape)
        part = self.choose('norm', 'factor', 'term', 'quotient', 'difference', 'from', 'factor and term',
                           'quotient and difference')
        if part == 'norm':
            return self.norm(x, 'plain')
        return {'factor': lambda: vector * x, 'term': lambda: x + vector, 'quotient': lambda: x / vector,
                'difference': lambda: x - vector, 'from': lambda: vector - x, 'factor and term': lambda: x * vector + vector,
                'quotient and difference': lambda: x / vector - vector}[part]()

    def prelu(self, x):
        slopes = self.constant(*self.choose([], [1, 1], [1, 1, 1]), int(x.shape[-1]), low=0.05, high=0.5)
        if self.choose(True, False):
            slopes = tf.constant(np.full(slopes.shape.as_list(), 0.1, np.float32))
        return _PRELUS[self.choose(*_PRELUS)](x, slopes)

    def activation(self, x):
        return _ACTIVATIONS[self.choose(*_ACTIVATIONS)](x)

    def _finish(self, x):
        if self.choose(True, False):
            x = self.bias(x)
        if self.choose(True, False):
            x = self.norm(x, 'plain')  # which stays float where there is nothing to fold it into
        return self.activation(x)

    def head(self):
        if self.choose(True, False):
            x = tf.reduce_mean(self.x, [1, 2])
        else:
            x = tf.reshape(self.x, [-1, int(np.prod(self.x.shape.as_list()[1:]))])
        x = self.bias(tf.matmul(x, self.weights(int(x.shape[-1]), 5, fan_in=int(x.shape[-1]))))
        return tf.nn.softmax(x) if self.choose(True, False) else x


def _side(x):
    return int(x.shape[1])


_ACTIVATIONS = collections.OrderedDict([
    ('no activation', lambda y: y), ('relu', tf.nn.relu), ('relu6', tf.nn.relu6), ('leaky', lambda y: tf.nn.leaky_relu(y, 0.1)),
    ('leaky maximum', lambda y: tf.maximum(0.1 * y, y)), ('swish', lambda y: y * tf.nn.sigmoid(y)),
    ('leaky difference', lambda y: tf.nn.relu(y) - 0.1 * tf.nn.relu(-y)),
    ('hard swish', lambda y: y * tf.nn.relu6(y + 3.0) / 6.0)])
_FLOAT_OPS = collections.OrderedDict([
    ('tanh', tf.tanh), ('elu', tf.nn.elu), ('softplus', tf.nn.softplus), ('sigmoid', tf.sigmoid), ('abs', tf.abs),
    ('softmax', tf.nn.softmax), ('lrn', lambda y: tf.nn.lrn(y, 2)), ('square', tf.square), ('neg', tf.negative),
    ('parts', lambda y: tf.concat(tf.split(tf.tanh(y), 2, 1)[::-1], 1) if _side(y) % 2 == 0 else y)])
_PRELUS = collections.OrderedDict([
    ('difference', lambda y, a: tf.nn.relu(y) - a * tf.nn.relu(-y)),
    ('keras', lambda y, a: tf.nn.relu(y) + -a * tf.nn.relu(-y)),
    ('absolute', lambda y, a: tf.nn.relu(y) + a * (y - tf.abs(y)) * 0.5), ('maximum', lambda y, a: tf.maximum(a * y, y)),
    ('minimum', lambda y, a: tf.maximum(y, 0.0) + a * tf.minimum(0.0, y)),
    ('rest', lambda y, a: a * (y - tf.nn.relu(y)) + tf.nn.relu(y))])
_LAYERS = ('conv', 'dilated', 'depthwise', 'transposed', 'residual', 'concat', 'pool', 'pad', 'gate', 'resize', 'norm',
           'activation', 'island', 'island_norm', 'prelu')


@st.composite
def _networks(draw):
    graph = tf.Graph()
    with graph.as_default():
        builder = _Builder(draw)
        builder.add('conv')
        for layer in draw(st.lists(st.sampled_from(_LAYERS), min_size=1, max_size=6)):
            builder.add(layer)
        inner = [builder.x] if builder.choose(False, False, True) else []
        outputs = inner + [builder.head()]
    return _Network(graph.as_graph_def(), [output.op.name for output in outputs], builder.choices)


def _feed(step):
    return {'input': np.random.RandomState(step).uniform(-1, 1, (3, _SIZE, _SIZE, 3)).astype(np.float32)}


def _check(network):
    with tempfile.TemporaryDirectory() as directory:
        case = checking.Case(network.graph_def, network.outputs, _feed, directory)
        checking.assert_float_graph(case)
        model = checking.assert_model(case)
        assert case.error(model, network.graph_def) < 0.5
        _assert_inspection(case, model)


def _assert_inspection(case, model):
    """What inspect says of an op is what the model does."""
    nodes = {node.name: node for node in model.node}
    quantized = {node.input[0] for node in model.node if node.op == 'FixNeuron'}
    for node in inspect(case.graph_def, case.config()).nodes:
        assert node.status != 'quantized' or node.name in quantized, node
        assert node.status != 'fused' or node.detail.split('quantized as ')[1].split(';')[0] in nodes, node
        if node.status == 'float':
            assert (node.name in quantized) == ('its result becomes' in node.detail), node
            for operand in re.findall("its input '(.*?)' is computed in float", node.detail):
                assert operand in nodes[node.name].input and operand not in quantized, node


_QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


@settings(max_examples=25, deadline=None, suppress_health_check=_QUIET)
@given(_networks())
def test_random_networks(network):
    _check(network)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=_QUIET)
@given(_networks())
def test_many_random_networks(network):
    _check(network)
