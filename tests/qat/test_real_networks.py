"""Networks that people train, from TensorFlow's own collections, through the whole course: float training, quantization-aware
training, evaluation, frozen model. The small ones run always, the others with the slow tests.
"""
from typing import NamedTuple
from unittest import mock

import keras_applications.mobilenet
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from tensorflow.contrib import slim
from tensorflow.contrib.slim.nets import alexnet, inception, overfeat, resnet_utils, resnet_v1, resnet_v2

from tests.qat import networks
from tests.support import read_graph
from vai_q_tf import (
    CreateQuantizeDeployGraph,
    CreateQuantizeEvaluationGraph,
    CreateQuantizeTrainingGraph,
    QuantizeCheckpointListener,
    QuantizeConfig,
)
from vai_q_tf.lint.lint import lint
from vai_q_tf.qat import graph_record

v1 = tf.compat.v1
layers = v1.layers
CLASSES, BATCH, STEPS, FROZEN_FROM = 10, 2, 5, 3


def images(size):
    return tf.identity(v1.placeholder(tf.float32, [None, size, size, 3], 'images'), 'net_in')


def of_slim(network, arg_scope, size=64, **options):
    def build(training):
        with slim.arg_scope(arg_scope()):
            net, _ = network(images(size), CLASSES, is_training=training, **options)
        return [net if net.shape.rank == 2 else tf.squeeze(net, [1, 2], name='predictions')]
    return build


def of_keras(name, size=64, **options):
    def build(training):
        keras.backend.set_learning_phase(int(training))
        model = getattr(keras.applications, name)(weights=None, classes=CLASSES, input_tensor=images(size), **options)
        for update in model.updates:
            v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
        return [model.output]
    return build


def short_mobilenet(training):
    """That of Keras with the first two and the last of its thirteen blocks."""
    block = keras_applications.mobilenet._depthwise_conv_block

    def few(x, *arguments, block_id, **options):
        return block(x, *arguments, block_id=block_id, **options) if block_id in (1, 2, 13) else x

    with mock.patch.object(keras_applications.mobilenet, '_depthwise_conv_block', few):
        return of_keras('MobileNet', 32, alpha=0.25, dropout=0.)(training)


def mobilenet_v1(training):
    """Slim's MobileNetV1, a quarter as wide."""
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], normalizer_fn=slim.batch_norm, activation_fn=tf.nn.relu6), \
            slim.arg_scope([slim.batch_norm], is_training=training):
        net = slim.conv2d(images(64), 8, 3, stride=2, scope='conv_0')
        for number, (depth, stride) in enumerate(blocks, 1):
            net = slim.separable_conv2d(net, None, 3, 1, stride=stride, scope='depthwise_{}'.format(number))
            net = slim.conv2d(net, depth // 4, 1, scope='pointwise_{}'.format(number))
    net = tf.reduce_mean(net, [1, 2], keepdims=True)
    net = slim.conv2d(net, CLASSES, 1, activation_fn=None, normalizer_fn=None, scope='logits')
    return [tf.squeeze(net, [1, 2], name='predictions')]


def small_resnet_v2(training):
    """Slim's pre-activation network with a block of two units, one with a projection, the other with a pooled shortcut."""
    blocks = [resnet_v2.resnet_v2_block('block1', base_depth=8, num_units=2, stride=2)]
    with slim.arg_scope(resnet_utils.resnet_arg_scope(batch_norm_decay=0.9)):
        net, _ = resnet_v2.resnet_v2(images(32), blocks, CLASSES, is_training=training)
    return [tf.squeeze(net, [1, 2], name='predictions')]


def unet(training):
    """Leaky relus, skip connections by concats, transposed convolutions of dynamic shape."""
    def block(x, channels, name):
        x = layers.conv2d(x, channels, 3, padding='same', use_bias=False, name=name)
        x = layers.batch_normalization(x, training=training, momentum=0.9, name=name + '/bn')
        return tf.nn.leaky_relu(x, 0.1, name=name + '/leaky')

    x, skips = images(16), []
    for channels in (8, 16):
        skips.append(block(x, channels, 'down{}'.format(channels)))
        x = layers.max_pooling2d(skips[-1], 2, 2)
    x = block(x, 16, 'bottom')
    for channels in (16, 8):
        x = layers.conv2d_transpose(x, channels, 2, strides=2, name='up{}'.format(channels))
        x = block(tf.concat([skips.pop(), x], -1), channels, 'join{}'.format(channels))
    return [layers.conv2d(x, 4, 1, name='mask')]


def ssd(training):
    """Boxes and scores of several scales: reshapes to a dynamic batch, concats, two outputs."""
    norm = {'normalizer_fn': slim.batch_norm, 'normalizer_params': {'is_training': training, 'decay': 0.9, 'scale': True}}
    boxes, scores = [], []
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], activation_fn=tf.nn.relu6):
        x = slim.conv2d(images(32), 16, 3, stride=2, scope='stem', **norm)
        for scale in 'ab':
            x = slim.separable_conv2d(x, None, 3, 1, stride=2, scope='depthwise_' + scale, **norm)
            x = slim.conv2d(x, 32, 1, scope='pointwise_' + scale, **norm)
            for found, name, size in ((boxes, 'box_', 4), (scores, 'score_', 5)):
                head = slim.conv2d(x, 3 * size, 3, activation_fn=None, scope=name + scale)
                found.append(tf.reshape(head, tf.stack([tf.shape(head)[0], -1, size])))
    return [tf.concat(boxes, 1, name='boxes'), tf.nn.sigmoid(tf.concat(scores, 1), name='scores')]


