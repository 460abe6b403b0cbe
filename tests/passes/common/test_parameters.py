"""Parameters: nodes that depend on constants only, and their values."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.passes.checking import values
from tests.passes.folded_networks import graph_of
from vai_q_tf.graph.view import STANDS_FOR, GraphView
from vai_q_tf.passes.common.parameters import computed_floats, evaluate, has_variables, known_nodes, static_nodes


def _variable(graph_def, *names):
    """The GraphDef whose Consts `names` represent variables."""
    for node in graph_def.node:
        if node.name in names:
            node.attr[STANDS_FOR].s = node.name.encode()
    return graph_def


def _network():
    x = tf.placeholder(tf.float32, [None, 4], name='x')
    w = tf.constant(values(4, 4), name='w')
    scaled = tf.multiply(w, tf.constant(2.0, name='two'), name='scaled')
    table = tf.exp(tf.constant(values(4, seed=1), name='log'), name='table')
    tf.add(tf.matmul(x, scaled, name='product'), table, name='out')


def test_static_nodes_depend_on_constants_only():
    view = GraphView(graph_of(_network))
    assert static_nodes(view) == {'w', 'two', 'scaled', 'log', 'table'}


def test_placeholders_random_numbers_and_control_flow_are_not_static():
    def build():
        one = tf.constant(1.0, name='one')
        tf.placeholder_with_default(one, [], name='fed')
        tf.random_uniform([4], name='random')
        tf.identity(one, name='copy')
        tf.switch_case(tf.placeholder(tf.int32, [], name='x'), [lambda: one + 1.0])
        tf.raw_ops.Switch(data=one, pred=tf.constant(True, name='always'))
        tf.no_op('nothing')
    static = static_nodes(GraphView(graph_of(build)))
    assert {'one', 'copy', 'always'} <= static
    assert not {'x', 'fed', 'Switch', 'nothing'} & static
    assert not any(name.startswith('random') and 'shape' not in name and name.rpartition('/')[2] not in ('min', 'max', 'sub')
                   for name in static)


def test_nodes_with_control_inputs_are_static_if_branches_count():
    def build():
        x = tf.placeholder(tf.float32, [], name='x')
        with tf.control_dependencies([x]):
            late = tf.constant(2.0, name='late')
        tf.multiply(late, 3.0, name='six')
    view = GraphView(graph_of(build))
    assert not {'late', 'six'} & static_nodes(view)
    assert {'late', 'six'} <= static_nodes(view, in_branches=True)


def test_values_that_depend_on_variables_are_unknown():
    graph_def = _variable(graph_of(_network), 'w')
    view = GraphView(graph_def)
    static = static_nodes(view)
    assert static == {'w', 'two', 'scaled', 'log', 'table'}
    assert known_nodes(view, static) == {'two', 'log', 'table'}
    assert known_nodes(view, {'two', 'scaled'}) == {'two'}


def test_computed_floats():
    def build():
        x = tf.placeholder(tf.float32, [4], name='x')
        tf.add(tf.multiply(x, tf.multiply(2.0, 3.0, name='six'), name='scaled'), 1.0, name='sum')
        tf.multiply(tf.cast(x, tf.int32), 2, name='integer')
        tf.cond(tf.reduce_sum(x) > 0, lambda: tf.multiply(x, 2.0), lambda: x, name='branch')
    view = GraphView(graph_of(build))
    assert list(computed_floats(view, ('Mul', 'Add'), static_nodes(view))) == ['scaled', 'sum']


def test_whether_there_are_variables():
    assert not has_variables(graph_of(_network))
    assert has_variables(_variable(graph_of(_network), 'log'))


def test_values_of_tensors():
    def build():
        parts = tf.split(tf.constant(values(4, 2), name='c'), 2, 1, name='parts')
        tf.add(parts[0], parts[1], name='sum')
    graph_def = graph_of(build)
    found = evaluate(graph_def, GraphView(graph_def), ['sum', 'parts:1'])
    assert set(found) == {'sum', 'parts:1'}
    np.testing.assert_array_equal(found['parts:1'], values(4, 2)[:, 1:])
    np.testing.assert_array_equal(found['sum'], values(4, 2)[:, :1] + values(4, 2)[:, 1:])
    assert evaluate(graph_def, GraphView(graph_def), []) == {}


def test_tensors_that_do_not_fit_are_not_evaluated():
    graph_def = graph_of(_network)
    found = evaluate(graph_def, GraphView(graph_def), ['scaled', 'table'], lambda tensor: tensor.shape.ndims == 1)
    assert set(found) == {'table'}
    np.testing.assert_allclose(found['table'], np.exp(values(4, seed=1)), rtol=1e-6)


def test_a_failure_does_not_affect_other_values():
    def build():
        tf.gather(tf.constant(values(4)), tf.constant([9]), name='broken')
        tf.multiply(tf.constant([1.0, 2.0]), 3.0, name='fine')
    graph_def = graph_of(build)
    found = evaluate(graph_def, GraphView(graph_def), ['broken', 'fine'])
    assert {name: value.tolist() for name, value in found.items()} == {'fine': [3.0, 6.0]}
