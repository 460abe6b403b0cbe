"""Decisions on a network whose variables have no values."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import QuantizeConfig, errors
from vai_q_tf.graph.view import GraphView
from vai_q_tf.qat.network.decision import decide, variables_of
from vai_q_tf.qat.network.inference_form import inference_form


@pytest.fixture(scope='module')
def decision():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], 'x')
        with tf.variable_scope('cut', partitioner=tf.fixed_size_partitioner(2)):
            x = tf.layers.conv2d(x, 4, 3, use_bias=False, name='conv')
        x = tf.layers.batch_normalization(x, training=True, name='bn')
        tf.layers.dense(tf.reduce_mean(x, [1, 2]), 2, name='dense')
    config = QuantizeConfig(['x'], ['dense/BiasAdd'])
    graph_def = graph.as_graph_def(add_shapes=True)
    return decide(inference_form(graph_def, GraphView(graph_def), config).graph_def, config)


def test_parameters_of_one_variable(decision):
    """Folded weights are arithmetic on the kernel and the parameters of the norm, so on several variables."""
    assert variables_of(decision) == {'dense/kernel/wquant': 'dense/kernel', 'dense/bias/wquant': 'dense/bias'}


def test_shapes_are_noted_of_arithmetic_on_parameters_only(decision):
    noted = {node.name for node in decision.optimised.node if '_output_shapes' in node.attr}
    activations = {record.tensor for record in decision.plan.tensors if record.role == 'activation'}
    assert noted and not noted & activations
    weights = next(record.tensor for record in decision.plan.tensors if record.role == 'weight' and 'cut' in record.name)
    assert weights in noted
    assert [dim.size for dim in decision.shapes[weights][0].dim] == [3, 3, 3, 4]


def test_equalization_needs_values():
    with pytest.raises(errors.QuantizeError, match='do_cle is 1') as raised:
        decide(tf.GraphDef(), QuantizeConfig(['x'], ['y'], do_cle=1))
    assert raised.value.code == errors.INVALID_CONFIG
