"""What stays float, says why, and does not keep its neighbours from being quantized."""
import pytest
import tensorflow as tf
from tensorflow.contrib import slim

from tests.plan.networks import batch_norm, by_name, convolution, decisions, image, plan_of, skipped

layers = tf.compat.v1.layers


def _names(plan):
    return [tensor.name for tensor in plan.tensors]


def test_ops_with_several_outputs():
    first, second = tf.split(layers.conv2d(image(), 4, 3, name='conv'), 2, -1, name='parts')
    second = tf.nn.relu(second, name='relu')
    second = layers.conv2d(second, 2, 1, name='head')
    rows = tf.unstack(tf.reshape(first, [-1, 2, 6, 6, 2], name='r'), axis=1, name='un')
    third = layers.conv2d(rows[1], 2, 1, name='tail')
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
    assert [name for name in _names(plan) if 'conv' not in name] == ['x/aquant', 'flat/aquant', 'rows/aquant']
    assert not plan.skipped


def test_other_types_stay_as_they_are():
    x = tf.cast(layers.conv2d(image(), 4, 3, name='conv'), tf.float64, name='wide')
    tf.nn.conv2d(x, tf.ones([1, 1, 4, 2], tf.float64), padding='SAME', name='out')
    reasons = skipped(plan_of('out'))
    assert 'float64' in reasons['out'] and 'float64' in reasons['wide']


def test_ops_without_rule_are_listed_and_the_next_convolution_reads_quantized_values():
    x = tf.nn.elu(layers.conv2d(image(), 4, 3, name='conv'), name='elu')
    x = tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool')
    layers.conv2d(x, 4, 3, name='next')
    plan = plan_of('next/BiasAdd')
    assert 'Elu' in skipped(plan)['elu'] and "'elu'" in skipped(plan)['pool']
    assert by_name(plan)['pool/aquant'].consumers == (('next/Conv2D', 0),)


def test_matrix_product_without_weights():
    x = tf.compat.v1.placeholder(tf.float32, [4, 4], name='x')
    tf.add(tf.matmul(x, tf.transpose(x, name='t'), name='product'), x, name='out')
    reasons = skipped(plan_of('out'))
    assert 'no weights' in reasons['product'] and "'product'" in reasons['out']


@pytest.mark.parametrize('dropout', [lambda x: tf.nn.dropout(x, rate=0.4), lambda x: tf.compat.v1.nn.dropout(x, 0.6),
                                     lambda x: layers.dropout(x, 0.4, training=True),
                                     lambda x: slim.dropout(x, 0.6, is_training=True)])
def test_dropout_is_looked_through(dropout):
    plans = []
    for training in (True, False):
        with tf.Graph().as_default():
            x = layers.conv2d(image(), 4, 3, name='conv', activation=tf.nn.relu)
            x = dropout(x) if training else x
            x = layers.conv2d(tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool'), 4, 3, name='next')
            plans.append(plan_of(x.op.name))
    assert decisions(plans[0]) == decisions(plans[1])
    assert plans[0].skipped and all('dropout' in record.reason for record in plans[0].skipped)
    assert not plans[1].skipped


@pytest.mark.parametrize('ignored', ['conv/Conv2D', 'conv/BiasAdd', 'conv/Relu', 'conv/kernel', 'conv/kernel/read',
                                     'conv/bias'])
def test_ignored_node_leaves_its_whole_group_float(ignored):
    x = layers.conv2d(image(), 4, 3, name='conv', activation=tf.nn.relu)
    x = layers.conv2d(tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool'), 4, 3, name='next')
    plan = plan_of(x.op.name, ignore_nodes=[ignored])
    assert _names(plan) == ['x/aquant', 'pool/aquant', 'next/kernel/wquant', 'next/bias/wquant',
                            'next/BiasAdd/aquant']
    assert by_name(plan)['pool/aquant'].consumers == (('next/Conv2D', 0),)
    reasons = skipped(plan)
    assert 'ignore_nodes' in reasons['conv/Conv2D'] and 'ignore_nodes' in reasons['conv/Relu']
    assert 'computed in float' in reasons['pool']


def test_ignored_batch_norm_is_not_folded():
    x = tf.nn.relu(batch_norm('tf.layers', convolution('tf.layers', image()), False, True), name='relu')
    layers.conv2d(x, 4, 3, name='next')
    plan = plan_of('next/BiasAdd', ignore_nodes=['batch_normalization/FusedBatchNormV3'])
    assert not plan.batch_norms and [group.node for group in plan.groups] == ['next/Conv2D']
    plan = plan_of('next/BiasAdd', ignore_nodes=['relu'])
    assert not plan.batch_norms and [group.node for group in plan.groups] == ['next/Conv2D']


def test_what_is_in_a_loop_stays_float():
    def body(turn, x):
        x = layers.conv2d(x, 4, 3, padding='same', name='inner', activation=tf.nn.relu)
        return turn + 1, tf.add(x, 1., name='sum')
    x = layers.conv2d(image(), 4, 3, name='conv')
    x = tf.while_loop(lambda turn, x: turn < 3, body, [0, x])[1]
    layers.conv2d(x, 4, 3, name='next')
    plan = plan_of('next/BiasAdd')
    assert [group.node for group in plan.groups] == ['conv/Conv2D', 'next/Conv2D']
    assert not any(name.startswith('while/inner') or name.startswith('while/sum') for name in _names(plan))
    reasons = skipped(plan)
    assert all('loop' in reasons['while/' + name] for name in ('inner/Conv2D', 'inner/Relu', 'sum'))


def test_ignored_input_and_elementwise_op():
    x = image()
    y = tf.add(x, x, name='sum')
    layers.conv2d(tf.nn.relu(y, name='relu'), 4, 3, name='conv')
    plan = plan_of('conv/BiasAdd', ignore_nodes=['sum'])
    assert [tensor.name for tensor in plan.tensors if tensor.mode == 1] == [
        'x/aquant', 'relu/aquant', 'conv/BiasAdd/aquant']
    assert 'ignore_nodes' in skipped(plan)['sum']
    tf.compat.v1.reset_default_graph()
    layers.conv2d(image(), 4, 3, name='conv')
    tensor = by_name(plan_of('conv/BiasAdd', ignore_nodes=['x']))['x/aquant']
    assert (tensor.role, tensor.method) == ('activation', 1)


def test_dropout_between_a_convolution_and_its_activation():
    x = layers.conv2d(image(), 4, 3, name='conv')
    dropped = layers.dropout(x, training=True, name='drop')
    tf.nn.relu(dropped, name='relu')
    assert _names(plan_of('relu'))[-1] == 'relu/aquant' and 'conv/BiasAdd/aquant' not in _names(plan_of('relu'))
    tf.concat([dropped, tf.nn.relu(dropped)], -1, name='out')
    # Both readers of the dropout get quantized values, the relu too, or the other would miss the dropout.
    assert by_name(plan_of('out'))['conv/BiasAdd/aquant'].consumers == (
        ('drop/dropout/Shape', 0), ('drop/dropout/mul', 0))


def test_asking_for_the_shape_is_not_reading_the_values():
    x = layers.conv2d(image(), 4, 3, name='conv')
    y = layers.batch_normalization(x, training=True, name='bn')
    tf.image.resize_nearest_neighbor(tf.nn.relu(y, name='relu'), tf.shape(x)[1:3] * tf.shape(y)[1:3], name='out')
    plan = plan_of('out')
    assert [tensor.name for tensor in plan.tensors if tensor.mode == 1] == ['x/aquant', 'relu/aquant', 'out/aquant']
    assert len(plan.batch_norms) == 1
