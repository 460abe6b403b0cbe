"""The optimised network in a live graph: which ops it reuses, which it adds, and which inputs read the new ones."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import CreateQuantizeEvaluationGraph, QuantizeConfig
from vai_q_tf.qat import rewrite
from vai_q_tf.qat.live.live_network import LiveNetwork


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


def test_a_parameter_in_its_own_shape_is_not_reshaped(graph):
    """Folding shapes the offset of the norm like a bias, which it is already."""
    assert [graph.get_operation_by_name(name).type for name in _inputs(graph, 'conv/kernel/biases/wquant')][:1] == ['Sub']


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


def test_a_parameter_for_another_value_of_one_that_it_depends_on():
    """The offset of a norm, beta - mean * gamma / sqrt(variance), is beta for 1 / sqrt(variance) = 0."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 4], 'x')
        with tf.variable_scope('', initializer=tf.random_uniform_initializer(1, 2)):
            tf.layers.batch_normalization(x, name='bn', beta_initializer=None, moving_mean_initializer=None, fused=False)
        beta = next(variable for variable in tf.global_variables() if 'beta' in variable.name)
        config = QuantizeConfig(['x'], ['bn/batchnorm/add_1'])
        planned = rewrite.plan_rewrite(graph, config)
        network = LiveNetwork(graph, planned.decision, planned.forms[0], '', None)
        product, = [name for name in network.view.names if network.view.op(name) == 'Mul' and 'x' in network.view.inputs(name)]
        offset = next(name for name in network.view.inputs('bn/batchnorm/add_1') if name != product)
        reciprocal, = [name for name in network.view.upstream([offset]) if network.view.op(name) == 'Rsqrt']
        unchanged = network.parameter(offset)
        changed = network.parameter_with(offset, {reciprocal: tf.zeros([4])})
        session.run(tf.global_variables_initializer())
        found, other, expected = session.run([changed, unchanged, beta])
    np.testing.assert_array_equal(found, expected)
    assert (np.abs(other - expected) > 0.1).all()
