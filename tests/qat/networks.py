"""Small networks of all layer libraries, and the course of quantization-aware training that the tests of it share.

A network is a function (training) that builds a float network on placeholders 'x' (and 'x2') and returns its output.
"""
from typing import NamedTuple, Tuple

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.contrib import slim

from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.qat import graph_record

layers = tf.compat.v1.layers


def image(channels=3, name='x', size=8):
    return tf.compat.v1.placeholder(tf.float32, [None, size, size, channels], name=name)


def slim_mobile(training):
    """Relu6, separable convolutions, a residual connection, max pool, global mean, squeeze, softmax."""
    def norm(x, **options):
        return slim.batch_norm(x, is_training=training, decay=0.9, scale=True, **options)

    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], activation_fn=tf.nn.relu6, normalizer_fn=norm):
        x = slim.conv2d(image(), 8, 3, stride=1, scope='conv1')
        y = slim.separable_conv2d(x, None, 3, depth_multiplier=1, scope='depthwise')
        y = slim.conv2d(y, 8, 1, activation_fn=None, scope='pointwise')
        y = slim.max_pool2d(x + y, 2, scope='pool')
    y = tf.reduce_mean(y, [1, 2], keepdims=True, name='mean')
    y = slim.conv2d(y, 5, 1, activation_fn=None, scope='logits')
    return tf.nn.softmax(tf.squeeze(y, [1, 2], name='squeeze'), name='softmax')


def layers_biased(training):
    """Batch norms without scale or offset behind convolutions with bias; pad, average pool, dense; leaky relus."""
    def norm(x, **options):
        return layers.batch_normalization(x, training=training, momentum=0.9, **options)

    x = layers.conv2d(image(), 6, 3, use_bias=True, bias_initializer=tf.random_normal_initializer(), name='conv1')
    x = tf.nn.relu(norm(x, scale=False, name='bn1'), name='relu1')
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], name='pad')
    x = norm(layers.conv2d(x, 6, 3, strides=1, use_bias=False, name='conv2'), center=False, name='bn2')
    x = tf.maximum(0.1015625 * x, x, name='leaky2')
    x = layers.conv2d(x, 6, 1, use_bias=True, bias_initializer=tf.random_normal_initializer(), name='conv3')
    x = norm(x, scale=False, center=False, name='bn3')
    x = tf.nn.relu(x) - 0.25 * tf.nn.relu(-x)
    x = layers.flatten(layers.average_pooling2d(x, 2, 2, name='pool'))
    x = tf.nn.leaky_relu(norm(layers.dense(x, 7, name='dense1'), fused=False, name='bn4'), 0.1, name='leaky4')
    return layers.dense(x, 5, bias_initializer=tf.random_normal_initializer(), name='dense2')


def unfused(training):
    """Decomposed batch norms, a depthwise convolution with two filters a channel, two branches that are joined."""
    def norm(x, name):
        return layers.batch_normalization(x, training=training, momentum=0.9, fused=False, name=name)

    x = layers.conv2d(image(), 4, 3, padding='same', use_bias=False, name='conv1')
    x = tf.nn.relu(norm(x, 'bn1'), name='relu1')
    y = tf.nn.depthwise_conv2d(x, tf.get_variable('kernel', [3, 3, 4, 2]), [1, 1, 1, 1], 'SAME', name='depthwise')
    y = tf.nn.relu6(norm(y, 'bn2'), name='relu2')
    z = norm(layers.conv2d(x, 3, 3, padding='same', name='conv3'), 'bn3')
    x = layers.max_pooling2d(tf.concat([y, z], 3, name='concat'), 2, 2, name='pool')
    return tf.reduce_mean(norm(layers.conv2d(x, 5, 3, name='conv4'), 'bn4'), [1, 2], name='mean')


