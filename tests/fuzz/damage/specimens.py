"""The files to damage: small networks, frozen, quantized and as MetaGraphs, and their checkpoints."""
import json
import os

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import function

import vai_q_tf
from tests.fuzz.networks import SeededNetwork
from tests.random_networks import SIZE
from vai_q_tf.hooks.position_hook import HISTORY_FILE
from vai_q_tf.integrations.metagraph import quantize_meta_graph
from vai_q_tf.ptq.quantize import quantize_frozen


def batch(inputs, seed=0, images=2):
    """{placeholder: array} for {placeholder: shape}."""
    state = np.random.RandomState(seed)
    return {name: state.uniform(-1, 1, [images] + shape[1:]).astype(np.float32) for name, shape in sorted(inputs.items())}


def make(name, directory):
    """Writes the files of a specimen, and the index that `load` reads, into a directory. Opens sessions."""
    found = _frozen(directory, name, _BUILDS[name]) if name in FROZEN else _trained(directory, name, _BUILDS[name])
    with open(os.path.join(directory, name + '.json'), 'w') as stream:
        json.dump(found, stream)


def load(name, directory):
    """A dict of inputs, outputs, and paths of files by kind: 'float' and 'quantized', or 'train', 'eval', 'quantize_train',
    'quantize_eval', 'checkpoint', 'float_checkpoint' and 'history'."""
    with open(os.path.join(directory, name + '.json')) as stream:
        return json.load(stream)


def _frozen(directory, name, build):
    with tf.Graph().as_default() as graph:
        outputs = build()
        outputs = [tensor.op.name for tensor in (outputs if isinstance(outputs, list) else [outputs])]
        graph_def = graph.as_graph_def()
        inputs = {op.name: op.outputs[0].shape.as_list() for op in graph.get_operations() if op.type == 'Placeholder'}
    path = os.path.join(directory, name + '.pb')
    with open(path, 'wb') as stream:
        stream.write(graph_def.SerializeToString())
    found = {'inputs': inputs, 'outputs': outputs, 'float': path}
    if build is not _functions:
        config = vai_q_tf.QuantizeConfig(sorted(inputs), outputs, calib_iter=1, output_dir=os.path.join(directory, name))
        found['quantized'] = quantize_frozen(graph_def, lambda step: batch(inputs, step), config, effort='fast')
    return found


def _weights(*shape, seed=0):
    return tf.constant(np.random.RandomState(seed).normal(0, .4, shape).astype(np.float32))


def _image():
    return tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], 'x')


def _classifier():
    y = tf.nn.conv2d(_image(), _weights(3, 3, 3, 4), 2, 'SAME')
    ones = np.linspace(.5, 1.5, 4).astype(np.float32)
    y = tf.nn.relu(tf.nn.fused_batch_norm(y, ones, ones - 1, ones - 1, ones, is_training=False)[0])
    y = tf.reshape(tf.nn.max_pool2d(y, 2, 2, 'VALID'), [-1, 16])
    return tf.nn.softmax(tf.nn.bias_add(tf.matmul(y, _weights(16, 3)), tf.constant([.1, -.2, .3])))


def _shapes():
    x = _image()
    y = tf.nn.relu6(tf.nn.conv2d(x, _weights(3, 3, 3, 4), 1, 'SAME', dilations=2))
    size = tf.stack([tf.shape(y)[0], 2 * SIZE, 2 * SIZE, 4])
    y = tf.nn.conv2d_transpose(y, _weights(3, 3, 4, 4, seed=1), size, 2, 'SAME')
    y = tf.image.resize_bilinear(y[:, 1::2, ::2], tf.shape(x)[1:3])
    y = tf.transpose(tf.space_to_depth(tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]]), 2), [0, 2, 1, 3])
    first, second = tf.split(y, 2, 3)
    return tf.reduce_mean(tf.concat([first, tf.unstack(tf.stack([second, first]))[0]], 3), [1, 2], keepdims=True)