# name: builder, the ops that stay float
_FAST = {
    'small_resnet_v2': (small_resnet_v2, []), 'unet': (unet, []), 'ssd': (ssd, ['Sigmoid']),
    'short_mobilenet': (short_mobilenet, ['Softmax']),
}
_SLOW = {
    'keras_MobileNet': (of_keras('MobileNet', alpha=0.25, dropout=0.), ['Softmax']),
    'mobilenet_v1': (mobilenet_v1, []),
    'alexnet': (of_slim(alexnet.alexnet_v2, alexnet.alexnet_v2_arg_scope, 224, dropout_keep_prob=1.), []),
    'overfeat': (of_slim(overfeat.overfeat, overfeat.overfeat_arg_scope, 231, dropout_keep_prob=1.), []),
    'inception_v1': (of_slim(inception.inception_v1, inception.inception_v1_arg_scope, 224, dropout_keep_prob=1.), []),
    'inception_v3': (of_slim(inception.inception_v3, inception.inception_v3_arg_scope, 128, dropout_keep_prob=1.), []),
    'resnet_v1_50': (of_slim(resnet_v1.resnet_v1_50, resnet_utils.resnet_arg_scope), []),
    'resnet_v2_50': (of_slim(resnet_v2.resnet_v2_50, resnet_utils.resnet_arg_scope), []),
    'keras_MobileNetV2': (of_keras('MobileNetV2', alpha=0.5), ['Softmax']),
    'keras_ResNet50': (of_keras('ResNet50'), ['Softmax']),
    'keras_DenseNet121': (of_keras('DenseNet121'), ['Softmax']),
    'keras_Xception': (of_keras('Xception', 96), ['Softmax']),
    'keras_InceptionV3': (of_keras('InceptionV3', 96), ['Softmax']),
    'keras_NASNetMobile': (of_keras('NASNetMobile', 96), ['Softmax']),
}
_NETWORKS = dict(_FAST, **_SLOW)


class Course(NamedTuple):
    """Gradients are {variable: array}, results the outputs for one batch, models GraphDefs."""
    float_gradients: dict
    gradients: dict
    losses: list
    plan: tuple
    trained: list
    evaluated: list
    model: v1.GraphDef
    modelled: list
    derived: v1.GraphDef


def feed(graph, seed):
    return networks.batch_of(graph, ['images'], seed, BATCH)


def loss_of(outputs):
    targets = [tf.linspace(-1., 1., output.shape[-1].value) for output in outputs]
    return tf.add_n([tf.reduce_mean(tf.square(output - target)) for output, target in zip(outputs, targets)])


def read(directory):
    path, = directory.glob('quantize_eval_model_*.pb')
    return read_graph(path)


def run_model(model, names, feeds):
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(model, name='')
        return session.run(names, feeds)


def with_gradients(optimizer, loss):
    """({variable: gradient}, the op that takes a step with them and runs the update ops)"""
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        pairs = optimizer.compute_gradients(loss)
        step = optimizer.apply_gradients(pairs, v1.train.get_global_step())
    return {variable.op.name: gradient for gradient, variable in pairs if gradient is not None}, step


