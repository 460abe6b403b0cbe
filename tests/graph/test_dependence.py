"""Reachability, order and readers, on small graphs."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.dependence import called_functions, changing_nodes, in_order, operands, reach, readers
from vai_q_tf.graph.view import GraphView


def _graph_def():
    return tf.GraphDef(node=[
        tf.NodeDef(name='x', op='Placeholder'), tf.NodeDef(name='c', op='Const'),
        tf.NodeDef(name='both', op='Add', input=['x:0', 'c']), tf.NodeDef(name='square', op='Mul', input=['c', 'c']),
        tf.NodeDef(name='waits', op='Neg', input=['square', '^both'])])


def test_reach_goes_round_circles():
    following = {'a': ['b', 'c'], 'b': ['a'], 'c': ['d'], 'd': ['c'], 'e': ['a']}
    assert reach(['a'], following.__getitem__) == set('abcd')
    assert reach(iter('ec'), following.__getitem__) == set('abcde')


def test_order_of_dependence():
    order = in_order({'d': ['b', 'c', 'b'], 'b': ['a'], 'c': [], 'a': []})
    assert sorted(order) == list('abcd') and order.index('a') < order.index('b') < order.index('d') > order.index('c')
    assert in_order({'a': ['b'], 'b': ['c'], 'c': ['b'], 'd': ['e'], 'e': []}) == ['e', 'd']  # b, c: a cycle; a: downstream
    assert in_order({}) == []


def test_readers():
    nodes = _graph_def().node
    every, data = readers(nodes), readers(nodes, controls=False)
    assert list(every('x')) == ['both'] and list(every('c')) == ['both', 'square', 'square']
    assert list(every('both')) == ['waits'] and list(data('both')) == []
    assert list(data('square')) == ['waits'] and list(every('waits')) == list(every('nothing')) == []


def test_called_functions():
    node = tf.NodeDef(name='call', op='f')
    node.attr['body'].func.name = 'g'
    for name in ('h', 'f', 'unknown'):
        node.attr['branches'].list.func.add(name=name)
    assert sorted(called_functions(node, 'fgh')) == ['f', 'f', 'g', 'h'] and called_functions(node, ()) == []


def test_operands_and_changing_nodes():
    view = GraphView(_graph_def())
    assert operands(view, 'waits') == ['square', 'both'] and operands(view, 'both') == ['x', 'c']
    assert changing_nodes(view) == {'x', 'both', 'waits'}
