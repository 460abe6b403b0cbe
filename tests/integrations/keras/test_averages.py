"""Averaged weights of a training with `fit`."""
import os

import numpy as np
import pytest
import tensorflow as tf

import vai_q_tf
from tests.qat.averages.running_means import means, running_mean

keras = tf.keras
_RANDOM = np.random.RandomState(0)
_IMAGES, _LABELS = _RANDOM.randn(64, 6, 6, 2).astype(np.float32), _RANDOM.randint(0, 3, 64)


@pytest.fixture(autouse=True)
def fresh():
    keras.backend.clear_session()
    keras.backend.set_learning_phase(1)
    yield
    keras.backend.clear_session()


class _Weights(keras.callbacks.Callback):
    """Keeps the weights after each step, and evaluates in between."""

    def __init__(self, before):
        super().__init__()
        self.values = [before]

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.model.evaluate(_IMAGES, _LABELS, verbose=0)
        self.model.predict(_IMAGES)


def _model(place, average_step):
    keras.backend.clear_session()
    keras.backend.set_learning_phase(1)
    model = keras.Sequential([
        keras.layers.Conv2D(4, 3, use_bias=False, input_shape=(6, 6, 2), name='conv'),
        keras.layers.BatchNormalization(momentum=0.5, name='norm'), keras.layers.Flatten(),
        keras.layers.Dense(3, name='logits')])
    settings = vai_q_tf.QuantizeConfig([model.input.op.name], [model.output.op.name], output_dir=str(place / 'quantized'),
                                       average_step=average_step, recipe='auto' if average_step == 0.375 else 'manual')
    callback = vai_q_tf.QuantizeCallback(settings, model)
    model.compile('sgd', keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, callback


def _fit(model, callback, epochs):
    weights = _Weights(model.get_weights())
    model.fit(_IMAGES, _LABELS, batch_size=16, epochs=epochs, verbose=0, shuffle=False, callbacks=[callback, weights])
    return weights.values[1:]


def _checkpoint(place, step):
    return str(place / 'quantized' / 'model.ckpt-{}'.format(step))


@pytest.mark.parametrize('average_step', [3, 0.375])
def test_fit(tmp_path, average_step):
    model, callback = _model(tmp_path, average_step)
    values = _fit(model, callback, 2)[3:]
    found, count = means(_checkpoint(tmp_path, 8))
    assert count == 5
    for number, variable in enumerate(model.weights):
        if variable.trainable:
            np.testing.assert_array_equal(found[variable.op.name], running_mean([value[number] for value in values]))
    assert len(found) == len(model.trainable_weights)
    models = os.listdir(str(tmp_path / 'quantized'))
    assert any(name.startswith('quantize_eval_model_averaged_8_') for name in models)
    vai_q_tf.averaged_checkpoint(_checkpoint(tmp_path, 8))


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """(directory with files of weights, the weights of every step) of an epoch."""
    directory = tmp_path_factory.mktemp('first')
    model, callback = _model(directory, 1)
    values = _fit(model, callback, 1)
    for name in ('weights.h5', 'weights'):
        model.save_weights(str(directory / name))
    return directory, values


@pytest.mark.parametrize('name', ['weights.h5', 'weights'])
def test_weights_files_carry_them(tmp_path, name, first):
    directory, values = first
    model, callback = _model(tmp_path, 1)
    model.load_weights(str(directory / name))
    values = values + _fit(model, callback, 1)
    found, count = means(_checkpoint(tmp_path, 8))
    assert count == 7
    np.testing.assert_array_equal(found['conv/kernel'], running_mean([value[0] for value in values[1:]]))


def test_weights_files_without_them_load(tmp_path):
    model, callback = _model(tmp_path, None)
    _fit(model, callback, 1)
    model.save_weights(str(tmp_path / 'weights.h5'))
    model, callback = _model(tmp_path / 'second', 1)
    model.load_weights(str(tmp_path / 'weights.h5'))
    values = _fit(model, callback, 1)
    found, count = means(_checkpoint(tmp_path / 'second', 8))
    assert count == 4
    np.testing.assert_array_equal(found['conv/kernel'], running_mean([value[0] for value in values]))
