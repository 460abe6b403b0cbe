"""The networks whose files release 0.1.0 left in tests/golden/release_0_1_0, and their training, evaluation and deploy.

Nothing but documented names is used here, so that the same code runs with every later version. All of it works in the
default graph and writes to the working directory.
"""
import gzip
import json
import os
from typing import Callable, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow import keras

import vai_q_tensorflow as vq

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'golden', 'release_0_1_0')
SESSION = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
STEPS = 5  # of the stored checkpoints
MORE = 3  # the steps after them whose losses are stored
SIZE = 16  # of a batch
KERAS_WEIGHTS = 'keras_weights.h5'
OUTPUT = 'logits/BiasAdd'
RESULT = OUTPUT + '/aquant:0'
MODEL = 'quantize_eval_model'
FLOAT = 'float.ckpt'
CALIBRATION_STEPS = 3


def mixed(images, training):
    """Batch norms after a convolution with bias, after a depthwise one and alone; add, both pools, concat, dense."""
    def norm(x, name):
        return tf.layers.batch_normalization(x, training=training, momentum=0.8, fused=True, name=name)

    bias = tf.random_normal_initializer(0., 0.2)
    net = tf.identity(images, name='net_in')
    net = tf.layers.conv2d(net, 6, 3, padding='same', bias_initializer=bias, name='conv1')
    first = tf.nn.relu6(norm(net, 'norm1'), name='relu1')
    net = tf.nn.depthwise_conv2d(first, tf.get_variable('depthwise/kernel', [3, 3, 6, 1]), [1, 1, 1, 1], 'SAME',
                                 name='depthwise')
    net = tf.nn.leaky_relu(norm(net, 'norm2'), 0.1015625, name='leaky2')
    net = tf.layers.conv2d(net, 6, 1, bias_initializer=bias, name='conv3') + first
    net = tf.nn.relu(norm(net, 'norm3'), name='relu3')
    net = tf.concat([tf.layers.max_pooling2d(net, 2, 2, name='max_pool'),
                     tf.layers.average_pooling2d(net, 2, 2, name='average_pool')], 3, name='concat')
    return tf.layers.dense(tf.layers.flatten(net, name='flat'), 4, bias_initializer=bias, name='logits')


def small(images, training):
    """A convolution with batch norm, one with bias, a global average, dense."""
    net = tf.identity(images, name='net_in')
    net = tf.layers.conv2d(net, 6, 3, use_bias=False, name='conv1')
    net = tf.layers.batch_normalization(net, training=training, momentum=0.8, name='norm1')
    net = tf.layers.conv2d(tf.nn.relu(net, name='relu1'), 4, 3, name='conv2')
    return tf.layers.dense(tf.reduce_mean(net, [1, 2], name='pool'), 4, name='logits')


class Case(NamedTuple):
    """A training. towers: its number of towers. settings: fields of the QuantizeConfig."""
    network: Callable
    towers: int
    optimizer: Callable
    settings: dict


def _momentum():
    return tf.train.MomentumOptimizer(0.02, 0.9)


CASES = {
    'mixed': Case(mixed, 1, lambda: tf.train.AdamOptimizer(0.01), {'freeze_bn_step': 7, 'freeze_position_step': 6}),
    'towers': Case(small, 2, _momentum, {'freeze_bn_step': 6}),
    'symmetric': Case(small, 1, _momentum, {
        'bn_fold': 'moving', 'arch_type': 'DPUCADF8H', 'freeze_position_step': 6, 'activation_bit': 6,
        'nodes_bit': ['conv2/Conv2D:7']}),
}


def config(name, output_dir='quantized', **fields):
    """The QuantizeConfig of a case; positions are not aligned, as release 0.1.0 did not align those of a training."""
    return vq.QuantizeConfig(['net_in'], [OUTPUT], [[-1, 8, 8, 2]], output_dir=output_dir, position_decay=0.8, align_concat=2,
                             align_pool=2, **dict(CASES[name].settings, **fields))


def batch(step):
    """The feed of a step; images grow, so that positions move."""
    random = np.random.RandomState(step)
    return {'images:0': random.randn(SIZE, 8, 8, 2).astype(np.float32) * np.float32(1.3) ** step,
            'labels:0': random.randint(0, 4, SIZE).astype(np.int32)}


def images_of_evaluation():
    return batch(STEPS + 100)['images:0'] * np.float32(1.3) ** -100


