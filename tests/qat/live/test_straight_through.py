"""The hardware's softmax trains with the gradient of the softmax that it approximates."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig
from vai_q_tf.qat.live.straight_through import straight_through


def test_value_of_the_one_and_gradient_of_the_other():
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant([1., -2.])
        result = straight_through(tf.floor(x / 3), x ** 3)
        value, gradient = session.run([result, tf.gradients(result, x)[0]])
    np.testing.assert_array_equal(value, [0., -1.])
    np.testing.assert_array_equal(gradient, [3., 12.])


def _gradients(directory, **fields):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [4, 6, 6, 3], 'x')
        weights = tf.Variable(np.random.RandomState(0).normal(size=[3, 3, 3, 5]).astype(np.float32))
        y = tf.nn.softmax(tf.nn.conv2d(x, weights, 1, 'VALID', name='conv'))
        second = tf.Variable(np.random.RandomState(1).normal(size=[5, 2]).astype(np.float32))
        y = tf.matmul(tf.reduce_mean(y, [1, 2]), second, name='out')
        loss = tf.reduce_sum(tf.square(y))
        CreateQuantizeTrainingGraph(QuantizeConfig(['x'], ['out'], output_dir=str(directory), weight_bit=16, activation_bit=16,
                                                   simulate_dpu=0, **fields))
        gradient = tf.gradients(loss, weights)[0]
        session.run(tf.global_variables_initializer())
        return session.run(gradient, {x: np.random.RandomState(2).normal(size=[4, 6, 6, 3])})


def test_gradients_behind_the_softmax_of_the_hardware(tmp_path):
    exact, hard = _gradients(tmp_path / 'exact'), _gradients(tmp_path / 'hard', replace_softmax=1)
    assert np.abs(exact).max() > 1e-3
    assert np.abs(hard - exact).max() < 0.05 * np.abs(exact).max()
