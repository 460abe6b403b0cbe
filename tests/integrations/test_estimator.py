"""quantize_estimator starts from the checkpoint of any float Estimator; quantize_model_fn on replicas."""
import functools
import glob
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.integrations import trainings
from vai_q_tf import (
    CreateQuantizeTrainingGraph,
    QuantizeConfig,
    QuantizeError,
    QuantizeOptimizer,
    errors,
    quantize_estimator,
    quantize_model_fn,
)

v1 = tf.compat.v1
RUN_CONFIG = tf.estimator.RunConfig(session_config=trainings.SESSION)


def test_estimator_starts_from_the_float_one_and_leaves_it_alone(tmp_path, expected, checkpoint):
    calls = []

    def model_fn(features, labels, mode, params):
        calls.append(params['rate'])
        return trainings.model_fn(features, labels, mode)

    float_estimator = trainings.make_estimator(model_fn, tmp_path, {'rate': 0.05})
    quantized = quantize_estimator(float_estimator, trainings.config(tmp_path))
    trainings.place(checkpoint, float_estimator.model_dir)
    before = {path: os.stat(path).st_mtime_ns for path in glob.glob(float_estimator.model_dir + '/*')}
    assert len(before) > 3
    trainings.assert_same(trainings.train_estimator(quantized), expected)
    assert quantized.model_dir == float_estimator.model_dir + '_quantized'
    assert {path: os.stat(path).st_mtime_ns for path in glob.glob(float_estimator.model_dir + '/*')} == before
    assert calls == [0.05]
    np.testing.assert_array_equal(
        [row['logits'] for row in quantized.predict(lambda: trainings.once().map(lambda images, labels: images))],
        trainings.explicit_evaluation(tmp_path, quantized.latest_checkpoint()))
    # The float one still is what it was.
    assert float_estimator.evaluate(trainings.once)['global_step'] == 10


def test_the_directory_of_the_estimator(tmp_path):
    estimator = trainings.make_estimator(trainings.plain_model_fn(), tmp_path)
    with pytest.raises(QuantizeError, match='model_dir') as raised:
        quantize_estimator(estimator, trainings.config(tmp_path), str(tmp_path / 'other' / '..' / 'model'))
    assert raised.value.code == errors.INVALID_CONFIG
    assert quantize_estimator(estimator, trainings.config(tmp_path), str(tmp_path / 'here')).model_dir == str(tmp_path / 'here')
    with pytest.raises(TypeError, match='Estimator'):
        quantize_estimator(trainings.model_fn, trainings.config(tmp_path))
    with pytest.raises(TypeError, match='QuantizeConfig'):
        quantize_estimator(estimator, None)


def test_estimator_without_a_float_checkpoint_trains_from_initial_values(tmp_path, caplog):
    estimator = trainings.make_estimator(trainings.plain_model_fn(), tmp_path)
    quantized = quantize_estimator(estimator, trainings.config(tmp_path))
    tf.get_logger().propagate = True
    losses, _ = trainings.train_estimator(quantized, 2)
    assert len(losses) == 2
    assert any('initial values' in record.getMessage() for record in caplog.records)


def test_a_canned_estimator(tmp_path):
    columns = [tf.feature_column.numeric_column('x', [4])]
    estimator = tf.estimator.DNNClassifier([8], columns, str(tmp_path / 'model'), n_classes=3, config=RUN_CONFIG)
    data = np.random.RandomState(0)

    def input_fn():
        values = {'x': data.randn(32, 4).astype(np.float32)}, data.randint(0, 3, 32)
        return tf.data.Dataset.from_tensors(values).repeat()

    estimator.train(input_fn, steps=2)
    settings = QuantizeConfig(['dnn/input_from_feature_columns/input_layer/concat/concat'], ['dnn/logits/BiasAdd'],
                              output_dir=str(tmp_path / 'quantized'))
    quantized = quantize_estimator(estimator, settings)
    quantized.train(input_fn, steps=4)
    assert quantized.evaluate(input_fn, steps=2)['global_step'] == 4
    reader = tf.train.load_checkpoint(quantized.latest_checkpoint())
    assert reader.get_tensor('vai_q_tf/positions/votes').any(axis=1).all()
    row = next(iter(quantized.predict(input_fn)))
    assert np.unique(np.abs(row['logits']) % 2.0 ** -8).tolist() == [0]