def settle_averages(session, batch):
    """Gives all moving averages the statistics of a batch, as a long training does, whatever their decay."""
    averages = [variable for variable in v1.global_variables() if 'moving_' in variable.op.name]
    if not averages:
        return
    values = [session.run(averages)]
    for _ in range(2):
        session.run(v1.get_collection(v1.GraphKeys.UPDATE_OPS), batch)
        values.append(session.run(averages))
    decay = np.median([np.abs(third - second).sum() / np.abs(second - first).sum() for first, second, third in zip(*values)])
    for variable, first, second in zip(averages, *values[:2]):
        settled = first + (second - first) / (1. - np.round(decay, 4))
        variable.load(np.maximum(settled, 1e-3) if variable.op.name.endswith('variance') else settled, session)


def take_course(build, directory):
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(1)
        v1.train.get_or_create_global_step()
        loss = loss_of(build(True))
        saver = v1.train.Saver()
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            settle_averages(session, feed(graph, 7))
            float_checkpoint = saver.save(session, str(directory / 'float.ckpt'))
            gradients, _ = with_gradients(v1.train.GradientDescentOptimizer(1.), loss)
            float_gradients = session.run(gradients, feed(graph, 0))

    with tf.Graph().as_default() as graph:
        v1.set_random_seed(2)
        v1.train.get_or_create_global_step()
        outputs = build(True)
        loss = loss_of(outputs)
        config, other = (QuantizeConfig(
            ['net_in'], [output.op.name for output in outputs], output_dir=str(directory / part),
            freeze_bn_step=FROZEN_FROM, freeze_position_step=FROZEN_FROM) for part in ('evaluation', 'derived'))
        CreateQuantizeTrainingGraph(config)
        float_saver = v1.train.Saver()
        plan = graph_record.training_plan(graph)
        names = [networks.quantized_name(plan, output.op.name) + ':0' for output in outputs]
        gradients, step = with_gradients(v1.train.MomentumOptimizer(1e-4, 0.9), loss)
        saver = v1.train.Saver()
        listener = QuantizeCheckpointListener(other, saver=saver)
        listener.begin()
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            float_saver.restore(session, float_checkpoint)
            losses = [session.run([loss, step], feed(graph, number))[0] for number in range(STEPS)]
            checkpoint = saver.save(session, str(directory / 'model.ckpt'), STEPS)
            listener.after_save(session, STEPS)
            trained = session.run(names, feed(graph, 100))
            float_saver.restore(session, float_checkpoint)
            gradients = session.run(gradients, feed(graph, 0))

    with tf.Graph().as_default() as graph:
        build(False)
        CreateQuantizeEvaluationGraph(config)
        batch = feed(graph, 100)
        with v1.Session() as session:
            v1.train.Saver().restore(session, checkpoint)
            evaluated = session.run(names, batch)
        CreateQuantizeDeployGraph(checkpoint, config)
    model = read(directory / 'evaluation')
    modelled = run_model(model, names, {'net_in:0': batch['images:0']})
    return Course(float_gradients, gradients, losses, plan, trained, evaluated, model, modelled, read(directory / 'derived'))


@pytest.fixture(scope='module', params=list(_FAST) + [pytest.param(name, marks=pytest.mark.slow) for name in _SLOW])
def network(request):
    return request.param


@pytest.fixture(scope='module')
def course(network, tmp_path_factory):
    return take_course(_NETWORKS[network][0], tmp_path_factory.mktemp(network))


def test_training_evaluation_and_frozen_model_are_one(course):
    for trained, evaluated, modelled in zip(course.trained, course.evaluated, course.modelled):
        assert np.unique(trained).size > 4 and np.isfinite(trained).all()
        np.testing.assert_array_equal(evaluated, trained)
        np.testing.assert_array_equal(modelled, trained)


def test_the_listener_derives_the_same_model(course):
    def nodes(model):
        found = {}
        for node in model.node:
            found[node.name] = v1.NodeDef.FromString(node.SerializeToString())
            for attribute in ('_output_shapes', 'output_dir'):
                found[node.name].attr.pop(attribute, None)
        return found

    model, derived = nodes(course.model), nodes(course.derived)
    assert set(model) == set(derived)
    assert [name for name in model if model[name] != derived[name]] == []


def test_the_compiler_takes_the_model(course):
    assert [str(finding) for finding in lint(course.model)] == []


def test_nothing_but_these_ops_stays_float(course, network):
    assert sorted({skipped.op for skipped in course.plan.skipped}) == _NETWORKS[network][1]


