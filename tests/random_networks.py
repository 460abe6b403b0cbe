"""Random small networks, frozen or trainable: hypothesis draws the choices, and every build from them gives the same
network."""
import collections
import zlib
from typing import List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf
from hypothesis import strategies as st
from tensorflow.python.training.moving_averages import assign_moving_average

from tests.same_network.building import OWN_VALUE, RATE

SIZE = 8
# Rules of lint that networks of the tests may break: an input has three dimensions.
UNUSUAL = frozenset(('placeholder-shape', 'rank-of-operand'))


class RandomNetwork(NamedTuple):
    """A network on the placeholder 'x'; it is printed as the choices that made it.

    layers: the methods of the Builder that add it. picks: the result of each choice, as a number.
    """
    layers: List[str]
    picks: List[int]
    trainable: bool

    def build(self, training=False, on_moving=False):
        """Adds the network to the default graph, and returns its outputs. The arguments are those of the Builder."""
        return self._builder(training, on_moving).outputs

    @property
    def is_ordinary(self):
        """Whether its parameters have the usual magnitudes."""
        with tf.Graph().as_default():
            return self._builder(False).is_ordinary

    def _builder(self, training, on_moving=False):
        picks = iter(self.picks)
        return built(Builder(lambda count: next(picks), self.trainable, training, on_moving), self.layers)

    def __repr__(self):
        with tf.Graph().as_default():
            return ' '.join(self._builder(False).choices)


@st.composite
def networks(draw, trainable=False):
    """RandomNetworks with constants for parameters, or `trainable` ones with variables."""
    layers, picks = draw(st.lists(st.sampled_from(LAYERS), min_size=1, max_size=6)), []

    def pick(count):
        picks.append(draw(st.integers(0, count - 1)))
        return picks[-1]

    with tf.Graph().as_default():
        built(Builder(pick, trainable), layers)
    return RandomNetwork(layers, picks, trainable)


def built(builder, layers):
    builder.add('conv')
    for layer in layers:
        builder.add(layer)
    inner = [builder.x] if builder.choose(False, False, True) else []
    builder.add('head')
    builder.outputs = inner + [builder.x]
    return builder


