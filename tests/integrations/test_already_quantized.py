"""Every way to train refuses a network that another tool quantized, before anything changes."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from tensorflow.contrib import quantize as contrib_quantize
from tensorflow.contrib import slim

from tests.integrations import ways
from vai_q_tf import (
    CreateQuantizeEvaluationGraph,
    CreateQuantizeTrainingGraph,
    QuantizeOptimizer,
    QuantizeTrainingHook,
    quantize_estimator,
    quantize_model_fn,
    slim_training_arguments,
)
from vai_q_tf.errors import ALREADY_QUANTIZED, QuantizeError
from vai_q_tf.integrations.keras.model import quantize_keras_model
from vai_q_tf.integrations.metagraph import quantize_meta_graph

v1 = tf.compat.v1


def _fake_quant(value):
    return tf.quantization.fake_quant_with_min_max_args(value, -4, 4)


def _eight_bits(value):
    """With the gradient of its input, because the op has none."""
    quantized = tf.quantization.quantize(value, -4., 4., tf.quint8)
    rounded = tf.quantization.dequantize(quantized.output, quantized.output_min, quantized.output_max)
    return value + tf.stop_gradient(rounded - value)


def _network(images, rounded):
    net = tf.identity(images, name='net_in')
    net = slim.conv2d(net, 6, 3, normalizer_fn=slim.batch_norm, normalizer_params={'is_training': True}, scope='conv')
    net = rounded(net)
    return v1.layers.dense(tf.reduce_mean(net, [1, 2], name='pool'), 4, name='logits')


def _rewritten(images):
    logits = _network(images, tf.identity)
    contrib_quantize.create_training_graph(v1.get_default_graph(), quant_delay=0)
    return logits


QUANTIZED = {'FakeQuant': lambda images: _network(images, _fake_quant), 'contrib.quantize': _rewritten,
             'QuantizeV2': lambda images: _network(images, _eight_bits)}
TYPES = {'FakeQuant': 'FakeQuantWithMinMaxArgs', 'contrib.quantize': 'FakeQuantWithMinMaxVars', 'QuantizeV2': 'QuantizeV2'}


def _build(quantized):
    """The loss of the network in the default graph."""
    images, labels = ways.placeholders()
    v1.train.get_or_create_global_step()
    return ways.cross_entropy(labels, QUANTIZED[quantized](images))


def _in_graph(act):
    def way(quantized, place):
        with tf.Graph().as_default() as graph:
            loss = _build(quantized)
            before = graph.as_graph_def().SerializeToString(deterministic=True)
            try:
                act(loss, ways.config(place))
            finally:
                assert graph.as_graph_def().SerializeToString(deterministic=True) == before
    return way


def _hook(loss, config):
    QuantizeTrainingHook(config).begin()


def _optimizer(loss, config):
    QuantizeOptimizer(v1.train.MomentumOptimizer(0.01, 0.9), config).minimize(loss)


def _in_estimator(wrap):
    def way(quantized, place):
        def model_fn(features, labels, mode):
            logits = QUANTIZED[quantized](features)
            train = v1.train.MomentumOptimizer(0.01, 0.9)
            loss = ways.cross_entropy(labels, logits)
            return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train.minimize(loss, v1.train.get_global_step()))

        data = ways.batch(0)
        wrap(model_fn, ways.config(place), str(place / 'run')).train(
            lambda: tf.data.Dataset.from_tensors(data).repeat(), max_steps=2)
    return way


def _estimator(model_fn, config, directory):
    return quantize_estimator(tf.estimator.Estimator(model_fn, directory), config)


def _model_fn(model_fn, config, directory):
    return tf.estimator.Estimator(quantize_model_fn(model_fn, config), directory)


def _meta_graph(mode):
    def way(quantized, place):
        with tf.Graph().as_default():
            _build(quantized)
            meta_graph = v1.train.export_meta_graph()
        quantize_meta_graph(mode, meta_graph, '', ways.config(place))
    return way


WAYS = {
    'training graph': _in_graph(lambda loss, config: CreateQuantizeTrainingGraph(config)),
    'evaluation graph': _in_graph(lambda loss, config: CreateQuantizeEvaluationGraph(config)),
    'hook': _in_graph(_hook), 'optimizer': _in_graph(_optimizer),
    'slim': _in_graph(lambda loss, config: slim_training_arguments(config)),
    'estimator': _in_estimator(_estimator), 'model_fn': _in_estimator(_model_fn),
    'meta graph': _meta_graph('train'), 'meta graph for evaluation': _meta_graph('eval')}


@pytest.mark.parametrize('quantized', sorted(QUANTIZED))
@pytest.mark.parametrize('way', sorted(WAYS))
def test_it_is_refused(tmp_path, way, quantized):
    with pytest.raises(QuantizeError) as caught:
        WAYS[way](quantized, tmp_path)
    assert caught.value.code == ALREADY_QUANTIZED
    assert TYPES[quantized] in str(caught.value) and 'start from the float graph' in str(caught.value)
    assert not list(tmp_path.glob('**/quantize_train*')) and not list(tmp_path.glob('**/quantize_eval*'))


@pytest.mark.parametrize('quantized, rounded', [('FakeQuant', _fake_quant), ('QuantizeV2', _eight_bits)])
def test_a_keras_model_is_refused_and_goes_on_as_it_was(tmp_path, quantized, rounded):
    keras.backend.clear_session()
    keras.backend.set_learning_phase(1)
    inputs = keras.Input([8, 8, 2], name='net_in')
    outputs = keras.layers.Dense(3, name='logits')(keras.layers.Flatten()(keras.layers.Lambda(rounded)(
        keras.layers.Conv2D(4, 3, name='conv')(inputs))))
    model = keras.Model(inputs, outputs)
    images = np.ones([2, 8, 8, 2], np.float32)
    before = model.predict(images)
    with pytest.raises(QuantizeError) as caught:
        quantize_keras_model(model, ways.config(tmp_path).replace(
            input_nodes=[model.input.op.name], output_nodes=[model.output.op.name]))
    assert caught.value.code == ALREADY_QUANTIZED and TYPES[quantized] in str(caught.value)
    assert type(model) is keras.Model
    np.testing.assert_array_equal(model.predict(images), before)
    keras.backend.clear_session()