def test_weighted_ops_read_quantized_numbers(course):
    nodes = {node.name: node for node in course.model.node}
    data = {'Conv2D': (0, 1), 'DepthwiseConv2dNative': (0, 1), 'MatMul': (0, 1), 'Conv2DBackpropInput': (1, 2)}
    operands = [nodes[node.input[index]].op for node in course.model.node for index in data.get(node.op, ())]
    assert len(operands) >= 14 and set(operands) == {'FixNeuron'}


def test_training_reaches_every_variable(course):
    assert set(course.gradients) == set(course.float_gradients)
    assert [name for name, gradient in course.float_gradients.items()
            if gradient.any() and not course.gradients[name].any()] == []
    assert np.isfinite(course.losses).all() and len(set(course.losses)) == STEPS
    assert all(np.isfinite(gradient).all() for gradient in course.gradients.values())


def small(batch, training, reuse=None, name='net_in'):
    with v1.variable_scope(v1.get_variable_scope(), reuse=reuse):
        x = layers.conv2d(tf.identity(batch, name), 8, 3, use_bias=False, name='conv')
        x = tf.nn.relu(layers.batch_normalization(x, training=training, momentum=0.5, name='bn'), name='relu')
        return layers.dense(tf.reduce_mean(x, [1, 2]), 4, name='logits')


RESULT = 'logits/BiasAdd/aquant:0'
BATCH_OF_8 = np.random.RandomState(0).normal(size=[8, 12, 12, 3]).astype(np.float32)


def train_small(session, saver, step, directory):
    session.run(v1.global_variables_initializer())
    for _ in range(STEPS):
        session.run(step)
    return saver.save(session, str(directory / 'model.ckpt'), STEPS)


@pytest.mark.parametrize('order', ['before', 'after'])
def test_a_validation_tower_beside_the_training_stays_float(order, tmp_path):
    v1.train.get_or_create_global_step()
    loss = loss_of([small(BATCH_OF_8, True)])
    config = QuantizeConfig(['net_in'], ['logits/BiasAdd'], output_dir=str(tmp_path), freeze_position_step=2, freeze_bn_step=2)
    if order == 'after':
        CreateQuantizeTrainingGraph(config)
    validation = small(BATCH_OF_8, False, reuse=True, name='validation_in')
    if order == 'before':
        CreateQuantizeTrainingGraph(config)
    step, saver = networks.training_step(None, loss), v1.train.Saver()
    listener = QuantizeCheckpointListener(config, saver=saver)
    listener.begin()
    with v1.Session() as session:
        checkpoint = train_small(session, saver, step, tmp_path)
        listener.after_save(session, STEPS)
        quantized, validated = session.run([RESULT, validation])
    np.testing.assert_array_equal(run_model(read(tmp_path), RESULT, {'net_in:0': BATCH_OF_8}), quantized)
    with tf.Graph().as_default(), v1.Session() as session:
        expected = small(BATCH_OF_8, False)
        v1.train.Saver().restore(session, checkpoint)
        np.testing.assert_array_equal(session.run(expected), validated)
        assert not np.array_equal(validated, quantized)


def test_averaged_weights_are_evaluated_and_frozen(tmp_path):
    """A Saver with a list of its own restores the positions where their saveable object is named in it."""
    loss = loss_of([small(BATCH_OF_8, True)])
    v1.train.get_or_create_global_step()
    config = QuantizeConfig(['net_in'], ['logits/BiasAdd'], output_dir=str(tmp_path))
    CreateQuantizeTrainingGraph(config)
    with tf.control_dependencies([networks.training_step(None, loss)]):
        step = tf.train.ExponentialMovingAverage(0.5).apply(v1.trainable_variables())
    with v1.Session() as session:
        checkpoint = train_small(session, v1.train.Saver(), step, tmp_path)
        last = session.run('logits/kernel:0')
    with tf.Graph().as_default(), v1.Session() as session:
        small(BATCH_OF_8, False)
        CreateQuantizeEvaluationGraph(config)
        averages = tf.train.ExponentialMovingAverage(0.5).variables_to_restore()
        positions, = v1.get_collection(v1.GraphKeys.SAVEABLE_OBJECTS)
        v1.train.Saver(dict(averages, positions=positions)).restore(session, checkpoint)
        evaluated, averaged = session.run([RESULT, 'logits/kernel:0'])
        CreateQuantizeDeployGraph(v1.train.Saver().save(session, str(tmp_path / 'averaged')), config)
    assert not np.array_equal(averaged, last)
    np.testing.assert_array_equal(run_model(read(tmp_path), RESULT, {'net_in:0': BATCH_OF_8}), evaluated)
