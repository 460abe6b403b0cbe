"""Activation functions are quantized together with the preceding op, which is quantized only for its other readers."""
import pytest
import tensorflow as tf
from tensorflow import keras

from tests.plan.networks import by_name, image, plan_as_written, plan_of

layers = tf.compat.v1.layers


def _names(plan):
    return [tensor.name for tensor in plan.tensors]


def test_preactivation_with_two_readers_is_quantized_for_both():
    x = layers.conv2d(image(), 4, 3, name='conv')
    y = tf.nn.relu(tf.identity(x, name='copy'), name='relu')
    tf.concat([y, tf.identity(x, name='other')], -1, name='out')
    tensors = by_name(plan_of('out'))
    assert tensors['conv/BiasAdd/aquant'].consumers == (('relu', 0), ('out', 1))
    assert tensors['relu/aquant'].consumers == (('out', 0),)
    assert 'out/aquant' in tensors


def test_preactivation_that_is_an_output():
    tf.nn.relu(layers.conv2d(image(), 4, 3, name='conv'), name='relu')
    tensors = by_name(plan_of(['conv/BiasAdd', 'relu']))
    assert tensors['conv/BiasAdd/aquant'].consumers == (('relu', 0),)
    assert 'relu/aquant' in tensors


def _leaky_op(x):
    return tf.nn.leaky_relu(x, 0.1, name='leaky')


def _leaky_maximum(x):
    return tf.maximum(tf.multiply(tf.constant(0.1, name='alpha'), x), x, name='leaky')


def _leaky_maximum_swapped(x):
    return tf.maximum(x, tf.multiply(x, tf.constant(0.1, name='alpha')), name='leaky')


def _leaky_difference(x):
    return tf.subtract(tf.nn.relu(x), tf.constant(0.1, name='alpha') * tf.nn.relu(-x), name='leaky')


LEAKY = [_leaky_op, _leaky_maximum, _leaky_maximum_swapped, _leaky_difference]


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('leaky', LEAKY)
def test_leaky_relu_after_a_convolution(leaky, bias):
    leaky(layers.conv2d(image(), 4, 3, use_bias=bias, name='conv'))
    plan = plan_as_written('leaky')
    expected = {'x/aquant', 'conv/kernel/wquant', 'leaky/aquant'}
    expected |= {'conv/bias/wquant'} if bias else set()
    expected |= {'alpha/wquant'} if leaky is not _leaky_op else set()
    assert set(_names(plan)) == expected
    assert plan.groups[0].output == 'leaky/aquant'
    assert not plan.skipped
    if leaky is not _leaky_op:
        alpha = by_name(plan)['alpha/wquant']
        (node, index), = alpha.consumers
        graph = tf.compat.v1.get_default_graph()
        assert (alpha.role, alpha.mode) == ('constant', 0)
        assert graph.get_operation_by_name(node).inputs[index].op.name == 'alpha'
    # The passes write all of them as the op.
    plan = plan_of('leaky')
    assert set(_names(plan)) == expected - {'alpha/wquant'} and plan.groups[0].output == 'leaky/aquant'


@pytest.mark.parametrize('leaky', LEAKY)
def test_leaky_relu_alone(leaky):
    leaky(layers.max_pooling2d(image(), 2, 2, name='pool'))
    plan = plan_as_written('leaky')
    assert set(_names(plan)) - {'alpha/wquant'} == {'x/aquant', 'pool/MaxPool/aquant', 'leaky/aquant'}
    readers = {node for node, _ in by_name(plan)['pool/MaxPool/aquant'].consumers}
    assert len(readers) == (1 if leaky is _leaky_op else 2)
    assert set(_names(plan_of('leaky'))) == {'x/aquant', 'pool/MaxPool/aquant', 'leaky/aquant'}


@pytest.mark.parametrize('leaky', LEAKY[1:])
def test_a_slope_for_each_channel_is_no_leaky_relu(leaky, monkeypatch):
    constant = tf.constant
    monkeypatch.setattr(tf, 'constant', lambda value, name: constant([0.1, 0.2, 0.3], name=name))
    leaky(layers.max_pooling2d(image(), 2, 2, name='pool'))
    plan = plan_as_written('leaky')
    assert 'alpha/wquant' not in _names(plan) and 'alpha/aquant' in _names(plan)


def test_maximum_of_another_tensor_is_no_leaky_relu():
    x, y = image(), image(name='y')
    tf.maximum(x * 0.1, y, name='out')
    names = _names(plan_of('out', ('x', 'y')))
    assert 'mul/aquant' in names and 'mul/y/aquant' in names and 'out/aquant' in names


def test_two_functions_of_one_result():
    x = layers.conv2d(image(), 4, 3, name='conv')
    tf.concat([tf.nn.relu(x, name='first'), tf.nn.relu6(x, name='second')], -1, name='out')
    tensors = by_name(plan_of('out'))
    assert tensors['conv/BiasAdd/aquant'].consumers == (('first', 0), ('second', 0))
    assert {'first/aquant', 'second/aquant', 'out/aquant'} <= set(tensors)


@pytest.mark.parametrize('activation, mode', [(tf.nn.relu, 2), (None, 2), (_leaky_maximum, 2), (_leaky_op, 0)])
def test_depthwise_weights(activation, mode):
    x = keras.layers.DepthwiseConv2D(3, name='dw')(image())
    x = activation(x) if activation else x
    plan = plan_as_written(x.op.name)
    weight = by_name(plan)['dw/depthwise_kernel/wquant']
    assert (weight.role, weight.mode, weight.consumers) == ('weight', mode, (('dw/depthwise', 1),))
    assert by_name(plan)['dw/bias/wquant'].mode == 0
