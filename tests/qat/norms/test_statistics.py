"""Order of the reads and updates of moving averages in a step, and their end."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.training.moving_averages import assign_moving_average

import vai_q_tf
from tests import quick_tensorflow
from tests.loading import load
from tests.qat.recipe import small

v1 = tf.compat.v1


def _gradients(place, use_resource, optimizers, waiting):
    """Gradients of the norm's gamma and beta in the first step; ops may wait for the updates of moving averages."""
    config = quick_tensorflow.one_thread(optimizers)
    with tf.Graph().as_default(), v1.Session(config=config) as session:
        images, labels = map(tf.constant, small.batch(0))
        with v1.variable_scope('', use_resource=use_resource):
            loss = v1.losses.sparse_softmax_cross_entropy(labels, small.network(images))
        vai_q_tf.CreateQuantizeTrainingGraph(small.config(place, bn_fold='moving', recipe='manual', weight_bit=8))
        variables = {variable.op.name: variable for variable in v1.trainable_variables()}
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS) * waiting):
            gradients = tf.gradients(loss, [variables['norm/gamma'], variables['norm/beta']])
        session.run(v1.global_variables_initializer())
        weights = small.float_weights()
        load({variable: weights[variable.op.name] for variable in v1.global_variables()}, session)
        return session.run(gradients)


@pytest.mark.parametrize('use_resource, optimizers', [(False, False), (False, True), (True, False)])
def test_gradients_are_those_of_the_moving_averages_that_the_step_folded_with(tmp_path, use_resource, optimizers):
    """The usual `minimize` within the control dependencies of the updates makes all gradients wait for them."""
    expected = _gradients(tmp_path, use_resource, optimizers, waiting=False)
    for gradient, value in zip(_gradients(tmp_path, use_resource, optimizers, waiting=True), expected):
        np.testing.assert_allclose(gradient, value, rtol=1e-5)
        assert np.abs(value).min() > 1e-6


@pytest.mark.parametrize('use_resource', [False, True])
@pytest.mark.parametrize('update', [
    lambda average, value: v1.assign(average, average * 0.9 + value * 0.1),
    lambda average, value: assign_moving_average(average, value, 0.9, zero_debias=True)], ids=['sum', 'zero debias'])
def test_averages_that_are_assigned_follow_their_batches_and_freeze(tmp_path, update, use_resource):
    def build(images, training=True):
        net = v1.layers.conv2d(tf.identity(images, name='net_in'), 4, 3, use_bias=False, name='conv')
        with v1.variable_scope('', use_resource=use_resource):
            net = tf.nn.relu(_norm(net, training, update), name='relu')
        return v1.layers.dense(tf.reduce_mean(net, [1, 2], name='pool'), 3, name='logits')

    with small.Training(small.config(tmp_path, recipe='manual', freeze_bn_step=2), build=build) as training:
        courses = []
        for number in range(8):
            training.step(number)
            courses.append([value for name, value in training.variables().items() if name.endswith(('/mean', '/variance'))])
    first, second, third, *_, last = courses
    for before, after, frozen, at_end in zip(first, second, third, last):
        assert (before != after).all()
        np.testing.assert_array_equal(frozen, after)
        np.testing.assert_array_equal(at_end, after)


def _norm(x, training, update):
    with v1.variable_scope('norm'):
        mean, variance = (v1.get_variable(name, [4], initializer=v1.constant_initializer(0.3), trainable=False)
                          for name in ('mean', 'variance'))
        gamma, beta = v1.get_variable('gamma', initializer=tf.ones([4])), v1.get_variable('beta', initializer=tf.zeros([4]))
        if not training:
            return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)
        batch = tf.nn.moments(x, [0, 1, 2])
        for average, value in zip((mean, variance), batch):
            v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update(average, value))
        return tf.nn.batch_normalization(x, *batch, beta, gamma, 1e-3)