@pytest.mark.parametrize('optimizer', [
    pytest.param(lambda: trainings.momentum(), marks=pytest.mark.slow, id='of tf.train'),
    pytest.param(lambda: tf.keras.optimizers.SGD(0.05), id='of tf.keras')])
def test_an_estimator_of_a_keras_model(tmp_path, optimizer):
    keras = tf.keras
    # An input layer has no node of its own there; the range begins at the Lambda.
    network = keras.Sequential([
        keras.layers.Lambda(lambda images: tf.identity(images, 'in'), name='net', input_shape=(8, 8, 2)),
        keras.layers.Conv2D(8, 3, use_bias=False, name='conv'), keras.layers.BatchNormalization(name='norm'),
        keras.layers.ReLU(name='relu'), keras.layers.GlobalAveragePooling2D(name='pool'),
        keras.layers.Dense(4, name='logits')])
    network.compile(optimizer(), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=['accuracy'])
    estimator = keras.estimator.model_to_estimator(network, model_dir=str(tmp_path / 'model'), config=RUN_CONFIG)

    def input_fn():
        return trainings.input_fn().map(lambda images, labels: ({'net_input': images}, tf.expand_dims(labels, -1)))

    estimator.train(input_fn, steps=4)
    settings = QuantizeConfig(['net/in'], ['logits/BiasAdd'], output_dir=str(tmp_path / 'quantized'))
    quantized = quantize_estimator(estimator, settings, distillation=True)
    quantized.train(input_fn, steps=4)
    reader = tf.train.load_checkpoint(quantized.latest_checkpoint())
    assert reader.get_tensor('vai_q_tf/positions/votes').any(axis=1).all()
    row = next(iter(quantized.predict(input_fn)))
    assert np.unique(np.abs(row['logits']) % 2.0 ** -8).tolist() == [0]
    assert quantized.evaluate(input_fn, steps=2)['global_step'] == 4
    assert glob.glob(str(tmp_path / 'quantized' / 'quantize_eval_model_4_*'))


def test_replicas_train_as_with_the_call_before_the_optimizer(tmp_path, checkpoint):
    def edited(features, labels, mode, explicit):
        loss = trainings.cross_entropy(labels, trainings.network(features, True))
        tf.train.init_from_checkpoint(checkpoint, {scope: scope for scope in ('conv/', 'norm/', 'logits/')})
        optimizer = trainings.momentum()
        if explicit:
            CreateQuantizeTrainingGraph(trainings.config(tmp_path))
        else:
            optimizer = QuantizeOptimizer(optimizer, trainings.config(tmp_path))
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=trainings.minimize(loss, optimizer))

    def train(name, model_fn):
        estimator = trainings.make_estimator(
            model_fn, tmp_path / name, train_distribute=tf.distribute.MirroredStrategy(['/cpu:0', '/cpu:1']),
            session_config=trainings.TWO_DEVICES)
        estimator.train(trainings.input_fn, steps=3)
        reader = tf.train.load_checkpoint(estimator.latest_checkpoint())
        return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}

    expected = train('explicit', functools.partial(edited, explicit=True))
    optimizer = train('optimizer', functools.partial(edited, explicit=False))
    wrapped = train('wrapped', quantize_model_fn(trainings.plain_model_fn(), trainings.config(tmp_path), checkpoint))
    assert sorted(wrapped) == sorted(optimizer) == sorted(expected)
    for name, value in expected.items():
        if value.dtype != object:
            np.testing.assert_allclose(optimizer[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
            np.testing.assert_allclose(wrapped[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert len(glob.glob(str(tmp_path / 'quantized' / 'quantize_eval_model_3_*'))) == 1
