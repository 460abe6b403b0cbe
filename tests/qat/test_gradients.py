"""Loss and gradients of a rewritten network are those of a NumPy model of it that was written from its definition."""
import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.combinations import each_value_once
from tests.loading import load
from tests.qat.numpy_network import Tape, Variable
from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig

_BATCH, _CLASSES, _EPSILON = 3, 5, 1e-3
_SHAPES = {
    'conv1/kernel': [3, 3, 3, 4], 'conv1/bias': [4], 'bn1/gamma': [4], 'bn1/beta': [4],
    'depthwise/kernel': [3, 3, 4, 1], 'bn2/gamma': [4], 'bn2/beta': [4],
    'conv2/kernel': [1, 1, 4, 4], 'bn3/gamma': [4], 'bn3/beta': [4],
    'conv3/kernel': [3, 3, 4, 4], 'conv3/bias': [4], 'dense/kernel': [4, _CLASSES], 'dense/bias': [_CLASSES]}
_STATISTICS = ['{}/moving_{}'.format(norm, what) for norm in ('bn1', 'bn2', 'bn3') for what in ('mean', 'variance')]
_MODES = {
    'batch': {},
    'batch before freezing': {'freeze_bn_step': 10},
    'batch frozen': {'freeze_bn_step': 1},
    'moving': {'bn_fold': 'moving'},
}
# A bias in front of a batch norm has no gradient: float32 leaves the rounding errors of terms of about 1.
_NOISE = 1e-5
# Float32 rounds activations of up to 128 steps with an error of about 1e-5 steps, and sums of them.
_MARGIN = 1e-4


def _float_network():
    """The loss of the network, in TensorFlow."""
    layers = tf.compat.v1.layers

    def norm(x, name, fused=True):
        return layers.batch_normalization(x, training=True, epsilon=_EPSILON, fused=fused, name=name)

    x = tf.compat.v1.placeholder(tf.float32, [_BATCH, 4, 4, 3], name='x')
    first = tf.nn.relu(norm(layers.conv2d(x, 4, 3, padding='same', name='conv1'), 'bn1'), name='relu1')
    kernel = tf.compat.v1.get_variable('depthwise/kernel', _SHAPES['depthwise/kernel'])
    y = tf.nn.depthwise_conv2d(first, kernel, [1, 1, 1, 1], 'SAME', name='depthwise')
    y = tf.nn.relu6(norm(y, 'bn2', fused=False), name='relu2')
    y = norm(layers.conv2d(y, 4, 1, use_bias=False, name='conv2'), 'bn3')
    y = layers.conv2d(tf.add(first, y, name='sum'), 4, 3, padding='same', name='conv3')
    y = tf.reduce_mean(layers.max_pooling2d(y, 2, 2, name='pool'), [1, 2], name='mean')
    logits = layers.dense(y, _CLASSES, name='dense')
    labels = tf.compat.v1.placeholder(tf.float32, [_BATCH, _CLASSES], name='labels')
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits))


def _numpy_network(tape, values, feed, quantize, batch_statistics):
    """The same in NumPy, quantized. quantize: function (name, Variable, mode) -> Variable."""
    def folded(x, layer, compute, norm, bias_name, mode=0):
        kernel, gamma, beta = (values[name] for name in (layer + '/kernel', norm + '/gamma', norm + '/beta'))
        mean, variance = values[norm + '/moving_mean'], values[norm + '/moving_variance']
        bias = values.get(layer + '/bias', Variable(np.zeros(4)))
        scale = tape.multiply(gamma, tape.rsqrt(Variable(variance.value + _EPSILON)))
        inner_bias = bias
        if batch_statistics:
            scale, inner_bias = Variable(scale.value), Variable(bias.value)
        along = scale
        if mode == 2:
            along = tape._record(scale.value.reshape(4, 1), (scale, lambda dy: dy.reshape(4)))
        weights = quantize(layer + '/kernel/wquant', tape.multiply(kernel, along), mode)
        offset = tape.add(tape.subtract(beta, tape.multiply(scale, mean)), tape.multiply(scale, inner_bias))
        rounded = quantize(bias_name + '/wquant', offset, 0)
        if not batch_statistics:
            return tape.add(compute(x, weights), rounded)
        y = tape.add(compute(x, tape.multiply(weights, Variable(1 / along.value))), bias)
        return tape.batch_norm(y, gamma, tape.add(beta, tape.subtract(rounded, offset)), _EPSILON)

    x = quantize('x/aquant', Variable(feed['x:0']), 1)
    first = folded(x, 'conv1', tape.convolution, 'bn1', 'conv1/bias')
    first = quantize('relu1/aquant', tape.relu(first), 1)
    y = folded(first, 'depthwise', tape.depthwise, 'bn2', 'depthwise/kernel/biases', mode=2)
    y = quantize('relu2/aquant', tape.relu(y, 6), 1)
    y = folded(y, 'conv2', tape.convolution, 'bn3', 'conv2/kernel/biases')
    y = quantize('bn3/FusedBatchNormV3/aquant', y, 1)
    y = quantize('sum/aquant', tape.add(first, y), 1)
    y = tape.convolution(y, quantize('conv3/kernel/wquant', values['conv3/kernel'], 0))
    y = quantize('conv3/BiasAdd/aquant', tape.add(y, quantize('conv3/bias/wquant', values['conv3/bias'], 0)), 1)
    y = quantize('pool/MaxPool/aquant', tape.max_pool(y), 1)
    # An average over 2 x 2 cells is one of the hardware: its factor is 1.
    y = quantize('mean/squeeze/aquant', quantize('mean/mul/aquant', tape.global_mean(y), 1), 1)
    y = tape.matmul(y, quantize('dense/kernel/wquant', values['dense/kernel'], 0))
    y = quantize('dense/BiasAdd/aquant', tape.add(y, quantize('dense/bias/wquant', values['dense/bias'], 0)), 1)
    return tape.softmax_cross_entropy(y, feed['labels:0'])


