"""Random networks by seed, with layers for further ops of the user guide's table."""
import random

import tensorflow.compat.v1 as tf

from tests.random_networks import LAYERS, SIZE, Builder, built


class MoreLayers(Builder):
    """A Builder with more kinds of layers, one of them with a second input."""

    def squeezed(self, x):
        """Dense, with dimensions removed and added."""
        x = tf.reduce_max(x, [1, 2], keepdims=self.choose(True, True, False))
        x = tf.squeeze(x, [1, 2]) if len(x.shape) == 4 else x
        x = self._finish(tf.matmul(x, self.weights(int(x.shape[-1]), 8, fan_in=int(x.shape[-1]))))
        if self.choose(True, False):
            return tf.expand_dims(tf.expand_dims(x, 1), 1)
        return tf.reshape(x, [-1, 2, 2, 2])

    def separable(self, x):
        channels = int(x.shape[-1])
        depthwise = self.parameter('depthwise', lambda state: state.normal(size=(3, 3, channels, 1)) / 3)
        pointwise = self.parameter('pointwise', lambda state: state.normal(size=(1, 1, channels, 6)) / channels ** .5)
        return self._finish(tf.nn.separable_conv2d(x, depthwise, pointwise, [1] * 4, 'SAME'))

    def atrous(self, x):
        weights = self.weights(3, 3, int(x.shape[-1]), 4, fan_in=9 * int(x.shape[-1]))
        return self._finish(tf.nn.atrous_conv2d(x, weights, self.choose(2, 3), 'SAME'))

    def valid_pool(self, x):
        if int(x.shape[1]) < 3:
            return x
        pool = self.choose(tf.nn.max_pool2d, tf.nn.avg_pool2d)
        return pool(x, *self.choose((2, 2), (3, 1), (3, 2), (int(x.shape[1]), 1)), 'VALID')

    def global_norm(self, x):
        """batch_norm_with_global_normalization after a convolution."""
        x = tf.nn.conv2d(x, self.weights(1, 1, int(x.shape[-1]), 4, fan_in=int(x.shape[-1])), 1, 'SAME')
        mean, beta = (self.between(name, 4, low=-.3, high=.3, learns=name == 'beta') for name in ('mean', 'beta'))
        variance, gamma = self.between('variance', 4, learns=False), self.between('gamma', 4)
        return self.activation(tf.nn.batch_norm_with_global_normalization(x, mean, variance, beta, gamma, 1e-3, True))

    def explicit_pad(self, x):
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        return self._finish(tf.nn.conv2d(x, self.weights(3, 3, int(x.shape[-1]), 4, fan_in=9 * int(x.shape[-1])), 1, 'VALID'))

    def second_input(self, x):
        """Adds a placeholder x2, once."""
        if any(op.name == 'x2' for op in tf.get_default_graph().get_operations()) or x.shape[1:3].as_list() != [SIZE] * 2:
            return x
        with tf.name_scope(None):
            other = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], name='x2')
        if self.choose(True, False):
            other = self._finish(tf.nn.conv2d(other, self.weights(3, 3, 3, int(x.shape[-1]), fan_in=27), 1, 'SAME'))
            return x + other
        return tf.concat([x, other], -1)

    def gated(self, x):
        return x * self.choose(tf.sigmoid, lambda y: tf.nn.relu6(y + 3.) / 6.)(self.bias(x))


_MORE = ('squeezed', 'separable', 'atrous', 'valid_pool', 'global_norm', 'explicit_pad', 'second_input', 'gated')


class SeededNetwork:
    """The network of a seed, on the placeholders 'x' and perhaps 'x2'; `build` is that of a RandomNetwork.

    Args:
      most: number of layers between the first one and the last.
      kept: places of the layers to keep; None: all. The choices of a layer do not depend on it.
    """

    def __init__(self, seed, trainable=False, most=6, kept=None):
        self._seed, self._trainable = seed, trainable
        chosen = random.Random(seed)
        layers = [chosen.choice(LAYERS + _MORE) for _ in range(chosen.randint(1, most))]
        self._layers = layers if kept is None else [layers[place] for place in kept]
        self._streams = list(range(len(layers))) if kept is None else list(kept)

    def build(self, training=False, on_moving=False):
        return self._builder(training, on_moving).outputs

    @property
    def size(self):
        """The number of layers between the first one and the last."""
        return len(self._layers)

    @property
    def is_ordinary(self):
        with tf.Graph().as_default():
            return self._builder(False).is_ordinary

    def _builder(self, training, on_moving=False):
        streams = [random.Random('{} {}'.format(self._seed, place)) for place in ['first'] + self._streams + ['head']]
        place = [-1]

        class Seeded(MoreLayers):
            def add(self, layer):
                place[0] += 1
                super().add(layer)

        def pick(count):
            return streams[max(place[0], 0)].randrange(count)

        return built(Seeded(pick, self._trainable, training, on_moving), self._layers)

    def __repr__(self):
        with tf.Graph().as_default():
            return ' '.join(self._builder(False).choices)
