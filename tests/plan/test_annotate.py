"""Plans of whole networks, against the rules of the Vitis AI quantizer, written out by hand."""
import pytest
import tensorflow as tf
from tensorflow import keras

from tests.plan.networks import (
    LIBRARIES,
    activations,
    batch_norm,
    by_name,
    convolution,
    decisions,
    dense,
    image,
    plan_of,
    plan_of_frozen,
    rows,
    tensor_names,
)
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.errors import QuantizeError
from vai_q_tf.graph.traits import trait
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate

layers = tf.compat.v1.layers


def test_convolution_bias_relu_dense():
    x = layers.conv2d(image(), 4, 3, activation=tf.nn.relu, name='conv')
    x = layers.max_pooling2d(x, 2, 2, name='pool')
    x = layers.dense(layers.flatten(x, name='flatten'), 5, name='fc')
    tf.nn.softmax(x, name='out')
    plan = plan_of('out', weight_bit=7, activation_bit=9, method=2)
    assert rows(plan) == [
        ('x/aquant', 'input', 1, (('conv/Conv2D', 0),)),
        ('conv/kernel/wquant', 'weight', 0, (('conv/Conv2D', 1),)),
        ('conv/bias/wquant', 'bias', 0, (('conv/BiasAdd', 1),)),
        ('conv/Relu/aquant', 'activation', 1, (('pool/MaxPool', 0),)),
        ('pool/MaxPool/aquant', 'activation', 1, (('flatten/Shape', 0), ('flatten/Reshape', 0))),
        ('flatten/Reshape/aquant', 'activation', 1, (('fc/MatMul', 0),)),
        ('fc/kernel/wquant', 'weight', 0, (('fc/MatMul', 1),)),
        ('fc/bias/wquant', 'bias', 0, (('fc/BiasAdd', 1),)),
        ('fc/BiasAdd/aquant', 'activation', 1, (('out', 0),))]
    assert [tuple(group) for group in plan.groups] == [
        ('conv/Conv2D', 'x/aquant', 'conv/kernel/wquant', 'conv/bias/wquant', 'conv/Relu/aquant', 27),
        ('fc/MatMul', 'flatten/Reshape/aquant', 'fc/kernel/wquant', 'fc/bias/wquant', 'fc/BiasAdd/aquant', 36)]
    assert [tuple(alignment) for alignment in plan.alignments] == [
        ('pool', 'pool/MaxPool', 'pool/MaxPool/aquant', ('conv/Relu/aquant',), False),
        ('move', 'flatten/Reshape', 'flatten/Reshape/aquant', ('pool/MaxPool/aquant',), False)]
    assert [(record.node, record.op) for record in plan.skipped] == [('out', 'Softmax')]
    assert plan.skipped[0].reason == trait('Softmax').reason
    assert {(tensor.role, tensor.bits, tensor.method) for tensor in plan.tensors} == {
        ('input', 9, 0), ('weight', 7, 2), ('bias', 7, 2), ('activation', 9, 2)}
    assert {(tensor.role, tensor.bits) for tensor in plan_of('out', weight_bit=4, bias_bit=8).tensors} == {
        ('input', 8), ('weight', 4), ('bias', 8), ('activation', 8)}
    single = plan_of('out', bias_bit=8, nodes_bit=['fc/bias:6'])
    assert [tensor.bits for tensor in single.tensors if tensor.role == 'bias'] == [8, 6]
    assert all(name in plan.nodes for name in ('x', 'conv/kernel', 'conv/Conv2D', 'out'))


def test_readers_outside_the_range_read_the_quantized_tensor_and_regularisers_the_float_weights():
    x = layers.conv2d(image(), 4, 3, name='conv', kernel_regularizer=tf.nn.l2_loss)
    tf.compat.v1.summary.histogram('logits', tf.identity(x, 'copy'))
    tf.reduce_mean(tf.square(x, name='square'), name='loss')
    view = GraphView(tf.compat.v1.get_default_graph().as_graph_def(add_shapes=True))
    tensors = {tensor.tensor: tensor.consumers for tensor in annotate(view, QuantizeConfig(['x'], ['conv/BiasAdd'])).tensors}
    assert tensors['conv/BiasAdd'] == (('copy', 0), ('square', 0))
    assert tensors['conv/kernel/read'] == (('conv/Conv2D', 1),)


def test_keras_variables_are_named_as_in_a_frozen_graph():
    x = keras.layers.Conv2D(4, 3, activation='relu', name='conv')(keras.Input((8, 8, 3), name='x'))
    assert tensor_names(plan_of(x.op.name)) == [
        'x/aquant', 'conv/kernel/wquant', 'conv/bias/wquant', 'conv/Relu/aquant']


def test_a_network_of_another_type_has_nothing_to_quantize():
    layers.dense(tf.cast(tf.compat.v1.placeholder(tf.float32, [None, 4], name='x'), tf.float16), 3, name='fc')
    with pytest.raises(QuantizeError, match="'fc/MatMul' stays float, because its type is float16; only float32 is quantized"):
        plan_of('fc/BiasAdd')


@pytest.mark.parametrize('library', LIBRARIES)
def test_a_frozen_graph_has_the_same_plan(library):
    x = tf.nn.relu(batch_norm(library, convolution(library, image()), False, True))
    x = dense(library, tf.reduce_mean(tf.nn.leaky_relu(convolution(library, x)), [1, 2]))
    live = plan_of(x.op.name)
    frozen = plan_of_frozen(x.op.name, simulate_dpu=0)
    assert decisions(live) == decisions(frozen)
    variables = {variable.op.name for variable in tf.compat.v1.trainable_variables()}
    constants = [tensor for tensor in live.tensors if tensor.role in ('weight', 'bias')]
    assert len(constants) == 6
    assert all(tensor.tensor in variables and tensor.name == tensor.tensor + '/wquant' for tensor in constants)


def test_heads_share_their_trunk():
    x = layers.conv2d(image(), 4, 3, name='trunk', activation=tf.nn.relu)
    layers.conv2d(x, 4, 1, name='a')
    layers.conv2d(x, 2, 1, name='b')
    plan = plan_of(['a/BiasAdd', 'b/BiasAdd:0'])
    assert plan.output_nodes == ('a/BiasAdd', 'b/BiasAdd')
    assert by_name(plan)['trunk/Relu/aquant'].consumers == (('a/Conv2D', 0), ('b/Conv2D', 0))
    assert [group.output for group in plan.groups] == ['trunk/Relu/aquant', 'a/BiasAdd/aquant', 'b/BiasAdd/aquant']


def test_the_softmax_of_the_hardware_is_not_quantized_inside():
    """It computes in bfloat16; its input and result are quantized for the ops around it."""
    x = tf.nn.softmax(layers.dense(tf.compat.v1.placeholder(tf.float32, [None, 4], 'x'), 6, name='logits'), name='softmax')
    layers.dense(x, 5, name='scores')
    plan = plan_of('scores/BiasAdd', replace_softmax=1)
    assert activations(plan) == [
        'x/aquant', 'logits/BiasAdd/aquant', 'softmax/output_cast/aquant', 'scores/BiasAdd/aquant']
    assert len(plan.skipped) > 40
    assert {record.reason for record in plan.skipped} == {
        "it is a part of the hardware's softmax, which computes in bfloat16"}
