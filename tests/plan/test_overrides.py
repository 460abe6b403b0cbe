"""nodes_bit and nodes_method: which tensor an entry means."""
import pytest
import tensorflow as tf
from tensorflow import keras

from tests.plan.networks import image, plan_of

layers = tf.compat.v1.layers


def _network():
    x = layers.conv2d(image(), 4, 3, name='conv1', activation=tf.nn.relu)
    layers.conv2d(keras.layers.DepthwiseConv2D(3, name='dw')(x), 4, 3, name='conv2')
    return 'conv2/BiasAdd'


def _changed(attribute, default, **fields):
    plan = plan_of(_network(), **fields)
    return {tensor.name: getattr(tensor, attribute) for tensor in plan.tensors if getattr(tensor, attribute) != default}


@pytest.mark.parametrize('name, tensor', [
    ('conv1/Conv2D', 'conv1/kernel/read/wquant'), ('conv1/kernel', 'conv1/kernel/read/wquant'),
    ('conv1/kernel/read', 'conv1/kernel/read/wquant'), ('conv1/bias', 'conv1/bias/read/wquant'),
    ('dw/depthwise', 'dw/depthwise/ReadVariableOp/wquant'),
    ('dw/depthwise_kernel', 'dw/depthwise/ReadVariableOp/wquant'),
    ('conv1/Relu', 'conv1/Relu/aquant'), ('x', 'x/aquant')])
def test_names_that_mean_a_tensor(name, tensor):
    assert _changed('bits', 8, nodes_bit=[name + ':4']) == {tensor: 4}


def test_example_of_the_user_guide():
    assert _changed('bits', 8, nodes_bit=['conv1/Relu:16', 'conv1/kernel/read:5', 'conv1/Conv2D:16']) == {
        'conv1/Relu/aquant': 16, 'conv1/kernel/read/wquant': 5}


def test_of_equal_names_the_first_counts():
    assert _changed('bits', 8, nodes_bit=['x:4', 'x:5']) == {'x/aquant': 4}


def test_methods():
    assert _changed('method', 1, nodes_method=['x:1', 'conv1/Conv2D:0', 'dw/depthwise:2', 'conv2/Conv2D:2']) == {
        'conv1/kernel/read/wquant': 0, 'dw/depthwise/ReadVariableOp/wquant': 2}


def test_folded_batch_norm_is_named_by_its_convolution_or_its_new_names():
    y = layers.batch_normalization(layers.conv2d(image(), 4, 3, name='conv'), training=True, name='bn')
    for entry, tensor in (('conv/Conv2D:4', 'conv/BatchNorm_Fold/mul_1/wquant'),
                          ('conv/kernel:4', 'conv/BatchNorm_Fold/mul_1/wquant'),
                          ('conv/BatchNorm_Fold/add_1:4', 'conv/BatchNorm_Fold/add_1/wquant'),
                          ('bn/FusedBatchNormV3:4', 'conv/biasadd_fold/aquant'),
                          ('conv/biasadd_fold:4', 'conv/biasadd_fold/aquant')):
        plan = plan_of(y.op.name, nodes_bit=[entry])
        assert {record.name: record.bits for record in plan.tensors if record.bits != 8} == {tensor: 4}


def test_unknown_names_are_warned_about(caplog):
    tf.compat.v1.logging.set_verbosity('WARN')
    assert _changed('bits', 8, nodes_bit=['nothing:4'], nodes_method=['nowhere:1'], ignore_nodes=['nobody']) == {}
    for name in ('nothing:4', 'nowhere:1', 'nobody'):
        assert name in caplog.text
