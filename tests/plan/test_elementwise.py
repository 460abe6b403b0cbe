"""Ops without weights: which of their results and constant operands are quantized, and why others stay float."""
import pytest
import tensorflow as tf
from tensorflow.contrib import slim

from tests.plan.networks import activations, by_name, decisions, image, plan_of, rows, skipped, tensor_names

layers = tf.compat.v1.layers


def test_pools_pads_concats_and_shapes():
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


@pytest.mark.parametrize('function', [tf.nn.relu, tf.nn.relu6])
def test_constant_operands(function):
    x = tf.multiply(tf.constant([2.0, 3.0, 4.0], name='factor'), image(), name='scaled')
    x = function(tf.add(x, tf.constant(1.0, name='shift'), name='shifted'), name='relu')
    plan = plan_of('relu')
    assert sorted(rows(plan)) == sorted([
        ('factor/aquant', 'constant', 1, (('scaled', 0),)),
        ('x/aquant', 'input', 1, (('scaled', 1),)),
        ('scaled/aquant', 'activation', 1, (('shifted', 0),)),
        ('shift/aquant', 'constant', 1, (('shifted', 1),)),
        ('relu/aquant', 'activation', 1, ())])


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


def test_a_relu_is_computed_with_the_op_before_it():
    x = tf.concat([image(), tf.constant(0.5, shape=[1, 8, 8, 2], name='extra')], -1, name='join')
    tf.nn.relu(x, name='relu')
    assert tensor_names(plan_of('relu')) == ['x/aquant', 'extra/aquant', 'relu/aquant']


def test_float_parts_of_a_concat_are_quantized():
    x = layers.conv2d(image(), 4, 3, name='conv')
    y = tf.concat([tf.nn.sigmoid(x, name='gate'), tf.constant(0.5, shape=[1, 6, 6, 1], name='extra'), x], -1, name='out')
    tf.nn.softmax(y, name='soft')
    plan = plan_of(['soft'])
    assert set(activations(plan)) == {
        'x/aquant', 'conv/BiasAdd/aquant', 'gate/aquant', 'extra/aquant', 'out/aquant'}
    assert skipped(plan).keys() == {'gate', 'soft'}
    alignment, = plan.alignments
    assert (alignment.kind, alignment.output) == ('concat', 'out/aquant')
    assert set(alignment.inputs) == {'gate/aquant', 'extra/aquant', 'conv/BiasAdd/aquant'}


def test_ops_with_several_outputs():
    first, second = tf.split(layers.conv2d(image(), 4, 3, name='conv'), 2, -1, name='parts')
    second = tf.nn.relu(second, name='relu')
    second = layers.conv2d(second, 2, 1, name='head')
    parts = tf.unstack(tf.reshape(first, [-1, 2, 6, 6, 2], name='r'), axis=1, name='un')
    third = layers.conv2d(parts[1], 2, 1, name='tail')
    tf.concat([first, second, third], 0, name='out')
    plan = plan_of('out')
    tensors = by_name(plan)
    assert skipped(plan).keys() == {'parts', 'un'}
    assert tensors['relu/aquant'].consumers == (('head/Conv2D', 0),)
    assert tensors['un/output_1/aquant'].tensor == 'un:1'
    assert tensors['un/output_1/aquant'].consumers == (('tail/Conv2D', 0),)
    assert 'out/aquant' in tensors


def test_integer_tensors_stay_as_they_are():
    x = layers.conv2d(image(), 4, 3, name='conv')
    shape = tf.concat([tf.shape(x)[:1] * 2, tf.constant([-1])], 0, name='shape')
    tf.reshape(x, shape, name='flat')
    index = tf.argmax(tf.reshape(x, [-1, 4], name='rows'), -1, name='index')
    tf.add(index, index, name='double')
    plan = plan_of(['flat', 'double'])
    assert [name for name in tensor_names(plan) if 'conv' not in name] == ['x/aquant', 'flat/aquant', 'rows/aquant']
    assert not plan.skipped


def test_other_types_stay_as_they_are():
    x = tf.cast(layers.conv2d(image(), 4, 3, name='conv'), tf.float64, name='wide')
    tf.nn.conv2d(x, tf.ones([1, 1, 4, 2], tf.float64), padding='SAME', name='out')
    assert skipped(plan_of('out')) == dict.fromkeys(['wide', 'out'], 'its type is float64; only float32 is quantized')


@pytest.mark.parametrize('dropout', [lambda x: tf.nn.dropout(x, rate=0.4), lambda x: tf.compat.v1.nn.dropout(x, 0.6),
                                     lambda x: layers.dropout(x, 0.4, training=True),
                                     lambda x: slim.dropout(x, 0.6, is_training=True)])
def test_a_dropout_changes_no_plan(dropout):
    plans = []
    for training in (True, False):
        with tf.Graph().as_default():
            x = layers.conv2d(image(), 4, 3, name='conv', activation=tf.nn.relu)
            x = dropout(x) if training else x
            x = layers.conv2d(tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool'), 4, 3, name='next')
            plans.append(plan_of(x.op.name))
    assert decisions(plans[0]) == decisions(plans[1]) and not plans[0].skipped


def test_dropout_between_a_convolution_and_its_activation():
    x = layers.conv2d(image(), 4, 3, name='conv')
    dropped = layers.dropout(x, training=True, name='drop')
    tf.nn.relu(dropped, name='relu')
    assert activations(plan_of('relu')) == ['x/aquant', 'relu/aquant']
    tf.concat([dropped, tf.nn.relu(dropped, name='second')], -1, name='out')
    assert by_name(plan_of('out'))['conv/BiasAdd/aquant'].consumers == (('second', 0), ('out', 0))


def test_asking_for_the_shape_is_not_reading_the_values():
    x = layers.conv2d(image(), 4, 3, name='conv')
    tf.image.resize_nearest_neighbor(tf.nn.relu(x, name='relu'), tf.shape(x)[1:3] * 2, name='out')
    plan = plan_of('out')
    assert activations(plan) == ['x/aquant', 'relu/aquant', 'out/aquant']


def test_an_ignored_op_stays_float_and_the_next_one_is_quantized():
    x = image()
    y = tf.add(x, x, name='sum')
    layers.conv2d(tf.nn.relu(y, name='relu'), 4, 3, name='conv')
    plan = plan_of('conv/BiasAdd', ignore_nodes=['sum'])
    assert activations(plan) == ['x/aquant', 'relu/aquant', 'conv/BiasAdd/aquant']
    assert skipped(plan) == {'sum': 'it is in ignore_nodes, or belongs to a node that is'}
