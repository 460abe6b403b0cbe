"""The evaluation network next to the training network, with layers after the quantized range."""

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
from vai_q_tf import QuantizeConfig, QuantizeError, tf_internal
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
