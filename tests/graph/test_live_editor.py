"""Edits of a live graph: the placement of new ops, the inputs that change, and the graphs that are refused."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import live_editor


def _network():
    x = tf.placeholder(tf.float32, [2], name='x')
    with tf.device('/device:CPU:0'):
        y = tf.negative(x, name='y')
    tf.add(y, y, name='twice')
    with tf.control_dependencies([y]):
        tf.add(x, 1.0, name='waits')
    return tf.get_default_graph(), y


def _refused(code, check, *args):
    with pytest.raises(errors.QuantizeError) as raised:
        check(*args)
    assert raised.value.code == code
    return str(raised.value)


def test_a_finalized_graph_is_refused():
    graph, _ = _network()
    live_editor.check_editable(graph)
    graph.finalize()
    for check in (live_editor.check_not_finalized, live_editor.check_editable):
        _refused(errors.GRAPH_FINALIZED, check, graph)


def test_a_graph_with_gradients_is_refused():
    graph, y = _network()
    forward = {op.name for op in graph.get_operations()}
    tf.gradients(tf.square(y, name='loss'), y)
    assert "'gradients/loss_grad/" in _refused(errors.GRAPH_HAS_GRADIENTS, live_editor.check_editable, graph)
    live_editor.check_editable(graph, {op.name for op in graph.get_operations()} - forward)


def test_control_flow_is_refused():
    graph, y = _network()
    tf.cond(tf.reduce_sum(y) > 0, lambda: tf.negative(y, name='inside'), lambda: y)
    live_editor.check_no_control_flow(graph, ['x', 'y', 'twice'])
    assert "'cond/inside'" in _refused(errors.UNSUPPORTED_GRAPH, live_editor.check_no_control_flow, graph, ['y', 'cond/inside'])


def test_tensors_have_the_names_of_a_graph_def():
    graph, y = _network()
    values = tf.split(y, 2, name='parts')
    assert live_editor.tensor(graph, 'y') is y and live_editor.tensor(graph, 'parts:1') is values[1]


def test_readers_are_rerouted():
    graph, y = _network()
    assert live_editor.consumers(y) == [('twice', 0), ('twice', 1)]
    live_editor.reroute(graph, [('twice', 1)], graph.get_tensor_by_name('x:0'))
    assert live_editor.consumers(y) == [('twice', 0)]
    with tf.Session() as session:
        np.testing.assert_array_equal(session.run('twice:0', {'x:0': [1, 2]}), [0, 0])


def test_control_inputs_are_replaced():
    graph, y = _network()
    waiter = graph.get_operation_by_name('waits')
    one, other = tf.no_op('one'), tf.no_op('other')
    live_editor.replace_control_inputs(waiter, [y.op], [one, other])
    assert waiter.control_inputs == [one, other] and [tensor.op.name for tensor in waiter.inputs] == ['x', 'waits/y']
    live_editor.replace_control_inputs(waiter, [one], [])
    assert waiter.control_inputs == [other]


@pytest.mark.parametrize('grouped, name', [(False, 'new'), (True, 'y/quantize/new')])
def test_new_ops_are_placed_with_a_tensor(grouped, name):
    graph, y = _network()
    with tf.name_scope('of_the_caller'), tf.control_dependencies([tf.no_op('first')]), tf.device('/device:GPU:3'):
        with live_editor.with_placement_of(graph, y, grouped):
            op = tf.no_op('new')
    assert (op.name, op.device, op.control_inputs) == (name, '/device:CPU:0', [])


def test_a_node_is_added_without_its_private_attrs():
    graph, y = _network()
    node = tf.NodeDef(name='ignored', op='LeakyRelu')
    node.attr['alpha'].f, node.attr['T'].type, node.attr['_note'].s = 0.5, tf.float32.as_datatype_enum, b'private'
    ops = [live_editor.add_node(graph, node, [y], name) for name in ('leaky', 'leaky')]
    assert [op.name for op in ops] == ['leaky', 'leaky_1'] and ops[0].device == '/device:CPU:0'
    assert ops[0].inputs[0] is y and ops[0].get_attr('alpha') == 0.5 and '_note' not in ops[0].node_def.attr


def test_a_node_without_inputs_is_added():
    graph, _ = _network()
    node = tf.NodeDef(op='Const')
    node.attr['dtype'].type = tf.float32.as_datatype_enum
    node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto([3.0]))
    with tf.name_scope('of_the_caller'), tf.control_dependencies([tf.no_op('first')]):
        op = live_editor.add_node(graph, node, [], 'three')
    assert op.name == 'three' and not op.control_inputs
    with tf.Session(graph=graph) as session:
        assert session.run('three:0').tolist() == [3.0]
