"""Networks of slim and Keras: outputs stay equal, and no batch norm is left that could be folded."""
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow import keras
from tensorflow.contrib import slim
from tensorflow.contrib.slim import nets

from tests.loading import load
from tests.passes.checking import values
from tests.passes.folded_networks import assert_equal, settings
from tests.support import run
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes import optimise

_NORMS = ('FusedBatchNorm', 'FusedBatchNormV2', 'FusedBatchNormV3')


def _slim(network, scope, size, fused=True, **options):
    def build():
        x = tf.placeholder(tf.float32, [None, size, size, 3], name='x')
        with slim.arg_scope([slim.batch_norm], fused=fused), slim.arg_scope(scope()):
            out = network(x, num_classes=10, is_training=False, **options)[0]
        tf.identity(out, name='out')
    return build


def _mobilenet_v1_of_slim():
    x = tf.placeholder(tf.float32, [None, 32, 32, 3], name='x')
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], normalizer_fn=slim.batch_norm, activation_fn=tf.nn.relu6,
                        normalizer_params={'is_training': False, 'scale': True}):
        y = slim.conv2d(x, 8, 3, stride=2)
        for filters, stride in ((16, 1), (32, 2), (32, 1)):
            y = slim.separable_conv2d(y, None, 3, 1, stride=stride)
            y = slim.conv2d(y, filters, 1)
    y = slim.conv2d(tf.reduce_mean(y, [1, 2], keepdims=True), 10, 1, activation_fn=None)
    tf.identity(slim.softmax(slim.dropout(tf.squeeze(y, [1, 2]), is_training=False)), name='out')


def _dense_blocks():
    """Concatenated pre-activation blocks: some batch norms follow a concat, others a convolution."""
    keras.backend.set_learning_phase(0)
    layers = keras.layers

    def norm(y):
        return layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Conv2D(8, 3, use_bias=False)(layers.Input([16, 16, 3], name='x'))
    y = layers.MaxPool2D(2)(norm(y))
    for _ in range(2):
        for _ in range(3):
            grown = norm(layers.Conv2D(8, 1, use_bias=False)(norm(y)))
            y = layers.Concatenate()([y, layers.Conv2D(4, 3, padding='same')(grown)])
        y = layers.AveragePooling2D(2)(layers.Conv2D(8, 1)(y))
    tf.identity(layers.Dense(3)(layers.Flatten()(norm(y))), name='out')


def _keras(network, size, **options):
    def build():
        keras.backend.set_learning_phase(0)
        x = keras.layers.Input([size, size, 3], name='x')
        tf.identity(network(weights=None, input_tensor=x, classes=10, **options)(x), name='out')
    return build


_NETWORKS = {
    'mobilenet v1 of slim': (_mobilenet_v1_of_slim, 0),
    'inception v1 of slim': (_slim(nets.inception.inception_v1, nets.inception.inception_v1_arg_scope, 224), 0),
    'resnet 50 v1 of slim': (_slim(nets.resnet_v1.resnet_v1_50, nets.resnet_v1.resnet_arg_scope, 32), 0),
    'resnet 50 v2 of slim': (_slim(nets.resnet_v2.resnet_v2_50, nets.resnet_v2.resnet_arg_scope, 32), 17),
    'resnet 50 v1 of slim, decomposed, dilated': (_slim(
        nets.resnet_v1.resnet_v1_50, nets.resnet_v1.resnet_arg_scope, 33, fused=False, global_pool=False, output_stride=8), 0),
    'vgg 16 of keras': (_keras(keras.applications.VGG16, 32), 0),
    'mobilenet v1 of keras': (_keras(keras.applications.MobileNet, 32), 0),
    'mobilenet v2 of keras': (_keras(keras.applications.MobileNetV2, 32), 0),
    'resnet 50 v1 of keras': (_keras(keras.applications.ResNet50, 32), 0),
    'resnet 50 v2 of keras': (_keras(keras.applications.ResNet50V2, 32), 17),
    'dense blocks': (_dense_blocks, 7),
}
_SMALL = ('mobilenet v1 of slim', 'dense blocks')


