"""Order of the reads and updates of moving averages in a step."""
import numpy as np
import pytest
import tensorflow as tf

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
