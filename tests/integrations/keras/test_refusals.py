"""tf.keras models that cannot be trained are refused before the first step."""
import os
import subprocess
import sys

import pytest
import tensorflow as tf
from tensorflow import keras

from tests.integrations.keras.training import (  # noqa: F401  (a fixture among them)
    backend,
    build,
    compile_,
    config_of,
    fit,
    layers,
    session_of_its_own,
    start,
    v1,
)
from vai_q_tf import QuantizeConfig, QuantizeError, errors
from vai_q_tf.integrations.keras.callback import QuantizeCallback
from vai_q_tf.integrations.keras.model import quantize_keras_model


def refusal(model, directory, **options):
    with pytest.raises(QuantizeError) as error:
        quantize_keras_model(model, config_of(model, directory, **options))
    return error.value


@pytest.mark.parametrize('layer', [layers.BatchNormalization(), layers.Dropout(0.3)], ids=['norm', 'dropout'])
def test_an_open_learning_phase_is_refused(tmp_path, layer):
    start(None)
    model = keras.Sequential([layers.Conv2D(4, 3, input_shape=(8, 8, 3)), layer, layers.Flatten(), layers.Dense(4)])
    operations = len(v1.get_default_graph().get_operations())
    error = refusal(model, tmp_path)
    assert error.code == 'Quantize_TF1_Learning_Phase'
    assert 'keras_learning_phase' in error.detail and 'set_learning_phase(1)' in error.detail
    assert len(v1.get_default_graph().get_operations()) == operations
    backend.set_learning_phase(1)  # too late for a model that is built
    assert refusal(model, tmp_path).code == 'Quantize_TF1_Learning_Phase'


def test_trained_quantized_and_other_models_are_refused(tmp_path):
    model = build()
    compile_(model)
    fit(model, epochs=1)
    error = refusal(model, tmp_path)
    assert error.code == 'Quantize_TF1_Graph_Has_Gradients' and 'clear_session' in error.detail

    start(1)
    model = build()
    callback = QuantizeCallback(model, config_of(model, tmp_path))
    assert refusal(model, tmp_path).code == 'Quantize_TF1_Already_Quantized'
    other = keras.Sequential([layers.Flatten(input_shape=(8, 8, 3)), layers.Dense(4)])
    compile_(other)
    with pytest.raises(QuantizeError, match='another object'):
        fit(other, callbacks=[callback])

    with tf.Graph().as_default():
        assert 'not in the default graph' in refusal(model.layers[0] and keras_model_of(model), tmp_path).detail


def keras_model_of(model):
    return keras.Model(model.inputs, model.get_layer('dense').output)


def test_subclassed_models_are_refused(tmp_path):
    class Subclass(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return inputs

    with pytest.raises(QuantizeError, match='subclass'):
        quantize_keras_model(Subclass(), QuantizeConfig(['a'], ['b'], output_dir=str(tmp_path)))
    with pytest.raises(TypeError, match='tf.keras.Model'):
        quantize_keras_model('model', QuantizeConfig(['a'], ['b'], output_dir=str(tmp_path)))


def test_eager_execution_is_refused(tmp_path):
    script = ('import tensorflow as tf\n'
              'tf.compat.v1.enable_eager_execution()\n'
              'from vai_q_tf import QuantizeConfig\n'
              'from vai_q_tf.integrations.keras.model import quantize_keras_model\n'
              'model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])\n'
              'quantize_keras_model(model, QuantizeConfig(["a"], ["b"]))')
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..', '..'))
    process = subprocess.run([sys.executable, '-c', script], cwd=str(tmp_path), env=dict(os.environ, PYTHONPATH=root),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert 'disable_eager_execution' in process.stderr


def test_a_distribution_strategy_is_refused_by_name(tmp_path):
    with tf.distribute.MirroredStrategy(['/cpu:0']).scope():
        model = build()
        compile_(model)
    error = refusal(model, tmp_path)
    assert error.code == errors.UNSUPPORTED_GRAPH
    assert 'was built under MirroredStrategy' in error.detail


@pytest.mark.parametrize('fault', ['output_dir', 'evaluation'])
def test_a_model_whose_quantization_fails_stays_float(tmp_path, monkeypatch, fault):
    """Only a global step may be new, which the next call finds."""
    def fail(*_):
        raise QuantizeError(errors.UNSUPPORTED_GRAPH, 'Fault', 'Some fault.')

    model = build()
    before = v1.get_default_graph().as_graph_def()
    outputs = model.outputs
    with monkeypatch.context() as patched:
        if fault == 'evaluation':
            patched.setattr('vai_q_tf.qat.deploy.check_any_batch', fail)
        else:
            (tmp_path / 'taken').write_text('a file')
        refusal(model, tmp_path / ('taken' if fault == 'output_dir' else 'out'))
    after = v1.get_default_graph().as_graph_def()
    assert [node for node in after.node if not node.name.startswith('global_step')] == list(before.node)
    assert model.outputs is outputs and type(model) is keras.Model
    quantize_keras_model(model, config_of(model, tmp_path / 'out'))
    compile_(model)
    fit(model, epochs=1)
