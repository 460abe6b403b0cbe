"""A custom gradient reads tensors in Python variables of the program; it is still that of the quantized network."""
import numpy as np
import pytest
import tensorflow as tf

from tests.combinations import each_pair_once
from tests.qat.recipe import small
from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeTrainingHook

v1 = tf.compat.v1


@tf.custom_gradient
def _cube(x):
    return x * x * x, lambda dy: 3 * x * x * dy


# (with a custom gradient, the same without one)
_ACTIVATIONS = {'swish': (tf.nn.swish, lambda x: x * tf.sigmoid(x)), 'cube': (_cube, lambda x: x * x * x)}


def _loss(activation):
    images, labels = map(tf.constant, small.batch(0))
    net = tf.identity(images, name='net_in')
    for number in range(2):
        net = v1.layers.conv2d(net, 4, 3, padding='same', use_bias=False, name='conv{}'.format(number))
        net = activation(v1.layers.batch_normalization(net, training=True, name='norm{}'.format(number)))
    logits = v1.layers.dense(tf.reduce_mean(net, [1, 2], name='pool'), 3, name='logits')
    return v1.losses.sparse_softmax_cross_entropy(labels, logits)


def _weights(variable, random):
    value = random.rand(*variable.shape.as_list()) + 0.5
    return (value - 1 if 'kernel' in variable.op.name else value).astype(np.float32)


@pytest.mark.parametrize('activation, recipe, way', each_pair_once(
    sorted(_ACTIVATIONS), ['finetune', 'manual'], ['function', 'hook']))
def test_it_trains_as_without_one(tmp_path, activation, recipe, way):
    """With 16 bits, so rounding inside the activation is negligible."""
    settings = small.config(tmp_path, weight_bit=16, activation_bit=16, recipe=recipe)
    courses = []
    for build in _ACTIVATIONS[activation]:
        with tf.Graph().as_default():
            loss = _loss(build)
            step = v1.train.get_or_create_global_step()
            if way == 'function':
                CreateQuantizeTrainingGraph(settings)
            train = v1.train.GradientDescentOptimizer(0.02).minimize(loss, step)
            random = np.random.RandomState(2)
            variables = [variable for variable in v1.global_variables() if variable is not step]
            weights = {variable.op.name: _weights(variable, random) for variable in variables}
            start = [step.assign(0)] + [variable.assign(weights[variable.op.name]) for variable in variables]
            hooks = [QuantizeTrainingHook(settings)] if way == 'hook' else []
            with v1.train.SingularMonitoredSession(hooks) as session:
                session.raw_session().run(start)
                for _ in range(4):
                    session.run(train)
                courses.append({variable.op.name: session.raw_session().run(variable) for variable in v1.trainable_variables()})
    for name, value in courses[1].items():
        found, expected = courses[0][name] - weights[name], value - weights[name]
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.01 * np.abs(expected).max(), err_msg=name)
