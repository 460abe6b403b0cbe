"""Groups of ops without weights that the hardware executes as one."""
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.plan.networks import by_name, image, plan_of, skipped
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import POSITION_MIN
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate

layers = tf.compat.v1.layers
SIXTH = 6 * 2731 / 2.0**14


def _names(plan):
    return [tensor.name for tensor in plan.tensors]


def _product(x, y, swap=False, name=None):
    return tf.multiply(*((y, x) if swap else (x, y)), name=name)


def _hard_sigmoid(x, swap=False, shape=(), divide=False, offset=3.0, factor=1 / 6.0):
    shifted = tf.nn.relu6(tf.add(*((tf.constant(offset, shape=shape), x) if swap else (x, tf.constant(offset, shape=shape))),
                                 name='shift'), name='six')
    if divide:
        y = tf.divide(shifted, tf.constant(1 / factor, shape=shape), name='sixth')
    else:
        y = _product(shifted, tf.constant(factor, shape=shape), swap, name='sixth')
    return _product(y, tf.constant(SIXTH, shape=shape), swap, name='sigmoid')


FORMS = list(itertools.product([False, True], [(), (1,)], [False, True]))


@pytest.mark.parametrize('swap, shape, divide', FORMS)
def test_hard_sigmoid(swap, shape, divide):
    x = layers.conv2d(image(), 4, 3, name='conv')
    _hard_sigmoid(x, swap, shape, divide)
    plan = plan_of('sigmoid')
    assert _names(plan)[-2:] == ['conv/BiasAdd/aquant', 'sigmoid/aquant'] and len(plan.tensors) == 5
    assert not plan.skipped
    assert {tensor.name: tensor.min_position for tensor in plan.tensors if tensor.min_position != POSITION_MIN} == {
        'conv/BiasAdd/aquant': 0, 'sigmoid/aquant': 7}


@pytest.mark.parametrize('swap, shape, divide', FORMS)
def test_hard_swish(swap, shape, divide):
    x = tf.identity(layers.conv2d(image(), 4, 3, name='conv'))
    _product(x, _hard_sigmoid(tf.identity(x), swap, shape, divide), swap, name='swish')
    plan = plan_of('swish')
    assert _names(plan)[-3:] == ['conv/BiasAdd/aquant', 'sigmoid/aquant', 'swish/aquant'] and len(plan.tensors) == 6
    assert by_name(plan)['sigmoid/aquant'].min_position == 7
    assert not plan.skipped


def test_gate_of_other_features():
    x = layers.conv2d(image(), 4, 3, name='conv')
    tf.multiply(x, _hard_sigmoid(layers.conv2d(x, 4, 1, name='gate')), name='out')
    plan = plan_of('out')
    assert _names(plan)[-5:] == ['gate/kernel/wquant', 'gate/bias/wquant', 'gate/BiasAdd/aquant', 'sigmoid/aquant',
                                 'out/aquant']
    assert by_name(plan)['gate/BiasAdd/aquant'].min_position == 0
    assert by_name(plan)['conv/BiasAdd/aquant'].min_position == POSITION_MIN


@pytest.mark.parametrize('options', [{'offset': 2.5}, {'factor': 0.2}])
def test_other_constants_are_not_a_hard_sigmoid(options):
    _hard_sigmoid(image(), **options)
    plan = plan_of('sigmoid')
    assert 'six/aquant' in _names(plan) and 'sixth/aquant' in _names(plan)
    assert all(tensor.min_position == POSITION_MIN for tensor in plan.tensors)


def test_the_constant_of_a_hard_sigmoid_after_a_convolution_is_not_a_bias():
    _hard_sigmoid(layers.conv2d(image(), 4, 3, use_bias=False, name='conv'), shape=(1,))
    assert _names(plan_of('sigmoid')) == ['x/aquant', 'conv/kernel/wquant', 'conv/Conv2D/aquant', 'sigmoid/aquant']


def test_inside_of_a_hard_sigmoid_that_is_read_elsewhere():
    x = _hard_sigmoid(image())
    six = tf.compat.v1.get_default_graph().get_tensor_by_name('six:0')
    tf.concat([x, tf.nn.max_pool2d(six, 2, 1, 'SAME', name='pool')], -1, name='out')
    plan = plan_of('out')
    assert by_name(plan)['six/aquant'].consumers == (('pool', 0),)
    assert 'sixth/aquant' not in by_name(plan) and not plan.skipped


