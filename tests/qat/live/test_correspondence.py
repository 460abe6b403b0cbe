"""Which ops of a live graph compute what the optimised network computes under their names."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import QuantizeConfig
from vai_q_tf.graph.view import REDEFINED, GraphView
from vai_q_tf.qat.live.correspondence import Correspondence
from vai_q_tf.qat.network.decision import decide
from vai_q_tf.qat.network.inference_form import inference_form


@pytest.fixture(scope='module')
def correspondence():
    """Of a folded batch norm, a max pool that the passes leave alone, and a dropout that they remove."""
    with tf.Graph().as_default() as graph:
        x = tf.layers.conv2d(tf.placeholder(tf.float32, [None, 8, 8, 3], 'x'), 4, 3, use_bias=False, name='conv')
        x = tf.nn.relu(tf.layers.batch_normalization(x, training=True, name='bn'), name='relu')
        x = tf.nn.max_pool2d(tf.layers.dropout(x, training=True, name='drop'), 2, 2, 'VALID', name='pool')
        tf.layers.dense(tf.layers.flatten(x), 2, name='dense')
    config = QuantizeConfig(['x'], ['dense/BiasAdd'])
    graph_def = graph.as_graph_def(add_shapes=True)
    form = inference_form(graph_def, GraphView(graph_def), config)
    decision = decide(form.graph_def, config)
    return Correspondence(GraphView(decision.optimised), GraphView(decision.clean), form)


def test_ops_whose_inputs_are_the_same_are_kept(correspondence):
    """The convolution has folded weights now, and the bias addition is new."""
    assert {'x', 'pool', 'dense/MatMul', 'dense/BiasAdd'} <= correspondence.kept
    assert 'conv/Conv2D' not in correspondence.kept
    assert not correspondence.kept & correspondence.static


def test_constants_are_the_same_parameters_and_folded_ones_are_not(correspondence):
    assert {'flatten/strided_slice/stack', 'flatten/Reshape/shape/1'} <= correspondence.same_parameters
    assert correspondence.same_parameters < correspondence.static
    assert not any(name.startswith(('bn/', 'conv/')) for name in correspondence.same_parameters)


def test_the_place_of_a_norm_is_its_bias_addition(correspondence):
    place = correspondence.place_of('bn/FusedBatchNormV3')
    assert place is not None and place not in correspondence.kept
    assert correspondence.place_of('pool') == 'pool'
    assert correspondence.place_of('conv/Conv2D') is None


def test_a_name_that_the_passes_reuse_is_not_kept():
    with tf.Graph().as_default() as graph:
        tf.nn.relu(tf.placeholder(tf.float32, [None, 2], 'x'), name='relu')
    clean, optimised = graph.as_graph_def(), graph.as_graph_def()
    form = inference_form(clean, GraphView(clean), QuantizeConfig(['x'], ['relu']))
    assert 'relu' in Correspondence(GraphView(optimised), GraphView(clean), form).kept
    next(node for node in optimised.node if node.name == 'relu').attr[REDEFINED].b = True
    found = Correspondence(GraphView(optimised), GraphView(clean), form)
    assert 'relu' not in found.kept and found.place_of('relu') is None
