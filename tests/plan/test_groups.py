"""Compute groups: which bias and activation function belong to a weighted op, against plans written by hand."""
import pytest
import tensorflow as tf
from tensorflow import keras

from tests.plan.networks import activations, batch_of, by_name, image, plan_as_written, plan_of, rows, skipped, tensor_names

layers = tf.compat.v1.layers


@pytest.mark.parametrize('add', [lambda x, b: tf.nn.bias_add(x, b), lambda x, b: x + b, lambda x, b: b + x,
                                 lambda x, b: tf.compat.v1.raw_ops.Add(x=x, y=b),
                                 lambda x, b: tf.compat.v1.raw_ops.AddV2(x=tf.reshape(b, [1, 1, 1, 4]), y=x)])
def test_bias_in_every_form(add):
    w = tf.compat.v1.get_variable('w', [3, 3, 3, 4])
    b = tf.compat.v1.get_variable('offset', [4])
    x = tf.nn.relu(add(tf.nn.conv2d(image(), w, padding='SAME', name='conv'), b), name='relu')
    plan = plan_of(x.op.name)
    group, = plan.groups
    assert by_name(plan)[group.bias].role == 'bias' and group.output == 'relu/aquant'
    assert sorted((role, mode) for _, role, mode, _ in rows(plan)) == [
        ('activation', 1), ('bias', 0), ('input', 1), ('weight', 0)]


def test_a_residual_operand_is_no_bias():
    x = image(4)
    y = layers.conv2d(x, 4, 3, padding='same', use_bias=False, name='c1')
    shortcut = layers.conv2d(x, 4, 1, use_bias=False, name='c2')
    z = tf.nn.relu(tf.compat.v1.raw_ops.AddV2(x=y, y=tf.identity(shortcut)), name='relu')
    plan = plan_of(z.op.name)
    assert [group.bias for group in plan.groups] == ['', '']
    assert activations(plan) == [
        'x/aquant', 'c1/Conv2D/aquant', 'c2/Conv2D/aquant', 'relu/aquant']


def test_an_added_scalar_is_no_bias():
    x = layers.conv2d(image(), 4, 3, use_bias=False, name='conv')
    tf.add(x, 0.5, name='shifted')
    tensors = by_name(plan_of('shifted'))
    assert tensors['conv/Conv2D/aquant'].consumers == (('shifted', 0),)
    assert (tensors['shifted/y/aquant'].role, tensors['shifted/y/aquant'].mode) == ('constant', 1)
    assert 'shifted/aquant' in tensors


@pytest.mark.parametrize('shape', [[6, 1, 1], [1, 6, 1], [6, 6, 1], [6, 6, 4], [1, 6, 6, 4], [1], []])
def test_other_added_constants_are_no_bias(shape):
    x = layers.conv2d(image(), 4, 3, use_bias=False, name='conv')
    tf.add(tf.ones(shape, name='table'), x, name='out')
    plan = plan_of('out')
    assert {tensor.name: tensor.role for tensor in plan.tensors} == {
        'x/aquant': 'input', 'conv/kernel/wquant': 'weight', 'conv/Conv2D/aquant': 'activation',
        'table/aquant': 'constant', 'out/aquant': 'activation'}
    assert plan.groups[0].bias == ''


@pytest.mark.parametrize('shape, is_bias', [([4, 1, 1], True), ([1, 4, 1, 1], True), ([4], False), ([1, 1, 4], False)])
def test_bias_of_channels_first(shape, is_bias):
    x = layers.conv2d(batch_of(3, 4, 4), 4, 1, use_bias=False, data_format='channels_first', name='conv')
    tf.add(x, tf.ones(shape), name='out')
    assert bool(plan_of('out').groups[0].bias) == is_bias


@pytest.mark.parametrize('other', [
    lambda x: tf.identity(tf.nn.relu(x, name='other')), lambda x: tf.subtract(x, 1.0), lambda x: x,
    lambda x: tf.add(x, tf.compat.v1.get_variable('v', [4]))])
def test_a_computed_operand_is_no_bias(other):
    x = image(4)
    y = layers.conv2d(x, 4, 3, padding='same', use_bias=False, name='conv')
    z = other(x)
    for order in ((y, z), (z, y)):
        plan = plan_of(tf.nn.relu(tf.add(*order)).op.name)
        assert [group.bias for group in plan.groups] == ['']
        assert 'conv/Conv2D/aquant' in tensor_names(plan)


def test_transposed_weights_of_a_dense_layer():
    x = tf.matmul(batch_of(6), tf.compat.v1.get_variable('w', [4, 6]), transpose_b=True, name='product')
    tf.nn.bias_add(x, tf.compat.v1.get_variable('b', [4]), name='out')
    assert tuple(plan_of('out').groups[0])[2:] == ('w/wquant', 'b/wquant', 'out/aquant', 6)


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
    assert activations(plan) == [
        'x/aquant', 'sep/separable_conv2d/depthwise/aquant', 'sep/Relu/aquant', 'atrous/Relu/aquant']
    assert [tuple(group)[1:3] for group in plan.groups] == [
        ('x/aquant', 'sep/depthwise_kernel/wquant'),
        ('sep/separable_conv2d/depthwise/aquant', 'sep/pointwise_kernel/wquant'),
        ('sep/Relu/aquant', 'atrous/kernel/wquant')]


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


def test_quantized_values_inside_a_chain_have_their_own_groups():
    """Their shifts are limited, too; the final result comes first."""
    x = layers.conv2d(image(), 4, 3, use_bias=False, name='conv')
    y = tf.nn.bias_add(x, tf.constant([.1, .2, .3, .4]), name='biased')
    tf.add_n([tf.nn.relu(y, name='relu'), y, x], name='out')
    groups = plan_of('out').groups
    assert {group[:3] + group[5:] for group in groups} == {('conv/Conv2D', 'x/aquant', 'conv/kernel/wquant', 27)}
    assert [(group.bias, group.output) for group in groups] == [
        ('Const/wquant', 'relu/aquant'), ('', 'conv/Conv2D/aquant'), ('Const/wquant', 'biased/aquant')]


def test_a_matrix_product_of_computed_operands_stays_float():
    x = tf.compat.v1.placeholder(tf.float32, [4, 4], name='x')
    tf.add(tf.matmul(x, tf.transpose(x, name='t'), name='product'), x, name='out')
    assert skipped(plan_of('out')) == {'product': 'it has no weights: its second operand is computed'}


@pytest.mark.parametrize('ignored', ['conv/Conv2D', 'conv/BiasAdd', 'conv/Relu', 'conv/kernel', 'conv/kernel/read',
                                     'conv/bias'])
def test_an_ignored_node_keeps_its_whole_chain_float(ignored):
    x = layers.conv2d(image(), 4, 3, name='conv', activation=tf.nn.relu)
    x = layers.conv2d(tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool'), 4, 3, name='next')
    plan = plan_of(x.op.name, ignore_nodes=[ignored])
    assert tensor_names(plan) == [
        'x/aquant', 'pool/aquant', 'next/kernel/wquant', 'next/bias/wquant', 'next/BiasAdd/aquant']
    assert by_name(plan)['pool/aquant'].consumers == (('next/Conv2D', 0),)
    reasons = skipped(plan)
    assert 'ignore_nodes' in reasons['conv/Conv2D'] and 'ignore_nodes' in reasons['conv/Relu']
    assert 'pool' not in reasons  # the user wants its input float, and it is quantized all the same