def _quantize(tape, positions, name, x, mode):
    return tape.quantize(x, positions[name], mode)


def _values(seed, spread=1.):
    random = np.random.RandomState(seed)
    values = {name: spread * random.normal(size=shape) for name, shape in _SHAPES.items()}
    for name in _STATISTICS:
        values[name] = random.uniform(0.3, 2, 4) if name.endswith('variance') else random.normal(size=4)
    return {name: value.astype(np.float32) for name, value in values.items()}


def _feed(seed):
    random = np.random.RandomState(1000 + seed)
    return {'x:0': random.normal(size=[_BATCH, 4, 4, 3]).astype(np.float32),
            'labels:0': np.eye(_CLASSES, dtype=np.float32)[random.randint(_CLASSES, size=_BATCH)]}


class _Rewritten:
    """The network in TensorFlow after the rewrite."""

    def __init__(self, directory, **fields):
        self.graph = tf.Graph()
        with self.graph.as_default():
            self._step = tf.compat.v1.train.get_or_create_global_step()
            self._loss = _float_network()
            CreateQuantizeTrainingGraph(QuantizeConfig(
                ['x'], ['dense/BiasAdd'], output_dir=str(directory), recipe='manual', freeze_position_step=1, **fields))
            self._variables = {variable.op.name: variable for variable in tf.compat.v1.global_variables()}
            names = sorted(_SHAPES)
            gradients = tf.gradients(self._loss, [self._variables[name] for name in names])
            self._gradients = dict(zip(names, gradients))
            self._positions = {op.name: op.inputs[-1] for op in self.graph.get_operations()
                               if op.type in ('VaiFixNeuron', 'VaiScaledFixNeuron')}

    def run(self, values, feed, previous_values, previous_feed):
        """(loss, gradients, positions): the positions are those that suit the previous values and feed."""
        with tf.compat.v1.Session(graph=self.graph) as session:
            self._load(session, previous_values, 0)
            session.run(self._loss, previous_feed)
            self._load(session, values, 1)
            return session.run([self._loss, self._gradients, self._positions], feed)

    def _load(self, session, values, step):
        variables = {self._variables[name]: value for name, value in values.items()}
        variables[self._step] = step
        load(variables, session)


@pytest.mark.parametrize('mode, gradient', each_value_once(sorted(_MODES), ['clipped', 'straight_through']))
def test_loss_and_gradients(mode, gradient, tmp_path):
    rewritten = _Rewritten(tmp_path, gradient=gradient, **_MODES[mode])
    compared = saturated = seed = 0
    while compared < 2:
        feed, spread = _feed(seed), 1.5
        loss, gradients, positions = rewritten.run(_values(seed, spread), feed, _values(seed + 100), _feed(seed + 100))
        variables = {name: Variable(value) for name, value in _values(seed, spread).items()}
        tape = Tape(gradient == 'clipped')
        expected = _numpy_network(tape, variables, feed, functools.partial(_quantize, tape, positions),
                                  mode.startswith('batch') and mode != 'batch frozen')
        saturated += tape.saturated
        seed += 1
        assert seed < 20
        if tape.margin < _MARGIN:  # a value on an edge, where float32 may round to the other side
            continue
        compared += 1
        tape.gradients(expected)
        np.testing.assert_allclose(loss, expected.value, rtol=1e-5)
        for name in _SHAPES:
            size = np.abs(variables[name].gradient).max()
            np.testing.assert_allclose(gradients[name], variables[name].gradient, rtol=1e-4, atol=1e-4 * size + _NOISE,
                                       err_msg='{}, seed {}'.format(name, seed))
    assert saturated > 10


@pytest.mark.parametrize('batch_statistics', [True, False])
def test_numpy_gradients_are_slopes(batch_statistics):
    """Checks the NumPy model itself: without quantization its gradients are quotients of differences of its loss."""
    feed = _feed(3)

    def loss(values):
        tape = Tape()
        variables = {name: Variable(value) for name, value in values.items()}
        return tape, variables, _numpy_network(tape, variables, feed, lambda name, x, mode: x, batch_statistics)

    values = {name: value.astype(np.float64) for name, value in _values(3).items()}
    tape, variables, result = loss(values)
    tape.gradients(result)
    random, step = np.random.RandomState(0), 1e-6
    for name, shape in _SHAPES.items():
        direction = random.normal(size=shape)
        up, down = (loss(dict(values, **{name: values[name] + sign * step * direction}))[2].value for sign in (1, -1))
        np.testing.assert_allclose(np.sum(variables[name].gradient * direction), (up - down) / (2 * step),
                                   rtol=1e-5, atol=1e-8, err_msg=name)
