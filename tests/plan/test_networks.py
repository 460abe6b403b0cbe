"""Well-known networks: the training and the inference form have one plan, in which every batch norm is folded."""
import pytest
import tensorflow as tf
from tensorflow import keras
from tensorflow.contrib import slim
from tensorflow.contrib.slim.python.slim.nets import inception, resnet_v1, vgg

from tests.plan.networks import decisions, image, plan_of

_SIZE = 224


def _slim(network, arg_scope):
    def build(training):
        with slim.arg_scope(arg_scope()):
            return network(image(size=_SIZE), 10, is_training=training)[0]
    return build


def _keras(network):
    def build(training):
        keras.backend.set_learning_phase(int(training))
        return network(weights=None, input_tensor=keras.Input((_SIZE, _SIZE, 3), name='x'), classes=10).output
    return build


def _separable(weights, input_tensor, classes):
    """The beginning and the end of a MobileNetV2."""
    del weights
    x = input_tensor
    for number, (depthwise, filters, kernel) in enumerate([(0, 8, 3), (1, 8, 3), (0, 4, 1), (0, 16, 1), (1, 16, 3)]):
        layer = keras.layers.DepthwiseConv2D(kernel, padding='same', use_bias=False) if depthwise else keras.layers.Conv2D(
            filters, kernel, padding='same', use_bias=False)
        x = keras.layers.BatchNormalization()(layer(x))
        x = x if number == 2 else keras.layers.ReLU(6.)(x)
    x = keras.layers.Dense(classes, activation='softmax')(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(input_tensor, x)


def _two_blocks(images, classes, is_training):
    blocks = [resnet_v1.resnet_v1_block('block{}'.format(number), 8, 2, 2) for number in range(2)]
    return resnet_v1.resnet_v1(images, blocks, classes, is_training)


@pytest.mark.parametrize('build, groups', [
    (_slim(_two_blocks, resnet_v1.resnet_arg_scope), 15),
    pytest.param(_slim(resnet_v1.resnet_v1_50, resnet_v1.resnet_arg_scope), 54, marks=pytest.mark.slow),
    pytest.param(_slim(inception.inception_v3, inception.inception_v3_arg_scope), 95, marks=pytest.mark.slow),
    (_slim(vgg.vgg_16, vgg.vgg_arg_scope), 16),
    pytest.param(_keras(keras.applications.MobileNetV2), 53, marks=pytest.mark.slow),
    (_keras(_separable), 6)], ids=['two blocks of a resnet', 'resnet', 'inception', 'vgg', 'mobilenet', 'separable'])
def test_training_and_inference_form(build, groups):
    plans = []
    for training in (True, False):
        with tf.Graph().as_default():
            plans.append(plan_of(build(training).op.name))
    training, inference = plans
    assert decisions(training) == decisions(inference)
    for plan in plans:
        assert len(plan.groups) == groups and all(group.bias for group in plan.groups)
        assert len({tensor.name for tensor in plan.tensors}) == len(plan.tensors)
        known = {tensor.name for tensor in plan.tensors}
        assert all(set(group[1:4]) - {''} <= known and group.input and group.output for group in plan.groups)
        readers = [reader for tensor in plan.tensors for reader in tensor.consumers]
        assert len(set(readers)) == len(readers)
        assert {record.op for record in plan.skipped} <= {'Softmax'}
