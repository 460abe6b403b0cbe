"""An inference form with Consts for its variables is the graph that freezing writes, except for values."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import QuantizeConfig, errors
from vai_q_tf.qat.network.stand_ins import all_inputs, output_of, variable_of, with_stand_ins


def _embedding():
    x = tf.placeholder(tf.int32, [None], 'x')
    with tf.variable_scope('', use_resource=True):
        table = tf.get_variable('table', [5, 3])
        tf.add(tf.gather(table, x), tf.get_variable('bias', [3]), name='out')


def test_the_ops_are_those_of_a_frozen_graph():
    with tf.Graph().as_default() as graph, tf.Session() as session:
        _embedding()
        graph_def = graph.as_graph_def(add_shapes=True)
        session.run(tf.global_variables_initializer())
        frozen = tf.graph_util.convert_variables_to_constants(session, graph_def, ['out'])
    found = {node.name: node for node in with_stand_ins(tf.graph_util.extract_sub_graph(graph_def, ['out'])).node}
    assert {name: node.op for name, node in found.items()} == {node.name: node.op for node in frozen.node}
    for node in frozen.node:
        variable = variable_of(found[node.name])
        assert variable == (node.name if node.name in ('table', 'bias') else '')
        if variable:
            value = found[node.name].attr['value'].tensor
            assert [dim.size for dim in value.tensor_shape.dim] == list(tf.make_ndarray(node.attr['value'].tensor).shape)
            assert value.dtype == tf.float32 and not value.tensor_content and not value.float_val


def test_a_variable_without_a_static_shape_is_an_error():
    with tf.Graph().as_default() as graph:
        tf.Variable(tf.placeholder_with_default([1.], [None]), name='loose', validate_shape=False, dtype=tf.float32)
    with pytest.raises(errors.QuantizeError, match="variable 'loose' has no static shape") as raised:
        with_stand_ins(graph.as_graph_def())
    assert raised.value.code == errors.UNSUPPORTED_GRAPH


def test_further_outputs_of_an_input_node_are_inputs_with_their_shapes():
    with tf.Graph().as_default() as graph:
        tf.placeholder(tf.float32, [None, 4], 'split')
        tf.placeholder(tf.float32, [None, 2], 'split/output_1')
        graph_def = graph.as_graph_def()
    graph_def.node[1].attr['_output_of'].s = b'split:1'
    assert [output_of(node) for node in graph_def.node] == ['', 'split:1']
    config = all_inputs(graph_def, QuantizeConfig(['split'], ['out'], [[-1, 4]]))
    assert (config.input_nodes, config.input_shapes) == (['split', 'split/output_1'], [[-1, 4], [-1, 2]])
