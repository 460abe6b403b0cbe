"""The evaluation network next to the training network, with layers after the quantized range."""
import glob

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from tests.integrations.keras.training import (  # noqa: F401  (a fixture among them)
    IMAGES,
    backend,
    build,
    compile_,
    fit,
    layers,
    session_of_its_own,
    v1,
)
from tests.support import read_graph
from vai_q_tf import QuantizeConfig, QuantizeError, tf_internal
from vai_q_tf.integrations.keras.callback import QuantizeCallback
from vai_q_tf.integrations.keras.inference_copy import copy_dependents
from vai_q_tf.integrations.keras.model import quantize_keras_model


def test_a_float_head_after_the_range_is_copied(tmp_path):
    model = build()
    head = keras.Model(model.inputs, layers.Dense(4, name='head')(layers.ReLU()(model.output)))
    quantize_keras_model(head, QuantizeConfig(['images'], ['dense/BiasAdd'], output_dir=str(tmp_path)))
    compile_(head)
    fit(head)
    graph = v1.get_default_graph()
    features, kernel, bias, predicted = backend.get_session().run(
        [graph.get_tensor_by_name('vai_q_tf/inference/dense/BiasAdd/aquant:0')] + head.layers[-1].weights
        + [head._evaluation_outputs[0]], {head.input: IMAGES})
    np.testing.assert_allclose(predicted, np.maximum(features, 0) @ kernel + bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(head.predict(IMAGES), predicted, rtol=1e-6)


def test_random_layers_after_the_range_are_refused(tmp_path):
    model = build()
    head = keras.Model(model.inputs, layers.Dense(4, name='head')(layers.Dropout(0.5)(model.output)))
    with pytest.raises(QuantizeError, match='Cannot derive.*random'):
        quantize_keras_model(head, QuantizeConfig(['images'], ['dense/BiasAdd'], output_dir=str(tmp_path)))


def test_copies_read_the_given_tensors():
    """Also a replaced one whose op is copied for the sake of a control dependency."""
    first, second, other = (tf.constant(value, name=name) for value, name in ((1., 'first'), (10., 'new'), (100., 'newer')))
    summed = tf.add(first, 1., name='summed')
    product = tf.multiply(summed, 2., name='product')
    tf_internal.add_control_inputs(product.op, [summed.op])  # TensorFlow itself leaves out such a dependency
    apart = tf.identity(other)
    graph = tf.compat.v1.get_default_graph()
    copies = copy_dependents(graph, [(first, second), (summed, other)], [product, apart, first])
    assert copies[1] is apart and copies[2] is second
    assert [op.name for op in copies[0].op.control_inputs] == ['vai_q_tf/inference/summed']
    with tf.compat.v1.Session() as session:
        assert session.run(copies[0]) == 200.
        assert session.run('vai_q_tf/inference/summed:0') == 11.


def test_two_branches_with_one_position_train_and_predict(tmp_path):
    """The position of the last branch waits for a vote by a control input, which the evaluation network needs as well."""
    inputs = keras.Input([8, 8, 3], name='images')
    first = layers.Conv2D(4, 3, strides=2, padding='same', name='first')(inputs)
    second = layers.Conv2DTranspose(4, 2, strides=2, name='second')(first)
    joined = layers.Concatenate(name='joined')([second, layers.Conv2D(4, 3, padding='same', name='third')(inputs)])
    model = keras.Model(inputs, layers.Dense(4, name='dense')(layers.Flatten(name='flatten')(joined)))
    callback = QuantizeCallback(model, QuantizeConfig(['images'], ['dense/BiasAdd'], output_dir=str(tmp_path)))
    compile_(model)
    fit(model, epochs=1, callbacks=[callback])
    predicted = model.predict(IMAGES)
    (frozen,) = glob.glob(str(tmp_path / 'quantize_eval_model_*.pb'))
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(read_graph(frozen), name='')
        np.testing.assert_array_equal(session.run('dense/BiasAdd/aquant:0', {'images:0': IMAGES}), predicted)