def transposed(training):
    """Transposed convolutions with every combination of bias and batch norm."""
    def norm(x, name):
        return layers.batch_normalization(x, training=training, momentum=0.9, name=name)

    def up(x, name, **options):
        return layers.conv2d_transpose(x, 4, 3, strides=2, padding='same', name=name, **options)

    bias = tf.random_normal_initializer()
    x = layers.conv2d(image(size=4), 4, 3, padding='same', activation=tf.nn.relu, name='conv1')
    x = tf.nn.relu(norm(up(x, 'up1', bias_initializer=bias), 'bn1'))
    x = tf.nn.relu(norm(up(x, 'up2', use_bias=False), 'bn2'))
    x = layers.max_pooling2d(x, 4, 4, name='pool')
    x = up(x, 'up3', bias_initializer=bias, activation=tf.nn.relu)
    return layers.conv2d(up(x, 'up4', use_bias=False), 2, 1, name='conv2')


def keras_residual(training):
    """tf.keras on resource variables: Add, Concatenate, padding, pools, depth multiplier 2, leaky relu, softmax."""
    keras.backend.set_learning_phase(int(training))
    norms = []

    def norm(x):
        norms.append(keras.layers.BatchNormalization(momentum=0.9, name='bn{}'.format(len(norms) + 1)))
        return norms[-1](x)

    x = keras.layers.Conv2D(4, 3, padding='same', name='conv1')(image())
    x = keras.layers.ReLU(name='relu1')(norm(x))
    y = keras.layers.ZeroPadding2D(1, name='pad')(x)
    y = norm(keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name='depthwise')(y))
    y = keras.layers.LeakyReLU(0.1015625, name='leaky')(y)
    y = norm(keras.layers.Conv2D(4, 1, use_bias=False, name='conv2')(y))
    x = keras.layers.ReLU(6., name='relu2')(keras.layers.Add(name='add')([x, y]))
    x = keras.layers.Concatenate(name='concat')([keras.layers.MaxPool2D(2)(x), keras.layers.AvgPool2D(2)(x)])
    x = keras.layers.Conv2D(4, 3, activation='relu', bias_initializer='random_normal', name='conv3')(x)
    x = keras.layers.GlobalAveragePooling2D(name='mean')(x)
    x = keras.layers.Dense(5, activation='softmax', bias_initializer='random_normal', name='dense')(x)
    for layer in norms:
        for update in layer.updates:
            tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.UPDATE_OPS, update)
    return x


def siamese(training):
    """Two inputs through the same weights and batch norms."""
    def tower(x, reuse):
        with tf.variable_scope('tower', reuse=reuse):
            options = {'normalizer_fn': slim.batch_norm, 'normalizer_params': {'is_training': training, 'decay': 0.9}}
            x = slim.conv2d(x, 6, 3, scope='conv1', **options)
            x = slim.conv2d(x, 6, 3, scope='conv2')
            return slim.fully_connected(slim.flatten(x), 4, activation_fn=None, scope='dense')

    left = tower(image(), False)
    return tf.add(left, tower(image(name='x2'), True), name='sum')


def without_norm(training):
    """Biases in the forms of BiasAdd and Add, a reshape in front of a dense layer, and no batch norm."""
    del training
    bias = tf.random_normal_initializer()
    x = layers.conv2d(image(), 6, 3, bias_initializer=bias, activation=tf.nn.relu, name='conv1')
    weights = tf.get_variable('weights', [3, 3, 6, 6])
    y = tf.nn.conv2d(x, weights, 1, 'SAME', name='conv2') + tf.get_variable('bias', [6], initializer=bias)
    x = tf.nn.relu6(x + y, name='relu')
    x = tf.reshape(layers.max_pooling2d(x, 2, 2), [-1, 54], name='reshape')
    return layers.dense(x, 5, bias_initializer=bias, name='dense')