def build_training(name, quantized=True):
    """Builds a training with the tensor 'loss:0', and 'train' to take a step; returns a Saver made before the optimizer."""
    case = CASES[name]
    images = tf.placeholder(tf.float32, [None, 8, 8, 2], name='images')
    labels = tf.placeholder(tf.int32, [None], name='labels')
    step = tf.train.get_or_create_global_step()
    scopes = ['clone_{}'.format(tower) for tower in range(case.towers)] if case.towers > 1 else []
    losses = []
    if not scopes:
        losses.append(tf.losses.sparse_softmax_cross_entropy(labels, case.network(images, True)))
    for tower, scope in enumerate(scopes):
        rows = slice(tower * SIZE // case.towers, (tower + 1) * SIZE // case.towers)
        with tf.name_scope(scope), tf.variable_scope(tf.get_variable_scope(), reuse=tower > 0):
            losses.append(tf.losses.sparse_softmax_cross_entropy(labels[rows], case.network(images[rows], True)))
    if quantized:
        vq.CreateQuantizeTrainingGraph(config(name), **({'towers': scopes} if scopes else {}))
    loss = tf.identity(tf.add_n(losses) / case.towers, name='loss')
    saver = tf.train.Saver()
    order_updates()
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        case.optimizer().minimize(loss, step, name='train')
    return saver


def order_updates():
    """The last tower moves an average first, then the one before it: any order is right, the stored numbers are of this one."""
    before = {}
    for update in reversed([op for op in tf.get_default_graph().get_operations() if op.type == 'AssignSub']):
        variable, change = (operand.op for operand in update.inputs)
        if variable in before:
            change.inputs[0].op._add_control_input(before[variable])
        before[variable] = update


def take_steps(session, first, steps):
    """Trains on the batches from number `first` on; returns the losses."""
    return [float(session.run(['loss:0', 'train'], batch(step))[0]) for step in range(first, first + steps)]


def build_evaluation(name):
    """Builds a quantize evaluation graph with the input 'images:0' and the result RESULT."""
    CASES[name].network(tf.placeholder(tf.float32, [None, 8, 8, 2], name='images'), False)
    vq.CreateQuantizeEvaluationGraph(config(name))


def deploy(name, checkpoint):
    """The files of CreateQuantizeDeployGraph in a new graph; they go where deploy_checkpoint writes, too."""
    with tf.Graph().as_default():
        build_evaluation(name)
        return vq.CreateQuantizeDeployGraph(checkpoint, config(name, output_dir=os.path.join('quantized', 'deploy')))


def calibration_data(step):
    return {'images': batch(step)['images:0']}


def quantize_float_graph(**options):
    """Quantizes the stored frozen float graph of `mixed`; returns the path."""
    settings = vq.QuantizeConfig(['net_in'], [OUTPUT], [[-1, 8, 8, 2]], output_dir='frozen', calib_iter=CALIBRATION_STEPS)
    return vq.quantize_frozen(graph('float.pb'), calibration_data, settings, effort='fast', **options)


def run_model(graph_def, feeds, result=RESULT):
    """The result of a GraphDef."""
    with tf.Graph().as_default(), tf.Session(config=SESSION) as session:
        tf.import_graph_def(graph_def, name='')
        return session.run(result, feeds)


def positions(graph_def):
    """{name of a FixNeuron: position}"""
    return {node.name: int(node.attr['quantize_pos'].i) for node in graph_def.node if node.op == 'FixNeuron'}


def build_keras(**fields):
    """A tf.keras model, quantized, in a new session; call keras.backend.clear_session() at the end.

    fields: of the QuantizeConfig.
    """
    keras.backend.clear_session()
    keras.backend.set_session(tf.Session(config=SESSION))
    keras.backend.set_learning_phase(1)
    tf.set_random_seed(3)
    images = keras.Input([8, 8, 2], name='images')
    net = keras.layers.Conv2D(5, 3, use_bias=False, name='conv1')(images)
    net = keras.layers.ReLU(6., name='relu1')(keras.layers.BatchNormalization(momentum=0.8, name='norm1')(net))
    net = keras.layers.GlobalAveragePooling2D(name='pool')(net)
    model = keras.Model(images, keras.layers.Dense(4, name='logits')(net))
    vq.quantize_keras_model(model, vq.QuantizeConfig(
        ['images'], [OUTPUT], output_dir='keras', position_decay=0.8, **fields))
    model.compile(tf.train.GradientDescentOptimizer(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def fit_keras(model, first, steps):
    """Trains on the batches from number `first` on; returns the losses."""
    return [float(model.train_on_batch(*batch(step).values())) for step in range(first, first + steps)]


def stored(name):
    """The path of a stored file, or the prefix of a checkpoint."""
    return os.path.join(FOLDER, name)


def checkpoint(name):
    return stored('{}.ckpt-{}'.format(name, STEPS))


def read(path):
    """The bytes of a file, unpacked if it is a packed stored one."""
    packed = not os.path.exists(path)
    with gzip.open(path + '.gz') if packed else open(path, 'rb') as stream:
        return stream.read()


def graph(name):
    """A stored GraphDef."""
    return tf.GraphDef.FromString(read(stored(name)))


def meta_graph(name):
    """A stored MetaGraphDef."""
    return tf.MetaGraphDef.FromString(read(stored(name)))


def expected():
    """The stored numbers."""
    return json.loads(read(stored('expected.json')).decode())
