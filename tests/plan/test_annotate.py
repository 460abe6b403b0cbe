"""What annotate chooses, against what the rules of the original say, written out by hand."""
import pytest
import tensorflow as tf
from tensorflow import keras

from tests.plan.networks import (
    LIBRARIES,
    batch_norm,
    by_name,
    convolution,
    decisions,
    dense,
    image,
    plan_as_written,
    plan_behind_the_passes,
    plan_of,
)
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.quant_plan import QuantPlan

layers = tf.compat.v1.layers


def _rows(plan):
    """(name, role, mode, consumers) of every tensor."""
    return [(tensor.name, tensor.role, tensor.mode, tensor.consumers) for tensor in plan.tensors]


def _names(plan):
    return [tensor.name for tensor in plan.tensors]


def test_convolution_bias_relu_dense():
    x = layers.conv2d(image(), 4, 3, activation=tf.nn.relu, name='conv')
    x = layers.max_pooling2d(x, 2, 2, name='pool')
    x = layers.dense(layers.flatten(x, name='flatten'), 5, name='fc')
    tf.nn.softmax(x, name='out')
    plan = plan_of('out', weight_bit=7, activation_bit=9, method=2)
    assert _rows(plan) == [
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
    assert 'softmax' in plan.skipped[0].reason
    assert {(tensor.role, tensor.bits, tensor.method) for tensor in plan.tensors} == {
        ('input', 9, 0), ('weight', 7, 2), ('bias', 7, 2), ('activation', 9, 2)}
    assert {(tensor.role, tensor.bits) for tensor in plan_of('out', weight_bit=4, bias_bit=8).tensors} == {
        ('input', 8), ('weight', 4), ('bias', 8), ('activation', 8)}
    single = plan_of('out', bias_bit=8, nodes_bit=['fc/bias:6'])
    assert [tensor.bits for tensor in single.tensors if tensor.role == 'bias'] == [8, 6]
    assert QuantPlan.from_json(plan.to_json()) == plan
    assert all(name in plan.nodes for name in ('x', 'conv/kernel', 'conv/Conv2D', 'out'))


@pytest.mark.parametrize('arch_type, expected', [('DEFAULT', set()), ('DPUCADF8H', {1})])
def test_the_range_is_that_of_the_arch_type(arch_type, expected):
    layers.conv2d(image(), 4, 3, name='conv')
    plan = plan_of('conv/BiasAdd', arch_type=arch_type)
    assert {tensor.mode for tensor in plan.tensors if tensor.narrow_range} == expected
    assert all(tensor.narrow_range == (tensor.mode in expected) for tensor in plan.tensors)
    assert QuantPlan.from_json(plan.to_json(), narrow_range=None) == plan


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
    assert _names(plan_of(x.op.name)) == [
        'x/aquant', 'conv/kernel/wquant', 'conv/bias/wquant', 'conv/Relu/aquant']


@pytest.mark.parametrize('library', LIBRARIES)
def test_frozen_graph_gives_the_same_plan(library):
    x = tf.nn.relu(batch_norm(library, convolution(library, image()), False, True))
    x = dense(library, tf.reduce_mean(tf.nn.leaky_relu(convolution(library, x)), [1, 2]))
    live = plan_of(x.op.name)
    frozen = plan_behind_the_passes(x.op.name, simulate_dpu=0)
    assert decisions(live) == decisions(frozen)
    variables = {variable.op.name for variable in tf.compat.v1.trainable_variables()}
    constants = [tensor for tensor in live.tensors if tensor.role in ('weight', 'bias')]
    assert len(constants) == 6
    assert all(tensor.tensor in variables and tensor.name == tensor.tensor + '/wquant' for tensor in constants)


@pytest.mark.parametrize('with_relu', [True, False])
def test_residual_block(with_relu):
    x = layers.conv2d(image(), 4, 3, padding='same', name='c1', activation=tf.nn.relu)
    y = layers.conv2d(x, 4, 3, padding='same', name='c2')
    z = tf.add(y, x, name='sum')
    if with_relu:
        z = tf.nn.relu(z, name='relu')
    layers.conv2d(z, 4, 3, name='c3')
    plan = plan_of('c3/BiasAdd')
    tensors = by_name(plan)
    assert tensors['c1/Relu/aquant'].consumers == (('c2/Conv2D', 0), ('sum', 1))
    assert tensors['c2/BiasAdd/aquant'].consumers == (('sum', 0),)
    assert ('sum/aquant' in tensors) == (not with_relu)
    assert tensors['relu/aquant' if with_relu else 'sum/aquant'].consumers == (('c3/Conv2D', 0),)
    assert not plan.skipped


def test_residual_operand_is_no_bias():
    x = image(4)
    y = layers.conv2d(x, 4, 3, padding='same', use_bias=False, name='c1')
    shortcut = layers.conv2d(x, 4, 1, use_bias=False, name='c2')
    z = tf.nn.relu(tf.compat.v1.raw_ops.AddV2(x=y, y=tf.identity(shortcut)), name='relu')
    plan = plan_of(z.op.name)
    assert [group.bias for group in plan.groups] == ['', '']
    assert [name for name in _names(plan) if name.endswith('/aquant')] == [
        'x/aquant', 'c1/Conv2D/aquant', 'c2/Conv2D/aquant', 'relu/aquant']


@pytest.mark.parametrize('add', [lambda x, b: tf.nn.bias_add(x, b), lambda x, b: x + b, lambda x, b: b + x,
                                 lambda x, b: tf.compat.v1.raw_ops.Add(x=x, y=b),
                                 lambda x, b: tf.compat.v1.raw_ops.AddV2(x=tf.reshape(b, [1, 1, 1, 4]), y=x)])
def test_bias_in_every_form(add):
    w = tf.compat.v1.get_variable('w', [3, 3, 3, 4])
    b = tf.compat.v1.get_variable('offset', [4])
    x = tf.nn.relu(add(tf.nn.conv2d(image(), w, padding='SAME', name='conv'), b), name='relu')
    plan = plan_of(x.op.name)
    group, = plan.groups
    bias = by_name(plan)[group.bias]
    assert bias.role == 'bias' and bias.mode == 0
    assert len(plan.tensors) == 4


def test_scalar_addition_is_not_a_bias():
    x = layers.conv2d(image(), 4, 3, use_bias=False, name='conv')
    tf.add(x, 0.5, name='shifted')
    tensors = by_name(plan_of('shifted'))
    assert tensors['conv/Conv2D/aquant'].consumers == (('shifted', 0),)
    assert (tensors['shifted/y/aquant'].role, tensors['shifted/y/aquant'].mode) == ('constant', 1)
    assert 'shifted/aquant' in tensors


@pytest.mark.parametrize('function', [tf.nn.relu, tf.nn.relu6])
def test_constant_operands(function):
    x = tf.multiply(tf.constant([2.0, 3.0, 4.0], name='factor'), image(), name='scaled')
    x = function(tf.add(x, tf.constant(1.0, name='shift'), name='shifted'), name='relu')
    plan = plan_of('relu')
    assert sorted(_rows(plan)) == sorted([
        ('factor/aquant', 'constant', 1, (('scaled', 0),)),
        ('x/aquant', 'input', 1, (('scaled', 1),)),
        ('scaled/aquant', 'activation', 1, (('shifted', 0),)),
        ('shift/aquant', 'constant', 1, (('shifted', 1),)),
        ('relu/aquant', 'activation', 1, ())])


@pytest.mark.parametrize('library', ['tf.layers', 'keras'])
def test_transposed_convolution(library):
    make = layers.conv2d_transpose if library == 'tf.layers' else (
        lambda x, filters, size, strides, name: keras.layers.Conv2DTranspose(filters, size, strides, name=name)(x))
    x = tf.nn.relu(make(image(), 4, 3, strides=2, name='up'), name='relu')
    plan = plan_of(x.op.name)
    group, = plan.groups
    assert (group.node, group.input, group.output) == ('up/conv2d_transpose', 'x/aquant', 'relu/aquant')
    assert by_name(plan)[group.weight].consumers == (('up/conv2d_transpose', 1),)
    assert by_name(plan)['x/aquant'].consumers == (('up/Shape', 0), ('up/conv2d_transpose', 2))
    assert not plan.skipped and len(plan.tensors) == 4


def test_separable_and_dilated_convolution():
    x = layers.separable_conv2d(image(), 4, 3, name='sep', activation=tf.nn.relu)
    x = layers.conv2d(x, 4, 3, dilation_rate=2, name='atrous', activation=tf.nn.relu)
    plan = plan_of(x.op.name)
    assert not plan.skipped
    assert [name for name in _names(plan) if name.endswith('aquant')] == [
        'x/aquant', 'sep/separable_conv2d/depthwise/aquant', 'sep/Relu/aquant', 'atrous/Relu/aquant']
    assert [tuple(group)[1:3] for group in plan.groups] == [
        ('x/aquant', 'sep/depthwise_kernel/wquant'),
        ('sep/separable_conv2d/depthwise/aquant', 'sep/pointwise_kernel/wquant'),
        ('sep/Relu/aquant', 'atrous/kernel/wquant')]


def test_one_dimensional_convolution():
    x = tf.compat.v1.placeholder(tf.float32, [None, 9, 3], name='x')
    x = layers.conv1d(x, 4, 3, name='conv', activation=tf.nn.relu)
    plan = plan_of(x.op.name)
    assert plan.groups[0].weight == 'conv/conv1d/ExpandDims_1/wquant'
    assert not plan.skipped
    assert _names(plan)[-1] == 'conv/Relu/aquant'


def test_pools_pads_joins_and_shapes():
    x = layers.conv2d(image(), 4, 3, name='conv')
    y = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], name='pad')
    y = tf.nn.max_pool2d(y, 2, 2, 'SAME', name='max_pool')
    z = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], 'REFLECT', name='mirror')
    z = tf.nn.avg_pool2d(z, 2, 2, 'SAME', name='avg')
    y = tf.concat([y, z], -1, name='join')
    y = tf.transpose(y, [0, 2, 1, 3], name='turn')
    y = tf.reduce_mean(y, [1, 2], keepdims=True, name='mean')
    y = tf.squeeze(y, [1, 2], name='squeeze')
    y = tf.add_n([tf.expand_dims(y, 1, name='expand'), tf.expand_dims(y, 1, name='expand2')], name='sum')
    y = tf.reduce_max(y, 1, name='max')
    tf.reshape(y, [-1, 2, 4], name='out')
    plan = plan_of('out')
    assert not plan.skipped
    assert [tensor.tensor for tensor in plan.tensors if tensor.role == 'activation'] == [
        'conv/BiasAdd', 'pad', 'max_pool', 'mirror', 'avg', 'join', 'turn', 'mean', 'squeeze', 'expand', 'expand2',
        'sum', 'max', 'out']


