"""Networks with calls of TensorFlow functions in training: the calls stay as they are, and so do their gradients."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.function import Defun

from tests.qat import networks
from vai_q_tf import CreateQuantizeDeployGraph, CreateQuantizeEvaluationGraph, errors
from vai_q_tf.frozen.load import load_graph
from vai_q_tf.qat.deploy import derive_evaluation_graph

layers = tf.compat.v1.layers


def _same_shape(op):
    return [op.inputs[0].shape]


@Defun(tf.float32, tf.float32, func_name='three_times')
def _three_times(x, gradient):
    return 3.0 * gradient


@Defun(tf.float32, func_name='step_up', grad_func=_three_times, shape_func=_same_shape)
def _step_up(x):
    return tf.floor(4.0 * x) / 4.0


@Defun(tf.float32, func_name='smooth', shape_func=_same_shape)
def _smooth(x):
    return x * tf.sigmoid(_step_up(x))


@Defun(tf.float32, func_name='drop', shape_func=_same_shape)
def _drop(x):
    return tf.nn.dropout(x, rate=0.5, seed=1)


def _network(training):
    x = layers.conv2d(networks.image(), 4, 3, use_bias=False, name='conv1')
    x = _smooth(tf.nn.relu(layers.batch_normalization(x, training=training)), name='smooth')
    return tf.reduce_mean(layers.conv2d(x, 4, 3, name='conv2'), [1, 2], name='mean')


def _captures(training):
    scale = tf.compat.v1.get_variable('scale', [4], use_resource=True)
    return tf.function(lambda x: x * scale)(layers.conv2d(networks.image(), 4, 3, name='conv1'))


def _drops(training):
    return layers.conv2d(_drop(layers.conv2d(networks.image(), 4, 3, name='conv1'), name='dropped'), 4, 3, name='conv2')


def test_training_evaluation_and_model_are_one_network(tmp_path):
    trained = networks.train(_network, tmp_path)
    assert {record.node: record.reason for record in trained.plan.skipped}['smooth'].startswith('it is a call of a TensorFlow')
    with tf.Graph().as_default():
        _network(False)
        CreateQuantizeEvaluationGraph(trained.config)
        _, model = CreateQuantizeDeployGraph(trained.checkpoint, trained.config)
    graph_def = load_graph(model)
    assert {function.signature.name for function in graph_def.library.function} == {'smooth', 'step_up', 'three_times'}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(graph_def, name='')
        result = session.run(networks.quantized_name(trained.plan, trained.output) + ':0', trained.feed)
    np.testing.assert_array_equal(result, trained.result)


def test_the_gradient_of_a_function_stays(tmp_path):
    """Without it the first layer would not train: the derivative of what is rounded down is zero."""
    def build(training):
        return tf.reduce_mean(_step_up(layers.conv2d(networks.image(), 4, 3, name='conv1'), name='up'), [1, 2], name='mean')

    before, after = (networks.train(build, tmp_path, steps=steps).parameters['conv1/kernel'] for steps in (0, 2))
    assert np.abs(after - before).max() > 1e-4


def test_a_variable_that_a_function_takes_is_an_error(tmp_path):
    with pytest.raises(errors.QuantizeError, match=r"\(StatefulPartitionedCall\) takes the variable 'scale' itself") as raised:
        networks.train(_captures, tmp_path)
    assert raised.value.code == errors.UNSUPPORTED_GRAPH


def test_a_dropout_in_a_function_is_not_taken_to_evaluation(tmp_path):
    trained = networks.train(_drops, tmp_path)
    with tf.Graph().as_default() as graph:
        tf.compat.v1.train.import_meta_graph(trained.checkpoint + '.meta')
        with pytest.raises(errors.QuantizeError, match=r"the function 'drop' has an op \(RandomUniform\) that is random"):
            derive_evaluation_graph(graph, trained.config)