@pytest.mark.parametrize('swap', [False, True])
def test_swish(swap):
    x = layers.conv2d(image(), 4, 3, name='conv')
    _product(x, tf.nn.sigmoid(x, name='sigmoid'), swap, name='swish')
    plan = plan_of('swish')
    assert _names(plan)[-3:] == ['conv/BiasAdd/aquant', 'sigmoid/aquant', 'swish/aquant'] and len(plan.tensors) == 6
    assert not plan.skipped


def test_swish_of_tensorflow():
    x = tf.nn.swish(layers.conv2d(image(), 4, 3, name='conv'))
    x = tf.nn.swish(layers.conv2d(x, 4, 3, name='next'))
    tf.identity(x, name='out')
    plan = plan_of('out')
    graph = tf.compat.v1.get_default_graph()
    assert [graph.get_operation_by_name(tensor.tensor).type for tensor in plan.tensors if tensor.mode == 1] == [
        'Placeholder', 'BiasAdd', 'Sigmoid', 'Mul', 'BiasAdd', 'Sigmoid', 'Mul']
    assert not plan.skipped


def test_sigmoid_alone_stays_float():
    x = layers.conv2d(image(), 4, 3, name='conv')
    tf.multiply(x, tf.nn.sigmoid(layers.conv2d(x, 4, 1), name='gate'), name='out')
    plan = plan_of('out')
    assert skipped(plan).keys() == {'gate'} and 'sigmoid' in skipped(plan)['gate']
    assert {'gate/aquant', 'out/aquant'} < set(_names(plan))


_VECTORS = [lambda value, name: tf.constant([value] * 3, name=name),
            lambda value, name: tf.constant([[[[value] * 3]]], name=name),
            lambda value, name: tf.compat.v1.get_variable(name, [3])]


@pytest.mark.parametrize('add', [tf.add, tf.nn.bias_add, lambda x, b, name: tf.add(b, x, name=name)])
@pytest.mark.parametrize('vector', _VECTORS)
@pytest.mark.parametrize('relu', [False, True])
def test_batch_norm_of_constants(add, vector, relu):
    if add is tf.nn.bias_add and vector is _VECTORS[1]:
        pytest.skip('a bias is a vector')
    x = tf.nn.max_pool2d(image(), 2, 2, 'SAME', name='pool')
    y = tf.multiply(vector(2.0, 'scale'), x, name='scaled')
    y = add(y, vector(0.5, 'offset'), name='out')
    y = tf.nn.relu(y, name='relu') if relu else y
    plan = plan_of(y.op.name)
    (scale,), (offset,) = [[tensor for tensor in plan.tensors if tensor.role == role] for role in ('weight', 'bias')]
    assert (scale.mode, offset.mode, len(plan.tensors)) == (0, 0, 5)
    group, = plan.groups
    assert tuple(group) == ('scaled', 'pool/aquant', scale.name, offset.name, y.op.name + '/aquant', 1)
    assert scale.consumers == (('scaled', 0),) and len(offset.consumers) == 1
    assert scale.name.startswith('scale') and offset.name.startswith('offset')
    assert not plan.skipped


def test_batch_norm_of_channels_first():
    x = tf.compat.v1.placeholder(tf.float32, [None, 3, 8, 8], name='x')
    y = tf.multiply(x, np.ones([1, 3, 1, 1], 'f'), name='scaled') + np.ones([1, 3, 1, 1], 'f')
    assert [group.node for group in plan_of(y.op.name).groups] == ['scaled']


@pytest.mark.parametrize('scale, offset', [([8, 1, 1], [3]), ([3], [8, 1, 1]), ([], [3]), ([3], []), ([1], [1]), ([3], [8, 3])])
def test_other_constants_are_not_a_batch_norm(scale, offset):
    x = tf.multiply(image(), tf.ones(scale, name='scale'), name='scaled')
    tf.add(x, tf.ones(offset, name='offset'), name='out')
    plan = plan_of('out')
    assert set(_names(plan)) == {'x/aquant', 'scale/aquant', 'scaled/aquant', 'offset/aquant', 'out/aquant'}
    assert not plan.groups and not plan.skipped


@pytest.mark.parametrize('swap', [False, True])
@pytest.mark.parametrize('shape', [(), (1,)])
def test_scaled_average(swap, shape):
    x = tf.nn.avg_pool2d(image(), 3, 1, 'SAME', name='pool')
    _product(x, tf.constant(0.984375, shape=shape, name='factor'), swap, name='out')
    plan = plan_of('out')
    assert _names(plan) == ['x/aquant', 'out/aquant'] and not plan.skipped


