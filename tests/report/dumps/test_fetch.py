"""The order of tensors in a graph."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.report.dumps.fetch import graph_order


def test_constants_come_before_the_op_that_reads_them_wherever_they_stand_in_the_file():
    with tf.Graph().as_default() as graph:
        tf.constant([1.0], name='alone')
        y = tf.placeholder(tf.float32, [1], 'x')
        for name in ('first', 'second'):
            y = tf.multiply(y, tf.constant([2.0], name=name + '/weights'), name=name)
        tf.add(tf.placeholder(tf.float32, [1], 'x2'), y, name='sum')
        graph_def = graph.as_graph_def()
    names = [node.name for node in graph_def.node]
    for order in (names, names[::-1], sorted(names, key=lambda name: 'weights' not in name)):
        view = GraphView(editor.subgraph(graph_def, sorted(graph_def.node, key=lambda node: order.index(node.name))))
        found = graph_order(view, names)
        found.remove('alone')
        assert found == ['x2', 'x', 'first/weights', 'first', 'second/weights', 'second', 'sum']


def test_a_loop_has_an_order_too():
    with tf.Graph().as_default() as graph:
        tf.while_loop(lambda i: i < 3, lambda i: i + 1, [tf.placeholder(tf.int32, [], 'x')], name='loop')
        view = GraphView(graph.as_graph_def())
    assert sorted(graph_order(view, view.names)) == sorted(view.names)
