"""The batch norms of every layer library are found: their tensors, evaluated, give the statistics and the result."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from tensorflow.contrib import slim

from tests.plan.networks import LIBRARIES, batch_norm, by_name, convolution, decisions, dense, image, plan_of, skipped
from vai_q_tf import errors

_EPSILON = 0.01


def _randomise(session):
    """Gives every variable values of its own, positive ones, so that they can be variances."""
    random = np.random.RandomState(3)
    variables = tf.compat.v1.global_variables()
    for variable in variables:
        variable.load(random.uniform(0.2, 1.0, variable.shape.as_list()).astype(np.float32), session)
    return {variable.op.name.rpartition('/')[2]: variable for variable in variables}


def _value(session, tensor, feed):
    return session.run(tensor if ':' in tensor else tensor + ':0', feed)


def _check(record, training, fused, bias, x_shape):
    feed = {'x:0': np.random.RandomState(5).normal(size=x_shape).astype(np.float32)}
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        variables = _randomise(session)
        before = {name: session.run(variable) for name, variable in variables.items()}

        def value(tensor):
            return _value(session, tensor, feed)
        data, result = value(record.input), value(record.output)
        np.testing.assert_array_equal(value(record.moving_mean), before['moving_mean'])
        np.testing.assert_array_equal(value(record.moving_variance), before['moving_variance'])
        axes = tuple(range(data.ndim - 1))
        if training:
            mean, variance = data.mean(axes), data.var(axes)
            count = data.size // data.shape[-1]
            np.testing.assert_allclose(value(record.batch_mean), mean, rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(value(record.batch_variance), variance * (count / (count - 1) if fused else 1),
                                       rtol=1e-3, atol=1e-5)
        else:
            assert not record.batch_mean and not record.batch_variance
            mean, variance = before['moving_mean'], before['moving_variance']
        gamma = value(record.gamma) if record.gamma else 1.0
        beta = value(record.beta) if record.beta else 0.0
        np.testing.assert_allclose(gamma, before.get('gamma', 1.0) + np.zeros_like(gamma))
        np.testing.assert_allclose(beta, before.get('beta', 0.0) + np.zeros_like(beta))
        np.testing.assert_allclose(result, gamma * (data - mean) / np.sqrt(variance + record.epsilon) + beta, atol=2e-4)
        assert record.epsilon == pytest.approx(_EPSILON)
        assert record.training == training
        assert bool(record.conv_bias) == bool(record.bias_add) == bias
        if bias:
            np.testing.assert_array_equal(value(record.conv_bias), before.get('bias', before.get('biases')))
        np.testing.assert_array_equal(value(record.weights), before.get('kernel', before.get('weights')))


@pytest.mark.parametrize('resource', [False, True], ids=['ref', 'resource'])
@pytest.mark.parametrize('training', [False, True], ids=['inference', 'training'])
@pytest.mark.parametrize('scale, center', [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
@pytest.mark.parametrize('library', LIBRARIES)
def test_is_found_behind_a_convolution(library, fused, scale, center, training, resource):
    bias = scale  # with and without, at no extra cost
    x = image()
    with tf.compat.v1.variable_scope('net', use_resource=resource):
        x = convolution(library, x, bias=bias)
        y = batch_norm(library, x, training, fused, scale=scale, center=center, epsilon=_EPSILON)
    plan = plan_of(y.op.name)
    record, = plan.batch_norms
    assert record.scope + '/Conv2D' == record.compute
    assert bool(record.node) == fused
    assert not plan.skipped
    _check(record, training, fused, bias, (5, 8, 8, 3))


@pytest.mark.parametrize('resource', [False, True], ids=['ref', 'resource'])
@pytest.mark.parametrize('training', [False, True], ids=['inference', 'training'])
@pytest.mark.parametrize('bias', [False, True], ids=['no bias', 'bias'])
@pytest.mark.parametrize('library, fused', [('tf.layers', False), ('slim', False), ('slim', True), ('keras', None)])
def test_is_found_behind_a_dense_layer(library, fused, bias, training, resource):
    x = tf.compat.v1.placeholder(tf.float32, [None, 6], name='x')
    with tf.compat.v1.variable_scope('net', use_resource=resource):
        y = batch_norm(library, dense(library, x, bias=bias), training, fused, epsilon=_EPSILON)
    y = tf.nn.relu(y)
    plan = plan_of(y.op.name)
    record, = plan.batch_norms
    assert record.scope == record.compute
    assert record.data_format == 'NHWC'
    assert not plan.skipped
    assert [tensor.name.replace(record.scope, 'S') for tensor in plan.tensors] == [
        'x/aquant', 'S/BatchNorm_Fold/mul_1/wquant',
        'S/BatchNorm_Fold/{}/wquant'.format('add_1' if bias else 'sub'),
        y.op.name.replace(record.scope, 'S') + '/aquant']
    _check(record, training, bool(fused), bias, (7, 6))


@pytest.mark.parametrize('training', [False, True], ids=['inference', 'training'])
@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_nchw(fused, training):
    x = tf.compat.v1.placeholder(tf.float32, [None, 3, 8, 8], name='x')
    y = tf.compat.v1.layers.conv2d(x, 4, 3, data_format='channels_first')
    y = tf.compat.v1.layers.batch_normalization(y, axis=1, training=training, fused=fused)
    record, = plan_of(y.op.name).batch_norms
    assert record.data_format == 'NCHW'
    assert record.gamma == 'batch_normalization/gamma/read'
    assert record.beta == 'batch_normalization/beta/read'
    assert record.moving_mean == 'batch_normalization/moving_mean/read'
    assert record.moving_variance == 'batch_normalization/moving_variance/read'


@pytest.mark.parametrize('training', [False, True], ids=['inference', 'training'])
@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_depthwise_and_transposed_convolution(fused, training):
    x = keras.layers.DepthwiseConv2D(3, use_bias=False)(image())
    x = tf.compat.v1.layers.batch_normalization(x, training=training, fused=fused)
    x = tf.compat.v1.layers.conv2d_transpose(x, 5, 3, strides=2)
    x = tf.compat.v1.layers.batch_normalization(x, training=training, fused=fused)
    depthwise, transposed = plan_of(x.op.name).batch_norms
    assert depthwise.scope == depthwise.compute == 'depthwise_conv2d/depthwise'
    assert transposed.scope == transposed.compute == 'conv2d_transpose/conv2d_transpose'
    assert transposed.conv_bias == 'conv2d_transpose/bias/read'


def test_plain_functions_with_the_operands_in_other_orders():
    x = image()
    weights = tf.compat.v1.get_variable('w', [3, 3, 3, 4])
    mean, variance, gamma, beta, bias = [tf.compat.v1.get_variable(name, [4]) for name in 'mvgbc']
    y = tf.add(bias, tf.nn.conv2d(x, weights, padding='SAME'), name='biased')
    scale = tf.multiply(gamma, tf.math.rsqrt(tf.constant(0.5) + variance))
    y = tf.add(beta - scale * mean, scale * y, name='y')
    record, = plan_of('y').batch_norms
    assert (record.input, record.output, record.bias_add) == ('biased', 'y', 'biased')
    assert (record.gamma, record.beta, record.conv_bias) == ('g/read', 'b/read', 'c/read')
    assert (record.moving_mean, record.moving_variance, record.epsilon) == ('m/read', 'v/read', 0.5)


def test_updates_in_place_of_a_collection():
    y = slim.conv2d(image(), 4, 3, normalizer_fn=slim.batch_norm, scope='c',
                    normalizer_params={'is_training': True, 'updates_collections': None})
    plan = plan_of(y.op.name)
    record, = plan.batch_norms
    assert record.output == 'c/BatchNorm/FusedBatchNormV3'
    assert record.moving_mean == 'c/BatchNorm/moving_mean/read'
    assert [tensor.name for tensor in plan.tensors][-1] == 'c/Relu/aquant'


@pytest.mark.parametrize('library', LIBRARIES)
def test_training_and_inference_give_one_plan(library):
    plans = []
    for training in (True, False):
        with tf.Graph().as_default():
            x = image()
            for fused in (True, False):
                x = tf.nn.relu(batch_norm(library, convolution(library, x), training, fused))
            x = batch_norm(library, convolution(library, x), training, True)
            x = dense(library, tf.reduce_mean(x, [1, 2]))
            plans.append(plan_of(x.op.name))
    training, inference = plans
    assert decisions(training) == decisions(inference)
    assert len(training.batch_norms) == 3
    assert [record._replace(batch_mean='', batch_variance='', moving_mean='', moving_variance='', gamma='', beta='',
                            conv_bias='', weights='') for record in training.batch_norms] == [
        record._replace(moving_mean='', moving_variance='', gamma='', beta='', conv_bias='', weights='')
        for record in inference.batch_norms]


def test_result_without_relu_is_named_after_the_folded_bias_add():
    y = tf.compat.v1.layers.batch_normalization(convolution('tf.layers', image(), bias=False), training=True)
    y = tf.compat.v1.layers.batch_normalization(convolution('tf.layers', y), training=True)
    plan = plan_of(y.op.name)
    first, second = [tensor for tensor in plan.tensors if tensor.role == 'activation']
    assert (first.name, first.tensor) == ('conv2d/biasadd/aquant', 'batch_normalization/FusedBatchNormV3')
    assert first.consumers == (('conv2d_1/Conv2D', 0),)
    assert (second.name, second.tensor) == ('conv2d_1/biasadd_fold/aquant', 'batch_normalization_1/FusedBatchNormV3')
    weight = next(tensor for tensor in plan.tensors if tensor.role == 'weight')
    assert (weight.tensor, weight.fold, weight.consumers) == ('', 'conv2d', (('conv2d/Conv2D', 1),))


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_behind_a_convolution_that_others_read_it_stands_alone(fused):
    x = convolution('tf.layers', image())
    y = tf.compat.v1.layers.batch_normalization(x, training=False, fused=fused)
    tf.add(tf.nn.relu(y), x, name='out')
    plan = plan_of('out')
    record, = plan.batch_norms
    root = 'batch_normalization/FusedBatchNormV3' if fused else 'batch_normalization/batchnorm/add_1'
    assert (record.compute, record.scope, record.input, record.output) == ('', root, 'conv2d/BiasAdd', root)
    assert plan.groups[0].output == 'conv2d/BiasAdd/aquant'
    assert not skipped(plan)


def test_readers_outside_the_range_do_not_prevent_folding():
    x = convolution('tf.layers', image())
    y = tf.compat.v1.layers.batch_normalization(x, training=True)
    tf.compat.v1.summary.histogram('before', x)
    assert len(plan_of(y.op.name).batch_norms) == 1


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
@pytest.mark.parametrize('training', [False, True], ids=['inference', 'training'])
def test_batch_norm_without_convolution_stands_alone(training, fused):
    y = tf.compat.v1.layers.max_pooling2d(image(), 2, 2)
    y = tf.compat.v1.layers.batch_normalization(y, training=training, fused=fused)
    y = convolution('tf.layers', y)
    plan = plan_of(y.op.name)
    record, = plan.batch_norms
    root = 'batch_normalization/FusedBatchNormV3' if fused else 'batch_normalization/batchnorm/add_1'
    assert (record.compute, record.scope, record.input) == ('', root, 'max_pooling2d/MaxPool')
    assert record.training == training
    names = {tensor.name: (tensor.role, tensor.mode, tensor.tensor) for tensor in plan.tensors}
    assert names[root + '/BatchNorm_Fold/mul_0/wquant'] == ('weight', 0, '')
    assert names[root + '/BatchNorm_Fold/sub/wquant'] == ('bias', 0, '')
    assert names[root + '/add/aquant'] == ('activation', 1, root)
    assert not skipped(plan)


@pytest.mark.parametrize('fused', [True, False], ids=['fused', 'decomposed'])
def test_batch_norm_on_a_float_tensor(fused):
    y = tf.exp(image())
    y = tf.compat.v1.layers.batch_normalization(y, training=True, fused=fused)
    y = convolution('tf.layers', y)
    plan = plan_of(y.op.name)
    norm, = plan.batch_norms
    assert norm.input == 'Exp' and by_name(plan)['Exp/aquant'].tensor == 'Exp' and skipped(plan).keys() == {'Exp'}
    assert {norm.weight_name, norm.bias_name, norm.result_node + '/aquant'} < set(by_name(plan))


def test_batch_norm_of_doubles_stays_float():
    y = tf.cast(tf.nn.max_pool2d(image(), 2, 2, 'SAME'), tf.float64)
    y = tf.nn.batch_normalization(y, *[tf.constant(np.ones(3))] * 4, variance_epsilon=1e-3)
    y = convolution('tf.layers', tf.cast(y, tf.float32))
    plan = plan_of(y.op.name)
    assert not plan.batch_norms and 'float64' in skipped(plan)['batchnorm/add_1']


def test_decomposed_without_gamma_and_without_convolution_stays_float():
    y = tf.compat.v1.layers.max_pooling2d(image(), 2, 2)
    y = tf.compat.v1.layers.batch_normalization(y, training=False, fused=False, scale=False)
    y = convolution('tf.layers', y)
    plan = plan_of(y.op.name)
    assert not plan.batch_norms
    assert any('has no gamma' in reason for reason in skipped(plan).values())


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
        y = tf.compat.v1.layers.batch_normalization(x, training=phase, fused=fused)
    with pytest.raises(errors.QuantizeError) as raised:
        plan_of(y.op.name)
    assert raised.value.code == errors.LEARNING_PHASE
    assert 'set_learning_phase' in str(raised.value)
    assert ('BatchNorm' if library == 'slim' else 'batch_normalization') in str(raised.value)


def _renorm():
    return tf.compat.v1.layers.batch_normalization(convolution('tf.layers', image()), training=True, renorm=True)


def _zero_debias(resource=False):
    x = image()
    with tf.compat.v1.variable_scope('net', use_resource=resource):
        return slim.batch_norm(convolution('slim', x), is_training=True, zero_debias_moving_mean=True)


def _zero_debias_resource():
    return _zero_debias(resource=True)


def _no_updates():
    mean, variance = tf.nn.moments(convolution('tf.layers', image()), [0, 1, 2])
    x = tf.compat.v1.get_default_graph().get_tensor_by_name('conv2d/BiasAdd:0')
    return tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)


def _no_updates_fused():
    x = convolution('tf.layers', image())
    return tf.compat.v1.nn.fused_batch_norm(x, tf.ones([4]), tf.zeros([4]), is_training=True)[0]


@pytest.mark.parametrize('network', [_renorm, _zero_debias, _zero_debias_resource, _no_updates, _no_updates_fused])
def test_training_form_without_plain_moving_averages(network):
    y = network()
    with pytest.raises(errors.QuantizeError) as raised:
        plan_of(y.op.name)
    assert raised.value.code == errors.UNSUPPORTED_GRAPH
    assert 'ignore_nodes' in str(raised.value)
    convolution_node = next(op.name for op in tf.compat.v1.get_default_graph().get_operations() if op.type == 'Conv2D')
    tf.nn.conv2d(y, tf.compat.v1.get_variable('w2', [1, 1, 4, 2]), padding='SAME', name='next')
    plan = plan_of('next', ignore_nodes=[convolution_node])
    assert [group.node for group in plan.groups] == ['next']


def test_layer_norm_is_not_a_batch_norm():
    x = convolution('tf.layers', image())
    y = tf.contrib.layers.layer_norm(x)
    assert not plan_of(y.op.name).batch_norms