class Builder:
    """Adds layers after `self.x`. pick: function from a count to a number below it, which makes the choices of the layers.

    trainable: whether parameters are variables. Networks that are not `is_ordinary` have some of all magnitudes, and zeros.
    training: whether batch norms that learn normalise with the statistics of the batch, and feed their moving averages.
    on_moving: whether they normalise with the averages anyway.
    """

    def __init__(self, pick, trainable=False, training=False, on_moving=False):
        self._pick, self._trainable, self._training, self.choices = pick, trainable, training, []
        self._on_moving = on_moving
        self._seed = pick(100)
        self._resource = trainable and self.choose(False, True)
        self.is_ordinary = not trainable or self.choose(True, False)
        self.x = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], name='x')
        self._earlier = []

    def choose(self, *choices):
        chosen = choices[self._pick(len(choices))]
        self.choices.append(getattr(chosen, '__name__', getattr(chosen, 'name', str(chosen))))
        return chosen

    def add(self, layer):
        self.choices.append('\n' + layer)
        with tf.variable_scope('{}_{}'.format(layer, len(self._earlier)), use_resource=self._resource):
            self._earlier.append(self.x)
            self.x = getattr(self, layer)(self.x)

    def parameter(self, name, value, learns=True, scaled=True):
        """A constant or a variable; value: function from a RandomState to an array. The values depend on the name."""
        full_name = '{}/{}'.format(tf.get_variable_scope().name, name)
        random = np.random.RandomState(zlib.crc32('{} {}'.format(full_name, self._seed).encode()))
        scale = self.choose(1., 1., 1., 0., 2.**-9, 2.**9) if scaled and not self.is_ordinary else 1.
        value = (value(random) * scale).astype(np.float32)
        if not self._trainable:
            return tf.constant(value, name=name)
        variable = tf.get_variable(name, initializer=value, trainable=learns)
        tf.add_to_collection(OWN_VALUE, variable)
        return variable

    def between(self, name, *shape, low=0.5, high=1.5, **options):
        return self.parameter(name, lambda random: random.uniform(low, high, shape), **options)

    def weights(self, *shape, fan_in):
        return self.parameter('weights', lambda random: random.normal(size=shape) * (1.5 / fan_in) ** 0.5)

    def conv(self, x):
        kernel, filters = self.choose(1, 2, 3), self.choose(2, 4, 6)
        shape = [kernel, kernel, int(x.shape[-1]), filters]
        weights = self.weights(*shape, fan_in=np.prod(shape[:3]))
        padding = self.choose('SAME', 'VALID') if _side(x) > 2 else 'SAME'
        return self._finish(tf.nn.conv2d(x, weights, self.choose(1, 2), padding))

    def twice(self, x):
        """Two convolutions with the same weights."""
        weights = self.weights(3, 3, int(x.shape[-1]), int(x.shape[-1]), fan_in=9 * int(x.shape[-1]))
        for name in ('first', 'second'):
            with tf.variable_scope(name):
                x = self._finish(tf.nn.conv2d(x, weights, 1, 'SAME'))
        return x

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
        if self.choose(True, False):
            weights = self.weights(1, 1, int(x.shape[-1]), int(x.shape[-1]), fan_in=int(x.shape[-1]))
            other = self.bias(tf.nn.conv2d(x, weights, 1, 'SAME'))
        else:
            other = x * self.between('factor')
        return self.activation(x + other if self.choose(True, False) else other + x)

    def product(self, x):
        weights = self.weights(3, 3, int(x.shape[-1]), int(x.shape[-1]), fan_in=9 * int(x.shape[-1]))
        return self.activation(x * self._finish(tf.nn.conv2d(x, weights, 1, 'SAME')))

    def concat(self, x):
        same = [other for other in self._earlier if other.shape[1:3].as_list() == x.shape[1:3].as_list()]
        if self.choose(True, False) and same:
            return tf.concat([x, self.choose(*same)], -1)
        weights = self.weights(3, 3, int(x.shape[-1]), 3, fan_in=9 * int(x.shape[-1]))
        return tf.concat([self._finish(tf.nn.conv2d(x, weights, 1, 'SAME')), x], -1)

    def pool(self, x):
        pool = self.choose(tf.nn.max_pool2d, tf.nn.avg_pool2d)
        return pool(x, *self.choose((2, 2), (3, 1), (3, 2)), 'SAME')

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
        """A batch norm in one of the ways to write it; the trainable ones learn, or keep the statistics that they have."""
        layers = ('layer', 'fused layer') if self._trainable else ()
        if len(x.shape) == 2:  # for which there is no fused op
            more, layers = ('library',) + more, layers[:1]
        kind = self.choose(*('library', 'fused')[:len(x.shape) // 2] + layers + more)
        if kind in ('fused layer', 'layer'):
            parts, learns = self.choose({}, {'scale': False}, {'center': False}), self.choose(True, True, False)
            learns = learns and self._training
            layer = tf.layers.BatchNormalization(momentum=0.9, fused=kind == 'fused layer', name='layer', **parts)
            result = layer(x, training=learns and not self._on_moving)
            if learns and self._on_moving:
                self._feed(result, (layer.moving_mean, layer.moving_variance), _statistics(x, kind))
            return result
        with tf.variable_scope('norm'):
            return self._written_norm(x, kind)

    def _written_norm(self, x, kind):
        channels = int(x.shape[-1])
        gamma, moving_variance = self.between('gamma', channels), self.between('variance', channels, learns=False)
        beta = self.between('beta', channels, low=-0.3, high=0.3)
        moving_mean = self.between('mean', channels, low=-0.3, high=0.3, learns=False)
        if kind == 'plain':
            # On the statistics of the batch it would not be recognised as a batch norm, so it cannot be trained that way.
            return beta + gamma * ((x - moving_mean) / tf.sqrt(moving_variance + 1e-3))
        moving = moving_mean, moving_variance
        learns = self._trainable and self.choose(True, True, False) and self._training
        on_batch = learns and not self._on_moving
        if kind == 'fused':
            result, *batch = tf.nn.fused_batch_norm(x, gamma, beta, *(() if on_batch else moving), is_training=on_batch)
        else:
            batch = _statistics(x, kind) if on_batch else moving
            result = tf.nn.batch_normalization(x, *batch, beta, gamma, 1e-3)
        if learns:
            self._feed(result, moving, batch if on_batch else _statistics(x, kind))
        return result

    def _feed(self, result, moving, batch):
        """Adds the update ops, which wait for the `result` computed with the old averages."""
        for average, statistic in zip(moving, batch):
            with tf.control_dependencies([result] if self._on_moving else []):
                update = assign_moving_average(average, statistic, 0.9, zero_debias=False)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)

    def bias(self, x):
        bias = self.between('bias', int(x.shape[-1]), low=-0.3, high=0.3)
        return self.choose(tf.nn.bias_add, tf.add)(x, bias)

    def groups(self, x):
        """A convolution for each half of the channels."""
        if int(x.shape[-1]) % 2:
            return x
        parts = []
        for number, part in enumerate(tf.split(x, 2, 3)):
            with tf.variable_scope('group{}'.format(number)):
                weights = self.weights(3, 3, int(part.shape[-1]), 2, fan_in=9 * int(part.shape[-1]))
                parts.append(self._finish(tf.nn.conv2d(part, weights, 1, 'SAME')))
        return tf.concat(parts, 3)

    def shortcut(self, x):
        """A value inside a fused group has other readers."""
        if self.choose(True, False):
            x = tf.nn.conv2d(x, self.weights(3, 3, int(x.shape[-1]), 4, fan_in=9 * int(x.shape[-1])), 1, 'SAME')
        y = self.norm(x, 'plain') if self.choose(False, True) else self.bias(x)
        inside = x if self.choose(True, False) else y
        return self.activation(self.choose(tf.add, tf.subtract, tf.maximum)(self.activation(y), inside))

    def move(self, x):
        return _MOVES[self.choose(*_MOVES)](x)

    def dropout(self, x):
        return tf.identity(tf.nn.dropout(x, rate=RATE) if self._training else x, 'kept')

    def island(self, x):
        """An op without a quantization rule."""
        return _FLOAT_OPS[self.choose(*_FLOAT_OPS)](x)

    def island_norm(self, x):
        """A batch norm, or a part of one, after such an op."""
        x, channels = self.island(x), int(x.shape[-1])
        shape = self.choose([channels], [1, 1, channels], [1, 1, 1, channels], [1], [])
        part = self.choose('norm', 'factor', 'term', 'quotient', 'difference', 'from', 'factor and term',
                           'quotient and difference')
        if part == 'norm':
            return self.norm(x, 'plain')
        vector = self.between('vector', *shape, scaled='quotient' not in part)  # never a division by zero
        return {'factor': lambda: vector * x, 'term': lambda: x + vector, 'quotient': lambda: x / vector,
                'difference': lambda: x - vector, 'from': lambda: vector - x, 'factor and term': lambda: x * vector + vector,
                'quotient and difference': lambda: x / vector - vector}[part]()

    def prelu(self, x):
        """Without a maximum with one variable slope: frozen it is a leaky relu, but in training the slope is unknown."""
        kind, shape = self.choose(*_PRELUS), self.choose([], [1, 1], [1, 1, 1]) + [int(x.shape[-1])]
        if self.choose(True, False) or (self._trainable and kind == 'maximum' and shape[-1] == 1):
            slopes = tf.constant(np.full(shape, 0.1, np.float32))
        else:
            slopes = self.between('slopes', *shape, low=0.05, high=0.5)
        return _PRELUS[kind](x, slopes)

    def activation(self, x):
        return _ACTIVATIONS[self.choose(*_ACTIVATIONS)](x)

    def _finish(self, x):
        if self.choose(True, False):
            x = self.bias(x)
        if self.choose(True, False):
            x = self.norm(x, 'plain')  # which stays float if there is nothing to fold it into
        return self.activation(x)

    def head(self, x):
        if self.choose(True, False):
            x = tf.reduce_mean(x, [1, 2])
        else:
            x = tf.reshape(x, [-1, int(np.prod(x.shape.as_list()[1:]))])
        if self.choose(False, True):
            with tf.variable_scope('hidden'):
                x = self._finish(tf.matmul(x, self.weights(int(x.shape[-1]), 6, fan_in=int(x.shape[-1]))))
        x = self.bias(tf.matmul(x, self.weights(int(x.shape[-1]), 5, fan_in=int(x.shape[-1]))))
        return tf.nn.softmax(x) if self.choose(True, False) else x


def _side(x):
    return int(x.shape[1])


def _statistics(x, kind):
    """Mean and variance of each channel as a batch norm of that kind has them; the fused op's variance is the unbiased one."""
    if 'fused' in kind:
        return tf.nn.fused_batch_norm(x, tf.ones(x.shape[-1:]), tf.zeros(x.shape[-1:]))[1:]
    return tf.nn.moments(x, list(range(len(x.shape) - 1)))


_ACTIVATIONS = collections.OrderedDict([
    ('no activation', lambda y: y), ('relu', tf.nn.relu), ('relu6', tf.nn.relu6), ('leaky', lambda y: tf.nn.leaky_relu(y, 0.1)),
    ('leaky maximum', lambda y: tf.maximum(0.1 * y, y)), ('swish', lambda y: y * tf.nn.sigmoid(y)),
    ('leaky difference', lambda y: tf.nn.relu(y) - 0.1 * tf.nn.relu(-y)),
    ('hard swish', lambda y: y * tf.nn.relu6(y + 3.0) / 6.0), ('minimum', lambda y: tf.minimum(tf.nn.relu(y), 6.))])
_MOVES = collections.OrderedDict([
    ('pad', lambda y: tf.pad(y, [[0, 0], [1, 0], [1, 0], [0, 0]])), ('slice', lambda y: y[:, ::2, ::2, :]),
    ('mirror', lambda y: tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]], 'SYMMETRIC')),
    ('transpose', lambda y: tf.transpose(y, [0, 2, 1, 3])),
    ('apart', lambda y: tf.depth_to_space(y, 2) if int(y.shape[-1]) % 4 == 0 and _side(y) <= 8 else y),
    ('together', lambda y: tf.reshape(tf.reshape(y, [-1, int(np.prod(y.shape.as_list()[1:]))]), [-1] + y.shape.as_list()[1:]))])
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
LAYERS = ('conv', 'twice', 'dilated', 'depthwise', 'transposed', 'residual', 'product', 'concat', 'pool', 'gate', 'resize',
          'norm', 'groups', 'shortcut', 'move', 'dropout', 'activation', 'island', 'island_norm', 'prelu')