def _randomise(session):
    """Statistics, gammas and betas like those of a trained network."""
    random, values = np.random.RandomState(0), {}
    for variable in tf.global_variables():
        if any(word in variable.name for word in ('moving', 'gamma', 'beta', 'bias')):
            low, high = (0.5, 1.5) if 'variance' in variable.name or 'gamma' in variable.name else (-0.3, 0.3)
            values[variable] = random.uniform(low, high, variable.shape.as_list()).astype(np.float32)
    load(values, session)


def _frozen(build):
    keras.backend.clear_session()
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.set_random_seed(0)
        keras.backend.set_session(session)
        build()
        session.run(tf.global_variables_initializer())
        _randomise(session)
        result = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ['out'])
    keras.backend.clear_session()
    return result


def _unfolded(graph_def):
    """The number of Mul nodes, after a check that none of them could be folded into the op before it."""
    view = GraphView(graph_def)
    products = [name for name in view.names if view.op(name) == 'Mul']
    for name in products:
        for tensor in view.inputs(name):
            assert trait(view.op(tensor)).kind != WEIGHTED or len(view.consumers(tensor)) > 1
    return len(products)


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[] if name in _SMALL else [pytest.mark.slow]) for name in _NETWORKS])
def test_networks(name):
    build, alone = _NETWORKS[name]
    graph_def = _frozen(build)
    size = next(node.attr['shape'].shape.dim[1].size for node in graph_def.node if node.name == 'x')
    x = values(2, size, size, 3)
    expected = run(graph_def, ['out'], {'x': x})
    for fold_constant in (True, False):
        result = optimise(graph_def, settings(), fold_constant)
        assert_equal(expected, run(result, ['out'], {'x': x}), 1e-4)
        assert not any(node.op in _NORMS or node.op in ('Identity', 'Rsqrt') and node.name != 'out' for node in result.node)
        assert _unfolded(result) == alone


@pytest.mark.slow
def test_time_is_linear_in_the_number_of_nodes():
    def chain(blocks):
        graph = tf.GraphDef()
        with tf.Graph().as_default() as source:
            y = tf.placeholder(tf.float32, [None, 4, 4, 2], name='x')
            w = tf.constant(values(1, 1, 2, 2), name='w')
            tf.identity(tf.nn.conv2d(y, w, 1, 'SAME'))
        template = {node.op: node for node in source.as_graph_def().node}
        graph.node.extend([template['Placeholder']])
        last = 'x'
        for number in range(blocks):
            for op, name, inputs in (('Const', 'w', []), ('Identity', 'read', ['w']), ('Conv2D', 'conv', [last, 'read']),
                                     ('Const', 's', []), ('Mul', 'mul', ['conv', 's']), ('Const', 'o', []),
                                     ('Add', 'add', ['mul', 'o']), ('Relu', 'relu', ['add'])):
                node = graph.node.add()
                if op in template:
                    node.CopyFrom(template[op])
                node.op, node.name = op, '{}_{}'.format(name, number)
                if name in ('s', 'o'):
                    node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(np.float32([1, 2])))
                node.attr['T' if op != 'Const' else 'dtype'].type = tf.float32.as_datatype_enum
                del node.input[:]
                node.input.extend(operand if operand == last else '{}_{}'.format(operand, number) for operand in inputs)
            last = 'relu_{}'.format(number)
        return graph, last

    def seconds(blocks):
        graph, last = chain(blocks)
        start = time.process_time()
        result = optimise(graph, settings([last], simulate_dpu=1))
        assert sum(node.op == 'BiasAdd' for node in result.node) == blocks
        return time.process_time() - start
    small, large = min(seconds(625) for _ in range(2)), seconds(2500)
    assert large < 4 * 2 * small + 0.5, 'from 5,000 to 20,000 nodes: {} to {} s'.format(small, large)
