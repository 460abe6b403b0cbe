"""Damaged files of weights are refused with a code and their name, before anything is loaded."""
import io

import h5py
import numpy as np
import pytest
from tensorflow import keras

from tests.integrations.keras.training import backend, config_of, session_of_its_own  # noqa: F401
from vai_q_tf import QuantizeError, errors, quantize_keras_model
from vai_q_tf.integrations.keras.model import _H5_ENTRY


def _quantized(directory):
    inputs = keras.Input([4], name='x')
    model = keras.Model(inputs, keras.layers.Dense(3, name='dense')(inputs))
    return quantize_keras_model(model, config_of(model, directory))


def _npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return np.frombuffer(stream.getvalue(), np.uint8)


def _array(value):
    stream = io.BytesIO()
    np.save(stream, value)
    return np.frombuffer(stream.getvalue(), np.uint8)


ENTRIES = {
    'cut off': lambda data: data[:-30], 'empty': lambda data: data[:0], 'zeros': np.zeros_like,
    'an array': lambda data: _array(data),
    'no archive': lambda data: data[10:], 'a value': lambda data: _npz(tensors=np.array(['a'])),
    'a shape': lambda data: _npz(tensors=np.array(['a']), votes=np.zeros([1, 7]), step=3),
    'the shape of the start': lambda data: _npz(
        tensors=np.array(['a']), votes=np.zeros([1, 256]), step=3, start=np.zeros([1, 7])),
    'NaN': lambda data: _npz(tensors=np.array(['a']), votes=np.full([1, 256], np.nan), step=3),
    'objects': lambda data: _npz(tensors=np.array([{}], object), votes=np.zeros([1, 256]), step=3),
    'a flipped bit': lambda data: np.concatenate([data[:200], data[200:201] ^ 4, data[201:]]),
}


@pytest.mark.parametrize('name', sorted(ENTRIES))
def test_damaged_positions(tmp_path, name):
    model = _quantized(tmp_path)
    path = str(tmp_path / 'weights.h5')
    model.save_weights(path)
    with h5py.File(path, 'a') as stream:
        data = stream[_H5_ENTRY][()]
        del stream[_H5_ENTRY]
        stream[_H5_ENTRY] = ENTRIES[name](data)
    model.set_weights([weights + 1 for weights in model.get_weights()])
    before = model.get_weights()
    with pytest.raises(QuantizeError) as raised:
        model.load_weights(path)
    assert raised.value.code == errors.INVALID_INPUT and path in str(raised.value)
    for weights, expected in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize('end', ['.h5', ''])
@pytest.mark.parametrize('size', [0, 100])
def test_files_that_are_cut_off(tmp_path, end, size):
    model = _quantized(tmp_path)
    path = str(tmp_path / ('weights' + end))
    model.save_weights(path)
    with open(path if end else path + '.index', 'r+b') as stream:
        stream.truncate(size)
    with pytest.raises(QuantizeError) as raised:
        model.load_weights(path)
    assert raised.value.code == errors.INVALID_INPUT and path in str(raised.value)


def test_weights_of_another_model(tmp_path):
    model = _quantized(tmp_path)
    inputs = keras.Input([7])
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save_weights(str(tmp_path / 'other.h5'))
    for name in ('other.h5', 'nowhere.h5'):
        with pytest.raises(QuantizeError, match=name):
            model.load_weights(str(tmp_path / name))
    assert backend.get_session() is not None
