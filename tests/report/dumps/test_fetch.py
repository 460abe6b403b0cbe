"""The order of tensors in a graph, how many are run at a time, and their integers."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.errors import QuantizeError
from vai_q_tf.fixed_point import POSITION_ZERO
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.report.dumps import fetch
from vai_q_tf.report.dumps.fetch import Fetcher, graph_order, integers_of


def test_constants_come_right_before_the_op_that_reads_them():
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


@pytest.mark.parametrize('limit, chunks', [(1 << 20, 1), (3 * 64 * 4, 1), (3 * 64 * 4 - 1, 2), (1, 3)])
def test_as_many_tensors_at_a_time_as_fit(monkeypatch, limit, chunks):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8], 'x')
        for name in 'abc':
            tf.multiply(x, 2.0, name=name)
    monkeypatch.setattr(fetch, '_BYTES_OF_ONE_RUN', limit)
    with Fetcher(graph.as_graph_def()) as fetcher:
        runs, run = [], fetcher._session.run
        fetcher._session.run = lambda tensors, feed: runs.append(len(tensors)) or run(tensors, feed)
        found = list(fetcher.values(['a', 'b', 'c'], {'x:0': np.ones([8, 8], np.float32)}))
    assert len(runs) == chunks and sum(runs) == 3
    assert [name for name, _ in found] == ['a', 'b', 'c'] and all((value == 2).all() for _, value in found)


@pytest.mark.parametrize('bits, dtype', [(8, np.int8), (9, np.int16), (16, np.int16), (17, np.int32)])
def test_integers(bits, dtype):
    half = 2**(bits - 1)
    integers = np.array([-half, -1, 0, half - 1])
    found = integers_of('t', (integers / 8.0).astype(np.float32), 3, bits)
    assert found.dtype == dtype and found.tolist() == integers.tolist()
    for wrong in (-half - 1, half, half + 1, 2 * half, 0.5):
        with pytest.raises(QuantizeError, match='no integers of {} bits'.format(bits)):
            integers_of('t', np.float32([wrong / 8.0]), 3, bits)
    assert integers_of('t', np.zeros(2, np.float32), POSITION_ZERO, bits).tolist() == [0, 0]