def test_relu_is_computed_with_the_op_in_front_of_it():
    x = tf.concat([image(), tf.constant(0.5, shape=[1, 8, 8, 2], name='extra')], -1, name='join')
    tf.nn.relu(x, name='relu')
    names = _names(plan_of('relu'))
    assert names == ['x/aquant', 'extra/aquant', 'relu/aquant']


def test_old_concat():
    x = image()
    tf.compat.v1.raw_ops.Concat(concat_dim=3, values=[x, tf.nn.relu(x, name='relu')], name='join')
    assert _names(plan_of('join')) == ['x/aquant', 'relu/aquant', 'join/aquant']


def test_heads_share_their_trunk():
    x = layers.conv2d(image(), 4, 3, name='trunk', activation=tf.nn.relu)
    layers.conv2d(x, 4, 1, name='a')
    layers.conv2d(x, 2, 1, name='b')
    plan = plan_of(['a/BiasAdd', 'b/BiasAdd:0'])
    assert plan.output_nodes == ('a/BiasAdd', 'b/BiasAdd')
    assert by_name(plan)['trunk/Relu/aquant'].consumers == (('a/Conv2D', 0), ('b/Conv2D', 0))
    assert [group.output for group in plan.groups] == ['trunk/Relu/aquant', 'a/BiasAdd/aquant', 'b/BiasAdd/aquant']


