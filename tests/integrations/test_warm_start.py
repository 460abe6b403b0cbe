"""A quantized training starts from the variables of a float checkpoint."""
import contextlib
import os

import pytest
import tensorflow as tf

from tests.integrations import trainings
from vai_q_tf import QuantizeError, errors, quantize_model_fn

v1 = tf.compat.v1


@pytest.mark.parametrize('resource', [False, True], ids=['reference', 'resource'])
def test_partitioned_variables_start_from_a_checkpoint_of_whole_ones(tmp_path, checkpoint, expected, resource):
    parts = set()

    def model_fn(features, labels, mode):
        with v1.variable_scope(v1.get_variable_scope(), partitioner=v1.fixed_size_partitioner(2), use_resource=resource):
            spec = trainings.model_fn(features, labels, mode)
        parts.update(variable.op.name for variable in v1.trainable_variables())
        return spec

    model_fn = quantize_model_fn(model_fn, trainings.config(tmp_path), checkpoint)
    trainings.assert_same(trainings.train_estimator(trainings.make_estimator(model_fn, tmp_path)), expected)
    assert {'conv/kernel/part_0', 'conv/kernel/part_1'} < parts


def test_a_float_checkpoint_of_another_network_is_refused(tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable('conv/kernel', [3, 3, 2, 8])
        session.run(v1.global_variables_initializer())
        other = v1.train.Saver().save(session, str(tmp_path / 'other'))
    model_fn = quantize_model_fn(trainings.plain_model_fn(), trainings.config(tmp_path), other)
    with pytest.raises(QuantizeError, match='norm/moving_mean') as raised:
        trainings.make_estimator(model_fn, tmp_path).train(trainings.input_fn, steps=1)
    assert raised.value.code == errors.INVALID_INPUT and 'for new layers, omit it and call' in str(raised.value)


def test_a_resumed_training_needs_no_float_checkpoint(tmp_path, checkpoint):
    model_fn = quantize_model_fn(trainings.plain_model_fn(), trainings.config(tmp_path), str(tmp_path / 'deleted'))
    for model_dir, is_refused in ((os.path.dirname(checkpoint), False), (str(tmp_path / 'new'), True)):
        with tf.Graph().as_default(), contextlib.ExitStack() as stack:
            if is_refused:
                stack.enter_context(pytest.raises(QuantizeError, match='There is no checkpoint at .*deleted'))
            features, labels = v1.data.make_one_shot_iterator(trainings.input_fn()).get_next()
            model_fn(features, labels, tf.estimator.ModeKeys.TRAIN, tf.estimator.RunConfig(model_dir))
