"""The batch norms of every layer library are found in training form; the values of their tensors are checked in NumPy."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from tensorflow.contrib import slim

from tests.loading import load
from tests.plan.networks import LIBRARIES, batch_norm, convolution, dense, image
from vai_q_tf import errors, passes
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.batch_norm import find_training_norms, require_inference_form
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.plan.annotate import annotate

layers = tf.compat.v1.layers
_EPSILON = 0.01


def _norms(output, ignored=()):
    return find_training_norms(_range(output), frozenset(ignored))


def _range(output):
    view = GraphView(tf.compat.v1.get_default_graph().as_graph_def(add_shapes=True))
    return GraphRange(view, ['x'], [output])


def _randomise(session):
    """Gives every variable different values, all positive, because some are variances."""
    random = np.random.RandomState(3)
    variables = tf.compat.v1.global_variables()
    load({variable: random.uniform(0.2, 1.0, variable.shape.as_list()).astype(np.float32) for variable in variables}, session)
    return {variable.op.name.rpartition('/')[2]: variable for variable in variables}


def _check(record, normalised, fused, x_shape):
    """normalised: the tensor that the batch norm normalises."""
    feed = {'x:0': np.random.RandomState(5).normal(size=x_shape).astype(np.float32)}
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        variables = _randomise(session)
        before = {name: session.run(variable) for name, variable in variables.items()}

        def value(tensor):
            return session.run(tensor if ':' in tensor else tensor + ':0', feed)
        data = value(normalised.name)
        np.testing.assert_array_equal(value(record.moving_mean), before['moving_mean'])
        np.testing.assert_array_equal(value(record.moving_variance), before['moving_variance'])
        axes = tuple(range(data.ndim - 1))
        mean, variance = data.mean(axes), data.var(axes)
        count = data.size // data.shape[-1]
        np.testing.assert_allclose(value(record.batch_mean), mean, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(value(record.batch_variance), variance * (count / (count - 1) if fused else 1),
                                   rtol=1e-3, atol=1e-5)
        gamma, beta = before.get('gamma', np.ones_like(mean)), before.get('beta', np.zeros_like(mean))
        if record.gamma:
            np.testing.assert_array_equal(value(record.gamma), gamma)
        else:
            assert 'gamma' not in before
        result = value(record.output).reshape(data.shape)  # slim gives images of one pixel to the fused op
        np.testing.assert_allclose(result, gamma * (data - mean) / np.sqrt(variance + _EPSILON) + beta, atol=2e-4)


@pytest.mark.parametrize('resource', [False, True], ids=['ref', 'resource'])
@pytest.mark.parametrize('training', [False, True], ids=['inference', 'training'])
@pytest.mark.parametrize('scale, center', [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
@pytest.mark.parametrize('library', LIBRARIES)
def test_is_found_after_a_convolution(library, fused, scale, center, training, resource):
    bias = scale  # with and without, at no extra cost
    x = image()
    with tf.compat.v1.variable_scope('net', use_resource=resource):
        x = convolution(library, x, bias=bias)
        y = batch_norm(library, x, training, fused, scale=scale, center=center, epsilon=_EPSILON)
    norms = _norms(y.op.name)
    if not training:
        assert not norms
        return
    record, = norms
    assert (bool(record.node), record.data_format) == (fused, 'NHWC')
    _check(record, x, fused, (5, 8, 8, 3))


@pytest.mark.parametrize('resource', [False, True], ids=['ref', 'resource'])
@pytest.mark.parametrize('training', [False, True], ids=['inference', 'training'])
@pytest.mark.parametrize('bias', [False, True], ids=['no bias', 'bias'])
@pytest.mark.parametrize('library, fused', [('tf.layers', False), ('slim', False), ('slim', True), ('keras', None)])
def test_is_found_after_a_dense_layer(library, fused, bias, training, resource):
    x = tf.compat.v1.placeholder(tf.float32, [None, 6], name='x')
    with tf.compat.v1.variable_scope('net', use_resource=resource):
        x = dense(library, x, bias=bias)
        y = tf.nn.relu(batch_norm(library, x, training, fused, epsilon=_EPSILON))
    norms = _norms(y.op.name)
    if not training:
        assert not norms
        return
    record, = norms
    assert record.data_format == 'NHWC'
    _check(record, x, bool(fused), (7, 6))


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_nchw(fused):
    x = tf.compat.v1.placeholder(tf.float32, [None, 3, 8, 8], name='x')
    y = layers.conv2d(x, 4, 3, data_format='channels_first')
    y = layers.batch_normalization(y, axis=1, training=True, fused=fused)
    record, = _norms(y.op.name)
    assert record.data_format == 'NCHW'
    assert record.gamma == 'batch_normalization/gamma/read'
    assert record.moving_mean == 'batch_normalization/moving_mean/read'
    assert record.moving_variance == 'batch_normalization/moving_variance/read'


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_in_graph_order_after_any_op(fused):
    x = keras.layers.DepthwiseConv2D(3, use_bias=False)(image())
    x = layers.batch_normalization(x, training=True, fused=fused, name='depthwise')
    x = layers.conv2d_transpose(x, 5, 3, strides=2)
    x = layers.batch_normalization(x, training=True, fused=fused, name='transposed')
    x = layers.batch_normalization(layers.max_pooling2d(x, 2, 2), training=True, fused=fused, name='alone')
    assert [record.moving_mean for record in _norms(x.op.name)] == [
        name + '/moving_mean/read' for name in ('depthwise', 'transposed', 'alone')]


def test_plain_functions_with_the_operands_in_other_orders():
    x = tf.nn.conv2d(image(), tf.compat.v1.get_variable('w', [3, 3, 3, 4]), padding='SAME')
    averages = [tf.compat.v1.get_variable(name, [4], trainable=False) for name in 'mv']
    gamma, beta = [tf.compat.v1.get_variable(name, [4]) for name in 'gb']
    statistics = tf.nn.moments(x, [0, 1, 2])
    for average, statistic in zip(averages, statistics):
        tf.compat.v1.assign_sub(average, 0.1 * (average - statistic))
    mean, variance = statistics
    scale = tf.multiply(gamma, tf.math.rsqrt(tf.constant(0.5) + variance))
    tf.add(beta - scale * mean, scale * x, name='y')
    record, = _norms('y')
    assert (record.node, record.output, record.gamma) == ('', 'y', 'g/read')
    assert (record.batch_mean, record.batch_variance) == (mean.op.name, variance.op.name)
    assert (record.moving_mean, record.moving_variance) == ('m/read', 'v/read')


def test_updates_in_place_of_a_collection():
    y = slim.conv2d(image(), 4, 3, normalizer_fn=slim.batch_norm, scope='c',
                    normalizer_params={'is_training': True, 'updates_collections': None})
    record, = _norms(y.op.name)
    assert record.output == 'c/BatchNorm/FusedBatchNormV3'
    assert record.moving_mean == 'c/BatchNorm/moving_mean/read'


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
@pytest.mark.parametrize('library', LIBRARIES)
def test_open_learning_phase(library, fused):
    x = convolution(library, image())
    phase = tf.compat.v1.placeholder_with_default(False, [], name='is_training')
    if library == 'keras':
        keras.backend.clear_session()  # so that the learning phase is a placeholder
        x = convolution(library, keras.Input((8, 8, 3), name='x'))
        y = keras.layers.BatchNormalization(fused=fused)(x)
    elif library == 'slim':
        y = slim.batch_norm(x, is_training=phase, fused=fused)
    else:
        y = layers.batch_normalization(x, training=phase, fused=fused)
    with pytest.raises(errors.QuantizeError) as raised:
        _norms(y.op.name)
    assert raised.value.code == errors.LEARNING_PHASE
    assert 'set_learning_phase' in str(raised.value)
    assert ('BatchNorm' if library == 'slim' else 'batch_normalization') in str(raised.value)


def _renorm():
    return layers.batch_normalization(convolution('tf.layers', image()), training=True, renorm=True)


def _no_updates():
    x = convolution('tf.layers', image())
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    return tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)


def _no_updates_fused():
    x = convolution('tf.layers', image())
    return tf.compat.v1.nn.fused_batch_norm(x, tf.ones([4]), tf.zeros([4]), is_training=True)[0]


@pytest.mark.parametrize('network', [_renorm, _no_updates, _no_updates_fused])
def test_training_form_without_plain_moving_averages(network):
    y = network()
    with pytest.raises(errors.QuantizeError) as raised:
        _norms(y.op.name)
    assert raised.value.code == errors.UNSUPPORTED_GRAPH
    assert 'ignore_nodes' in str(raised.value)
    ops = tf.compat.v1.get_default_graph().get_operations()
    convolution_node = next(op.name for op in ops if op.type == 'Conv2D')
    assert not _norms(y.op.name, [convolution_node])


@pytest.mark.parametrize('network', [_no_updates, _no_updates_fused])
def test_a_frozen_graph_in_training_form_is_refused(network):
    y = tf.nn.relu(network(), name='y')
    frozen = _frozen(y)
    config = QuantizeConfig(['x'], ['y'], output_dir='unused')
    with pytest.raises(errors.QuantizeError, match='training=False') as raised:
        passes.optimise(frozen, config)
    assert raised.value.code == errors.LEARNING_PHASE
    convolution_node = next(node.name for node in frozen.node if node.op == 'Conv2D')
    kept = config.replace(ignore_nodes=[convolution_node])
    assert 'y/aquant' in {tensor.name for tensor in annotate(GraphView(passes.optimise(frozen, kept)), kept).tensors}


def _frozen(y):
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.graph_util.convert_variables_to_constants(session, y.graph.as_graph_def(), [y.op.name])


def test_norms_that_follow_no_weighted_op_are_left_alone():
    x = tf.nn.relu(image())
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    y = tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)
    assert not _norms(y.op.name)
    require_inference_form(_range(y.op.name))


def test_layer_norm_is_not_a_batch_norm():
    y = tf.contrib.layers.layer_norm(convolution('tf.layers', image()))
    assert not _norms(y.op.name)
