"""Batch norms in a plan: folded into the weighted op before them, or as a separate multiplication and addition."""
import numpy as np
import pytest
import tensorflow as tf

from tests.plan.networks import (
    LIBRARIES,
    batch_norm,
    by_name,
    convolution,
    decisions,
    dense,
    image,
    plan_of,
    plan_of_frozen,
    skipped,
)

layers = tf.compat.v1.layers


def _nodes(plan):
    return [group.node for group in plan.groups]


def _plans(build, **fields):
    """The plan of the training form, which has to be that of the inference form and of the frozen network."""
    plans = []
    for training in (True, False):
        with tf.Graph().as_default():
            output = build(training).op.name
            plans.append(plan_of(output, **fields))
            frozen = None if training else plan_of_frozen(output, simulate_dpu=0, **fields)
    assert decisions(plans[0]) == decisions(plans[1]) == decisions(frozen)
    return plans[0]


@pytest.mark.parametrize('library', LIBRARIES)
def test_all_are_folded(library):
    def build(training):
        x = image()
        for fused in (True, False):
            x = tf.nn.relu(batch_norm(library, convolution(library, x), training, fused))
        x = batch_norm(library, convolution(library, x), training, True)
        return dense(library, tf.reduce_mean(x, [1, 2]))
    plan = _plans(build)
    assert len(plan.groups) == 4 and all(group.bias for group in plan.groups) and not plan.skipped


@pytest.mark.parametrize('bias', [False, True], ids=['no bias', 'bias'])
@pytest.mark.parametrize('library, fused', [('tf.layers', False), ('slim', False), ('keras', None)])
def test_after_a_dense_layer(library, fused, bias):
    def build(training):
        x = tf.compat.v1.placeholder(tf.float32, [None, 6], name='x')
        return tf.nn.relu(batch_norm(library, dense(library, x, bias=bias), training, fused), name='relu')
    plan = _plans(build)
    assert [tensor.role for tensor in plan.tensors] == ['input', 'weight', 'bias', 'activation']
    group, = plan.groups
    assert tuple(group)[1::3] == ('x/aquant', 'relu/aquant') and group.reduction == 6 and not plan.skipped


@pytest.mark.parametrize('bias', [False, True], ids=['no bias', 'bias'])
def test_after_a_dense_layer_whose_shape_is_read(bias):
    """slim feeds the fused op images of one pixel, and reads the shape to reshape back: that reads no values."""
    def build(training):
        x = tf.compat.v1.placeholder(tf.float32, [None, 6], name='x')
        return tf.nn.relu(batch_norm('slim', dense('slim', x, bias=bias), training, True), name='relu')
    plan = _plans(build)
    # With a bias it reads the shape of the sum; the norm stays separate then.
    expected = [(True, 6), (True, 1)] if bias else [(True, 6)]
    assert [(bool(group.bias), group.reduction) for group in plan.groups] == expected and not plan.skipped
    assert plan.groups[-1].output == ('BatchNorm/FusedBatchNormV3/aquant' if bias else 'relu/aquant')


def test_names():
    """Folded weights keep their name, and a folded bias that of the bias, or one derived from that of the weights."""
    y = layers.batch_normalization(convolution('tf.layers', image(), bias=False), training=True)
    y = layers.batch_normalization(convolution('tf.layers', y), training=True)
    plan = plan_of(y.op.name)
    assert [(tensor.name, tensor.consumers) for tensor in plan.tensors] == [
        ('x/aquant', (('conv2d/Conv2D', 0),)),
        ('conv2d/kernel/wquant', (('conv2d/Conv2D', 1),)),
        ('conv2d/kernel/biases/wquant', (('batch_normalization/FusedBatchNormV3', 1),)),
        ('batch_normalization/FusedBatchNormV3/aquant', (('conv2d_1/Conv2D', 0),)),
        ('conv2d_1/kernel/wquant', (('conv2d_1/Conv2D', 1),)),
        ('conv2d_1/bias/wquant', (('batch_normalization_1/FusedBatchNormV3', 1),)),
        ('batch_normalization_1/FusedBatchNormV3/aquant', ())]


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_after_a_convolution_that_others_read_it_stays_separate(fused):
    def build(training):
        x = convolution('tf.layers', image())
        return tf.add(tf.nn.relu(layers.batch_normalization(x, training=training, fused=fused)), x, name='out')
    plan = _plans(build)
    root = 'batch_normalization/FusedBatchNormV3/mul' if fused else 'batch_normalization/batchnorm/mul_1'
    assert _nodes(plan) == ['conv2d/Conv2D', root] and not plan.skipped
    assert plan.groups[0].output == plan.groups[1].input == 'conv2d/BiasAdd/aquant'


def test_readers_outside_the_range_do_not_prevent_folding():
    x = convolution('tf.layers', image())
    y = layers.batch_normalization(x, training=True)
    tf.compat.v1.summary.histogram('before', x)
    plan = plan_of(y.op.name)
    assert _nodes(plan) == ['conv2d/Conv2D'] and 'conv2d/BiasAdd/aquant' not in by_name(plan)