def several_outputs(training):
    """Split and unstack, whose outputs go through shared and through different layers, before and after batch norms."""
    def norm(x, name):
        return layers.batch_normalization(x, training=training, momentum=0.9, name=name)

    x = tf.nn.relu(norm(layers.conv2d(image(), 6, 3, use_bias=False, name='conv1'), 'bn1'), name='relu1')
    left, middle, right = tf.split(x, 3, 3, name='split')
    y = norm(layers.conv2d(left, 4, 1, name='conv2'), 'bn2') + layers.conv2d(middle, 4, 1, use_bias=False, name='conv3')
    rows = tf.unstack(tf.concat([y, right], 3, name='concat'), axis=1, name='unstack')
    return layers.dense(layers.flatten(rows[0] + rows[2] - rows[5]), 5, name='dense')


NETWORKS = {build.__name__: build for build in (
    slim_mobile, layers_biased, unfused, transposed, keras_residual, siamese, without_norm, several_outputs)}


class Trained(NamedTuple):
    """What training left.

    config: the QuantizeConfig. plan: the QuantPlan. checkpoint: its prefix.
    inputs: names of the placeholders. output: name of the float output node.
    feed: a batch {tensor name: array}. result: the training graph's output on it at the end.
    parameters: {tensor: value} of the plan's weights, biases and batch norm parameters at the end.
    """
    config: QuantizeConfig
    inputs: Tuple[str, ...]
    output: str
    feed: dict
    checkpoint: str
    result: np.ndarray
    parameters: dict
    plan: QuantPlan


def batch_of(graph, inputs, seed, batch=4):
    """A random batch for each placeholder."""
    random = np.random.RandomState(seed)
    shapes = {name: graph.get_tensor_by_name(name + ':0').shape.as_list() for name in inputs}
    return {name + ':0': random.normal(size=[batch] + shape[1:]).astype(np.float32) for name, shape in shapes.items()}


def training_step(output, loss, optimizer=None):
    """The op that takes a step and runs the update ops; call it behind the rewrite."""
    optimizer = optimizer or tf.compat.v1.train.MomentumOptimizer(0.02, 0.9)
    with tf.control_dependencies(tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)):
        return optimizer.minimize(loss, tf.compat.v1.train.get_global_step())


def quadratic_loss(output, seed=1):
    """A loss with another target for every output."""
    target = np.random.RandomState(seed).normal(size=[4] + output.shape.as_list()[1:]).astype(np.float32)
    return tf.reduce_mean(tf.square(output - target), name='loss')


def quantized_name(plan, output):
    """The node that has the result of the float output node `output` in a rewritten graph."""
    return next((record.name for record in plan.tensors if record.tensor == output), output)


def train(build, directory, steps=5, frozen_from=3, **fields):
    """Trains the network for some steps, the last of them frozen; returns a Trained."""
    with tf.Graph().as_default() as graph:
        tf.compat.v1.set_random_seed(7)
        tf.compat.v1.train.get_or_create_global_step()
        output = build(True)
        inputs = tuple(name for name in ('x', 'x2') if name in [op.name for op in graph.get_operations()])
        config = QuantizeConfig(list(inputs), [output.op.name], output_dir=str(directory / 'quantize_results'), recipe='manual',
                                freeze_bn_step=frozen_from, freeze_position_step=frozen_from, **fields)
        loss = quadratic_loss(output)
        CreateQuantizeTrainingGraph(config)
        step = training_step(output, loss)
        saver = tf.compat.v1.train.Saver()
        plan = graph_record.training_plan(graph)
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            for number in range(steps):
                session.run(step, batch_of(graph, inputs, number))
            checkpoint = saver.save(session, str(directory / 'model.ckpt'), steps)
            feed = batch_of(graph, inputs, 100)
            result = session.run(quantized_name(plan, output.op.name) + ':0', feed)
            parameters = session.run({variable.op.name: variable for variable in tf.compat.v1.global_variables()})
    return Trained(config, inputs, output.op.name, feed, checkpoint, result, parameters, plan)

