"""tf.keras: what cannot be trained is refused before the first step; sessions that ran before see the rewrite."""
import contextlib
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from tests.combinations import each_value_once
from tests.integrations.keras.training import (  # noqa: F401  (a fixture among them)
    IMAGES,
    backend,
    build,
    compile_,
    config_of,
    fit,
    float_weights,
    layers,
    loss_function,
    session_of_its_own,
    start,
    v1,
)
from vai_q_tf import CreateQuantizeEvaluationGraph, CreateQuantizeTrainingGraph, QuantizeConfig, QuantizeError, ops
from vai_q_tf.integrations.keras.callback import QuantizeCallback
from vai_q_tf.integrations.keras.model import quantize_keras_model
from vai_q_tf.qat import graph_record
from vai_q_tf.qat.positions import position_saveable


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


@pytest.mark.parametrize('way, default', each_value_once(['training', 'model', 'evaluation'], [False, True]))
def test_a_session_that_ran_the_float_network_runs_the_rewritten_one(tmp_path, way, default):
    """A session does not see changes of ops that it has; sessions of Keras come about when weights are loaded."""
    weights = float_weights(tmp_path)

    def rewrite_graph(model):
        if way == 'model':
            quantize_keras_model(model, config_of(model, tmp_path))
        else:
            {'training': CreateQuantizeTrainingGraph, 'evaluation': CreateQuantizeEvaluationGraph}[way](
                config_of(model, tmp_path))

    def read(session):
        graph = session.graph
        plan = graph_record.evaluation_plan(graph) if way == 'evaluation' else graph_record.training_plan(graph)
        for name in [tensor.name for tensor in plan.tensors]:
            votes.setdefault(name, np.eye(1, 256, 133, np.float32)[0])
        handle = graph.get_tensor_by_name(position_saveable.STATE_NAME + ':0')
        session.run(ops.write_positions(handle, np.stack(list(votes.values())), len(votes)))
        return session.run(graph.get_operation_by_name('dense/BiasAdd').inputs[0], {'images:0': IMAGES[:4]})

    votes = {}
    start(0)
    model = build()
    rewrite_graph(model)
    model.load_weights(weights)
    expected = read(backend.get_session())

    start(0)
    session = v1.Session()
    with session.as_default() if default else contextlib.ExitStack():
        backend.set_session(session)
        model = build()
        model.load_weights(weights)
        float_result = session.run('dense/BiasAdd:0', {'images:0': IMAGES[:4]})
        rewrite_graph(model)
        assert backend.get_session() is session
        np.testing.assert_array_equal(read(session), expected)
    assert np.abs(expected - float_result).max() > 1e-4
    session.close()


def test_weights_with_an_optimizer_are_loaded_before_the_model_is_quantized(tmp_path):
    model = build()
    model.compile('adam', loss_function())
    fit(model, epochs=1)
    model.save_weights(str(tmp_path / 'weights'))
    iterations = backend.get_value(model.optimizer.iterations)
    start(1)
    model = build()
    model.load_weights(str(tmp_path / 'weights'))
    quantize_keras_model(model, config_of(model, tmp_path))
    model.compile('adam', loss_function())
    fit(model, epochs=1)
    assert backend.get_value(model.optimizer.iterations) == 2 * iterations == 8


def test_what_cannot_be_trained_is_refused(tmp_path):
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


def test_random_layers_behind_the_range_are_refused(tmp_path):
    model = build()
    head = keras.Model(model.inputs, layers.Dense(4, name='head')(layers.Dropout(0.5)(model.output)))
    with pytest.raises(QuantizeError, match='Cannot derive.*random'):
        quantize_keras_model(head, QuantizeConfig(['images'], ['dense/BiasAdd'], output_dir=str(tmp_path)))


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