def test_an_average_with_another_reader():
    x = tf.nn.avg_pool2d(image(), 3, 1, 'SAME', name='pool')
    early = tf.nn.relu(x, name='relu')
    tf.add(tf.multiply(x, 0.984375, name='scaled'), early, name='out')
    plan = plan_of('out')
    tensors = by_name(plan)
    assert tensors['pool/aquant'].consumers == (('relu', 0),)
    assert {'scaled/aquant', 'relu/aquant', 'out/aquant'} < set(tensors) and not plan.skipped


@pytest.mark.parametrize('clip', [lambda x: tf.clip_by_value(x, -1.0, 1.0, name='out'),
                                  lambda x: tf.maximum(tf.constant(0.0), tf.minimum(2.0, x), name='out'),
                                  lambda x: tf.minimum(tf.maximum(x, [1.0, 2.0, 3.0]), 2.0, name='out')])
def test_clip(clip):
    out = clip(tf.nn.max_pool2d(image(), 2, 2, 'SAME', name='pool'))
    plan = plan_of(out.op.name)
    assert _names(plan) == ['x/aquant', 'pool/aquant', out.op.name + '/aquant'] and not plan.skipped


def test_minimum_alone_stays_float():
    x = tf.minimum(layers.conv2d(image(), 4, 3), 2.0, name='least')
    tf.add(x, tf.nn.elu(x), name='out')
    assert skipped(plan_of('out')).keys() == {'least', 'Elu'}


@pytest.mark.parametrize('ignored', ['six', 'shift', 'sixth', 'sigmoid', 'swish'])
def test_ignored_node_leaves_the_fusion_float(ignored):
    x = layers.conv2d(image(), 4, 3, name='conv')
    layers.conv2d(tf.multiply(x, _hard_sigmoid(x), name='swish'), 4, 1, name='next')
    plan = plan_of('next/BiasAdd', ignore_nodes=[ignored])
    reasons = skipped(plan)
    assert all('ignore_nodes' in reasons[node] for node in ('shift', 'six', 'sixth', 'sigmoid', 'swish'))
    assert 'sigmoid/aquant' not in _names(plan)
    assert by_name(plan)['swish/aquant'].consumers == (('next/Conv2D', 0),)


def test_fusion_of_a_float_tensor():
    _hard_sigmoid(tf.nn.elu(image(), name='elu'))
    plan = plan_of('sigmoid')
    assert _names(plan) == ['x/aquant', 'elu/aquant', 'sigmoid/aquant'] and skipped(plan).keys() == {'elu'}


def test_fusion_of_two_float_tensors():
    x = image()
    y = tf.minimum(tf.tanh(x, name='first'), 1.0, name='least')
    tf.maximum(y, tf.tanh(x * 2.0, name='second'), name='clip')
    plan = plan_of('clip')
    assert {'first/aquant', 'second/aquant', 'clip/aquant'} < set(_names(plan)) and 'least/aquant' not in _names(plan)


def test_inside_of_a_fusion_of_a_float_tensor_that_is_read_elsewhere():
    x = _hard_sigmoid(tf.nn.elu(image(), name='elu'))
    six = tf.compat.v1.get_default_graph().get_tensor_by_name('six:0')
    tf.concat([x, tf.nn.max_pool2d(six, 2, 1, 'SAME', name='pool')], -1, name='out')
    assert by_name(plan_of('out'))['six/aquant'].consumers == (('pool', 0),)


@pytest.mark.parametrize('op', [lambda x: tf.nn.depth_to_space(x, 2, name='op'), lambda x: x[:, 1:],
                                lambda x: tf.image.resize_bilinear(x, [4, 4], name='op'),
                                lambda x: tf.image.resize_nearest_neighbor(x, [4, 4], name='op')])
def test_ops_that_are_not_fused_with_a_relu(op):
    x = op(layers.conv2d(image(), 4, 3, name='conv'))
    tf.nn.relu(x, name='relu')
    assert _names(plan_of('relu'))[-2:] == [x.op.name + '/aquant', 'relu/aquant']


@pytest.mark.parametrize('shape, groups', [([3], 1), ([1, 1, 1, 3], 1), ([1, 3, 1, 1], 1), ([1, 1, 3, 1], 0), ([3, 1, 1, 1], 0),
                                           ([1], 0)])
def test_batch_norm_of_a_tensor_without_known_shape(shape, groups):
    x = tf.nn.max_pool2d(tf.compat.v1.placeholder(tf.float32, name='x'), 2, 2, 'SAME', name='pool')
    tf.add(tf.ones(shape), tf.multiply(x, tf.ones(shape)), name='out')
    graph_def = tf.compat.v1.get_default_graph().as_graph_def()
    plan = annotate(GraphView(graph_def), QuantizeConfig(['x'], ['out']))
    assert len(plan.groups) == groups