_ALONE = {  # {(fused, scale, center): ends of the names of the scale and the offset}
    (True, True, True): ('FusedBatchNormV3/scale', 'FusedBatchNormV3/offset'),
    (True, False, True): ('FusedBatchNormV3/scale', 'FusedBatchNormV3/offset'),
    (False, True, True): ('batchnorm/mul', 'batchnorm/sub'), (False, False, True): ('batchnorm/Rsqrt', 'batchnorm/sub')}


@pytest.mark.parametrize('fused, scale, center', _ALONE)
def test_without_a_convolution_it_stays_separate(fused, scale, center):
    def build(training):
        y = layers.max_pooling2d(image(), 2, 2)
        y = layers.batch_normalization(y, training=training, fused=fused, scale=scale, center=center, name='bn')
        return convolution('tf.layers', y)
    plan = _plans(build)
    ends = _ALONE[fused, scale, center]
    names = {tensor.name: (tensor.role, tensor.mode) for tensor in plan.tensors}
    assert names['bn/{}/wquant'.format(ends[0])] == ('weight', 0)
    assert names['bn/{}/wquant'.format(ends[1])] == ('bias', 0)
    root = 'bn/FusedBatchNormV3/aquant' if fused else 'bn/batchnorm/add_1/aquant'
    alone, = [group for group in plan.groups if group.node != 'conv2d/Conv2D']
    assert (alone.input, alone.output, alone.reduction) == ('max_pooling2d/MaxPool/aquant', root, 1)
    assert len(names) == 8 and not plan.skipped


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_a_separate_one_that_others_read_has_limits_for_each_result(fused):
    """The hardware shifts each result, and the bias of each."""
    def build(training):
        y = layers.batch_normalization(layers.max_pooling2d(image(), 2, 2), training=training, fused=fused, name='bn')
        return convolution('tf.layers', tf.add(tf.nn.relu6(y, name='relu6'), y))
    groups = [group for group in _plans(build).groups if group.node != 'conv2d/Conv2D']
    before = 'bn/FusedBatchNormV3/aquant' if fused else 'bn/batchnorm/add_1/aquant'
    assert {group.output for group in groups} == {'relu6/aquant', before} and len(groups) == 2
    assert groups[0]._replace(output='') == groups[1]._replace(output='') and groups[0].bias and groups[0].weight


def test_a_product_that_others_read_has_no_offset():
    x = tf.nn.max_pool2d(image(), 2, 2, 'SAME', name='pool')
    scale, offset = (tf.constant(np.float32([1, 2, 3]) / step, name=name) for step, name in ((2, 'scale'), (3, 'offset')))
    product = tf.multiply(x, scale, name='product')
    tf.add(tf.add(product, offset, name='norm'), product, name='out')
    groups = {group.output: group for group in plan_of('out').groups}
    assert set(groups) == {'product/aquant', 'norm/aquant'}
    assert groups['product/aquant'] == groups['norm/aquant']._replace(output='product/aquant', bias='')
    assert groups['norm/aquant'].bias == 'offset/wquant'


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_on_a_float_tensor(fused):
    def build(training):
        return convolution('tf.layers', layers.batch_normalization(tf.exp(image()), training=training, fused=fused))
    plan = _plans(build)
    assert skipped(plan).keys() == {'Exp'} and by_name(plan)['Exp/aquant'].tensor == 'Exp'
    assert {group.input for group in plan.groups} >= {'Exp/aquant'} and len(plan.groups) == 2


def test_doubles_stay_float():
    y = tf.cast(tf.nn.max_pool2d(image(), 2, 2, 'SAME'), tf.float64)
    y = tf.nn.batch_normalization(y, *[tf.constant(np.ones(3))] * 4, variance_epsilon=1e-3)
    plan = plan_of(convolution('tf.layers', tf.cast(y, tf.float32)).op.name)
    assert _nodes(plan) == ['conv2d/Conv2D'] and 'float64' in skipped(plan)['batchnorm/add_1']


@pytest.mark.parametrize('ignored', ['batch_normalization/FusedBatchNormV3', 'relu', 'conv2d/Conv2D'])
def test_an_ignored_node_leaves_convolution_and_batch_norm_float(ignored):
    def build(training):
        x = tf.nn.relu(batch_norm('tf.layers', convolution('tf.layers', image()), training, True), name='relu')
        return layers.conv2d(x, 4, 3, name='next')
    plan = _plans(build, ignore_nodes=[ignored])
    assert _nodes(plan) == ['next/Conv2D']
    assert all('ignore_nodes' in skipped(plan)[node] for node in ('conv2d/Conv2D', 'conv2d/BiasAdd', 'relu'))


def test_an_ignored_convolution_leaves_a_batch_norm_without_moving_averages_float():
    x = convolution('tf.layers', image())
    y = tf.nn.batch_normalization(x, *tf.nn.moments(x, [0, 1, 2]), None, None, 1e-3)
    tf.nn.conv2d(y, tf.compat.v1.get_variable('w2', [1, 1, 4, 2]), padding='SAME', name='next')
    assert _nodes(plan_of('next', ignore_nodes=['conv2d/Conv2D'])) == ['next']
