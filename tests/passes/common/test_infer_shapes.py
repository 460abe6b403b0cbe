"""Shape inference: from the placeholders, without the values of weights, and shapes that do not fit."""
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import assert_shapes, nodes, values
from tests.passes.folded_networks import graph_of, settings
from vai_q_tf import errors
from vai_q_tf.passes import optimise
from vai_q_tf.passes.common.infer_shapes import infer_shapes


def _network():
    x = tf.placeholder(tf.float32, [None, None, None, 3], name='x')
    y = tf.nn.conv2d(x, tf.constant(values(3, 3, 3, 64)), 2, 'SAME', name='conv')
    y = tf.nn.conv2d(y, tf.constant(values(1, 1, 64, 8)), 1, 'SAME')
    y = tf.reshape(y, [-1, 4 * 4 * 8], name='flat')
    y = tf.matmul(y, tf.constant(values(128, 5)), name='fc')
    tf.identity(tf.reduce_mean(y, [1]), name='out')


def _shape(graph_def, name):
    return [dim.size for dim in nodes(graph_def)[name].attr['_output_shapes'].list.shape[0].dim]


def test_all_nodes_have_the_shapes_that_tensorflow_infers():
    result = infer_shapes(graph_of(_network), frozenset(), settings())
    assert_shapes(result)
    assert _shape(result, 'conv') == [-1, -1, -1, 64] and _shape(result, 'fc') == [-1, 5]
    again = infer_shapes(result, frozenset(), settings())
    assert again == result
    assert nodes(result)['Const_1'].attr['value'] == nodes(graph_of(_network))['Const_1'].attr['value']


def test_an_op_that_does_not_take_the_given_shapes():
    def build():
        x = tf.placeholder(tf.float32, None, name='x')
        y = tf.nn.conv2d(x, tf.constant(values(3, 3, 3, 8)), 1, 'SAME', name='conv')
        tf.reduce_mean(y, [1, 2], name='out')
    graph_def = graph_of(build)
    config = settings(simulate_dpu=1, input_shapes=[[-1, 8, 8, 4]])
    with pytest.raises(errors.QuantizeError, match=r"'conv'.*x: \[-1, 8, 8, 4\].*Depth of input") as raised:
        optimise(graph_def, config)
    assert raised.value.code == errors.LENGTH_MISMATCH
    config.input_shapes = [[-1, 8, 8, 3]]
    assert nodes(optimise(graph_def, config))['out'].op == 'Squeeze'


def test_results_have_no_noted_shapes():
    result = optimise(graph_of(_network), settings(simulate_dpu=1, fold_reshape=1, input_shapes=[[-1, 8, 8, 3]]))
    assert not any('_output_shapes' in node.attr for node in result.node)
