"""What is reached, and who reads what."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.dependence import changing_nodes, operands, reach, readers
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


def test_readers():
    nodes = _graph_def().node
    every, data = readers(nodes), readers(nodes, controls=False)
    assert list(every('x')) == ['both'] and list(every('c')) == ['both', 'square', 'square']
    assert list(every('both')) == ['waits'] and list(data('both')) == []
    assert list(data('square')) == ['waits'] and list(every('waits')) == list(every('nothing')) == []


def test_what_a_graph_depends_on():
    view = GraphView(_graph_def())
    assert operands(view, 'waits') == ['square', 'both'] and operands(view, 'both') == ['x', 'c']
    assert changing_nodes(view) == {'x', 'both', 'waits'}
