"""Functions of several ops in a training graph: swish, hard swish, clip, scaled averages, constant batch norms, conv1d."""
import numpy as np
import pytest
import tensorflow as tf

from tests.qat import networks
from vai_q_tf import CreateQuantizeDeployGraph, CreateQuantizeEvaluationGraph

layers = tf.compat.v1.layers


def _convolution(x, name):
    return layers.conv2d(x, 4, 3, padding='same', bias_initializer=tf.random_normal_initializer(), name=name)


def _activations(training):
    del training
    x = tf.nn.swish(_convolution(networks.image(), 'conv1'))
    x = _convolution(x, 'conv2')
    x = x * tf.nn.sigmoid(x, name='gate')
    x = _convolution(x, 'conv3')
    hard = tf.nn.relu6(x + 3.0) * (1 / 6.0)
    x = tf.multiply(x, tf.multiply(hard, 6 * 2731 / 2.0**14, name='hard_sigmoid'), name='hard_swish')
    return tf.clip_by_value(_convolution(x, 'conv4'), -0.5, 0.5, name='clip')


def _unscaled(training):
    """A hard swish without the factor of the hardware is one, too."""
    del training
    x = _convolution(networks.image(), 'conv1')
    x = tf.multiply(x, tf.nn.relu6(x + 3.0, name='six') * (1 / 6.0), name='hard_swish')
    return _convolution(x, 'conv2')


def _averages_and_constants(training):
    del training
    x = tf.nn.avg_pool2d(_convolution(networks.image(), 'conv1'), 3, 1, 'SAME', name='pool')
    x = tf.multiply(x, tf.constant([0.984375]), name='scaled')
    x = tf.get_variable('scale', [4]) * x
    x = tf.nn.relu(x + tf.get_variable('offset', [4]), name='relu')
    x = layers.conv1d(tf.reshape(x, [-1, 64, 4]), 3, 3, bias_initializer=tf.random_normal_initializer(), name='conv1d')
    return tf.nn.swish(x)


@pytest.mark.parametrize('build, quantized', [
    (_activations, ['x', 'conv1/BiasAdd', 'Sigmoid', 'mul', 'conv2/BiasAdd', 'gate', 'mul_1', 'conv3/BiasAdd',
                    'hard_sigmoid', 'hard_swish', 'conv4/BiasAdd', 'clip']),
    (_unscaled, ['x', 'conv1/BiasAdd', 'mul/vitis_hard_sigmoid_mul', 'hard_swish', 'conv2/BiasAdd']),
    (_averages_and_constants, ['x', 'conv1/BiasAdd', 'scaled', 'relu', 'Reshape', 'conv1d/conv1d/ExpandDims',
                               'conv1d/BiasAdd', 'conv1d/conv1d/Squeeze', 'Sigmoid', 'mul_1'])])
def test_training_evaluation_and_model_are_one_network(build, quantized, tmp_path):
    trained = networks.train(build, tmp_path)
    assert {record.tensor for record in trained.plan.tensors if record.mode == 1} == set(quantized)
    assert not trained.plan.skipped
    assert np.unique(trained.result).size > 4
    output = networks.quantized_name(trained.plan, trained.output)
    with tf.Graph().as_default():
        build(False)
        CreateQuantizeEvaluationGraph(trained.config)
        saver = tf.compat.v1.train.Saver()
        with tf.compat.v1.Session() as session:
            saver.restore(session, trained.checkpoint)
            np.testing.assert_array_equal(session.run(output + ':0', trained.feed), trained.result)
        _, model = CreateQuantizeDeployGraph(trained.checkpoint, trained.config)
    with tf.Graph().as_default() as graph:
        with open(model, 'rb') as file:
            tf.import_graph_def(tf.compat.v1.GraphDef.FromString(file.read()), name='')
        fix_neurons = {op.name for op in graph.get_operations() if op.type == 'FixNeuron'}
        assert fix_neurons == {record.name for record in trained.plan.tensors}
        with tf.compat.v1.Session() as session:
            np.testing.assert_array_equal(session.run(output + ':0', trained.feed), trained.result)