def test_shared_weights():
    shared = layers.Conv2D(4, 3, name='shared')
    first, second = shared(image()), shared(image(name='y'))
    tf.add(first, second, name='out')
    plan = plan_of('out', ('x', 'y'))
    # Constants that several ops read are separated, so each copy has a position.
    assert [by_name(plan)['shared/kernel{}/wquant'.format(end)].consumers for end in ('', '_1')] == [
        (('shared/Conv2D', 1),), (('shared/Conv2D_1', 1),)]
    assert [group.weight for group in plan.groups] == ['shared/kernel/wquant', 'shared/kernel_1/wquant']
    weight = by_name(plan_as_written('out', ('x', 'y')))['shared/kernel/wquant']
    assert weight.consumers == (('shared/Conv2D', 1), ('shared/Conv2D_1', 1))


def test_values_inside_of_what_is_computed_together_have_groups_of_their_own():
    """Their shifts are limited, too; the op's result comes first."""
    x = layers.conv2d(image(), 4, 3, use_bias=False, name='conv')
    y = tf.nn.bias_add(x, tf.constant([.1, .2, .3, .4]), name='biased')
    tf.add_n([tf.nn.relu(y, name='relu'), y, x], name='out')
    groups = plan_of('out').groups
    assert {group[:3] + group[5:] for group in groups} == {('conv/Conv2D', 'x/aquant', 'conv/kernel/wquant', 27)}
    assert [(group.bias, group.output) for group in groups] == [
        ('Const/wquant', 'relu/aquant'), ('', 'conv/Conv2D/aquant'), ('Const/wquant', 'biased/aquant')]