def _functions():
    @function.Defun(tf.float32)
    def twice(value):
        return value * 2.

    x = _image()
    y = tf.nn.conv2d(twice(x), _weights(1, 1, 3, 4), 1, 'SAME')
    y = tf.cond(tf.constant(True), lambda: tf.nn.relu(y), lambda: tf.tanh(y))
    y.set_shape([None, SIZE, SIZE, 4])
    _, y = tf.while_loop(lambda i, _: i < 2, lambda i, value: (i + 1, value * .5), [0, y])
    return tf.matmul(tf.reduce_max(y, [1, 2]), _weights(4, 2))


def _branches():
    x, other = _image(), tf.placeholder(tf.float32, [None, 4], 'x2')
    y = tf.nn.bias_add(tf.nn.depthwise_conv2d_native(x, _weights(3, 3, 3, 2), [1] * 4, 'SAME'), tf.fill([6], .1))
    y = tf.nn.leaky_relu(y, .1) + y * tf.sigmoid(y)
    dense = tf.matmul(tf.concat([tf.squeeze(tf.nn.avg_pool2d(y, SIZE, 1, 'VALID'), [1, 2]), other], 1), _weights(10, 3))
    return [tf.nn.relu(dense), tf.argmax(dense, 1)]


def _trainable(training):
    y = tf.layers.conv2d(_image(), 4, 3, use_bias=False)
    y = tf.nn.relu(tf.layers.batch_normalization(y, training=training, fused=True))
    y = tf.layers.dropout(tf.layers.max_pooling2d(y, 2, 2), training=training)
    return tf.layers.dense(tf.layers.flatten(y), 2)


def _dense(training):
    y = tf.layers.dense(tf.reduce_mean(_image(), [1, 2]), 4, activation=tf.nn.leaky_relu)
    return tf.layers.dense(y * tf.nn.sigmoid(y), 2)


def _trained(directory, name, build):
    """MetaGraphs of a network, and checkpoints of two steps of its quantized training with a history of positions."""
    path, inputs = os.path.join(directory, name), {'x': [None, SIZE, SIZE, 3]}
    result = {'inputs': inputs, 'float_checkpoint': path + '_float', 'checkpoint': path + '_quantized',
              'history': os.path.join(path, HISTORY_FILE)}
    for kind in ('train', 'eval'):
        with tf.Graph().as_default():
            tf.set_random_seed(1)
            result['outputs'] = [build(kind == 'train').op.name]
            if kind == 'train':
                tf.train.get_or_create_global_step()
            result[kind] = path + '_{}.meta'.format(kind)
            tf.train.export_meta_graph(result[kind])
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                tf.train.Saver().save(session, result['float_checkpoint'], write_meta_graph=False, write_state=False)
        config = vai_q_tf.QuantizeConfig(['x'], result['outputs'], output_dir=path)
        result['quantize_' + kind] = quantize_meta_graph(kind, result[kind], '', config)
    with training_graph(build) as (train, saver, graph):
        hook = vai_q_tf.QuantizePositionHook(path)
        with tf.train.SingularMonitoredSession([hook]) as session:
            for step in range(2):
                session.run(train, {'x:0': batch(inputs, step)['x']})
            saver.save(session.raw_session(), result['checkpoint'], write_meta_graph=False, write_state=False)
    return result


class training_graph:
    """A context with a quantized training of a network in the default graph: (train op, Saver, graph)."""

    def __init__(self, build=_dense):
        self._build, self._graph = build, tf.Graph()

    def __enter__(self):
        self._context = self._graph.as_default()
        self._context.__enter__()
        tf.set_random_seed(1)
        output = self._build(True)
        step = tf.train.get_or_create_global_step()
        vai_q_tf.CreateQuantizeTrainingGraph(vai_q_tf.QuantizeConfig(['x'], [output.op.name]))
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = tf.train.GradientDescentOptimizer(.01).minimize(tf.reduce_mean(tf.square(output)), step)
        return train, tf.train.Saver(), self._graph

    def __exit__(self, *error):
        return self._context.__exit__(*error)


FROZEN = ('classifier', 'shapes', 'functions', 'branches') + tuple('random{}'.format(seed) for seed in range(100, 116))
TRAINED = ('trained', 'dense')
_BUILDS = {'classifier': _classifier, 'shapes': _shapes, 'functions': _functions, 'branches': _branches, 'trained': _trainable,
           'dense': _dense}
_BUILDS.update((name, SeededNetwork(int(name[len('random'):]), most=3).build) for name in FROZEN[4:])
