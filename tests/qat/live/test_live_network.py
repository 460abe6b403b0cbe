"""The optimised network in a live graph: which ops it reuses, which it adds, and which inputs read the new ones."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import CreateQuantizeEvaluationGraph, QuantizeConfig


@pytest.fixture(scope='module')
def graph(tmp_path_factory):
    """An evaluation graph of a folded batch norm, with an op outside the range that reads a tensor inside."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], 'x')
        with tf.device('/device:CPU:1'):
            x = tf.layers.conv2d(x, 4, 3, use_bias=False, name='conv')
            x = tf.nn.relu(tf.layers.batch_normalization(x, name='bn'), name='relu')
        tf.layers.dense(tf.layers.flatten(tf.nn.max_pool2d(x, 2, 2, 'VALID', name='pool')), 2, name='dense')
        tf.identity(x, name='outside')
        CreateQuantizeEvaluationGraph(QuantizeConfig(['x'], ['dense/BiasAdd'], output_dir=str(tmp_path_factory.mktemp('out'))))
    return graph


def _inputs(graph, name):
    return [tensor.op.name for tensor in graph.get_operation_by_name(name).inputs]


def test_kept_ops_read_quantized_tensors(graph):
    assert _inputs(graph, 'pool') == ['relu/aquant']
    assert _inputs(graph, 'dense/MatMul')[1] == 'dense/kernel/wquant'
    assert _inputs(graph, 'dense/BiasAdd') == ['dense/MatMul', 'dense/bias/wquant']


def test_readers_outside_of_the_range_are_rerouted(graph):
    assert _inputs(graph, 'outside') == ['relu/aquant']


def test_the_float_convolution_is_left_and_a_folded_one_added(graph):
    assert _inputs(graph, 'conv/Conv2D') == ['x/aquant', 'conv/kernel/read']
    added, = [op for op in graph.get_operations() if op.type == 'Conv2D' and op.name != 'conv/Conv2D']
    assert [tensor.op.name for tensor in added.inputs] == ['x/aquant', 'conv/kernel/wquant']
    assert added.name == 'conv/Conv2D_Fold'


def test_quantizers_are_where_their_tensor_is_used(graph):
    """The kernel is on the device of its convolution, and every tensor is quantized once."""
    quantizers = [op for op in graph.get_operations() if op.type == 'VaiFixNeuron']
    assert {op.name: op.device for op in quantizers if op.name in ('conv/kernel/wquant', 'relu/aquant')} == {
        'conv/kernel/wquant': '/device:CPU:1', 'relu/aquant': '/device:CPU:1'}
    sources = [op.inputs[0] for op in quantizers]
    assert len(sources) == len(set(sources))
