"""The edits of a pass: redirects, appended nodes, unused nodes, protected names."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.passes.folded_networks import inputs_of
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import REDEFINED, SOURCE_NODES
from vai_q_tf.passes.common.rewriter import Rewriter, make_node, redefined, results_of


def _graph():
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 3], name='x')
        relu = tf.nn.relu(x, name='relu')
        a = tf.identity(relu, name='a')
        with tf.control_dependencies([a]):
            one = tf.constant([1., 2., 3.], name='one')
        tf.add(a, one, name='out')
    return graph.as_graph_def()


def test_no_edit_gives_the_graph_itself():
    graph_def = _graph()
    assert Rewriter(graph_def, ['out']).result() is graph_def


def test_redirects_reach_data_and_control_inputs_and_unused_nodes_are_dropped():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.redirect('a', 'relu')
    assert inputs_of(rewriter.result()) == {'x': [], 'relu': ['x'], 'one': ['^relu'], 'out': ['relu', 'one']}


def test_redirects_chain_through_new_nodes():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.redirect('a', 'relu')
    rewriter.add(make_node('Relu6', 'six', ['x'], T=tf.float32))
    rewriter.redirect('relu', 'six')
    assert inputs_of(rewriter.result()) == {'x': [], 'six': ['x'], 'one': ['^six'], 'out': ['six', 'one']}


def test_append_redirects_the_readers():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.append('relu', [make_node('Neg', 'relu/neg', ['relu'], T=tf.float32)], 'relu/inner')
    assert inputs_of(rewriter.result())['relu/neg'] == ['relu']
    assert inputs_of(rewriter.result())['a'] == ['relu/neg']


def test_append_keeps_a_protected_name():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.append('out', [make_node('Neg', 'n', ['out'], T=tf.float32)], 'out/inner')
    result = rewriter.result()
    assert inputs_of(result)['out'] == ['out/inner'] and inputs_of(result)['out/inner'] == ['a', 'one']
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(result, name='')
        np.testing.assert_array_equal(session.run('out:0', {'x:0': [[1., -1., 2.]]}), [[-2., -2., -5.]])


def test_values_and_sources():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    np.testing.assert_array_equal(rewriter.value('one'), [1, 2, 3])
    rewriter.set_value('one', np.float32([4, 5, 6]))
    first = editor.copy(rewriter.node('one'))
    rewriter.inherit_sources(first, 'a')
    rewriter.add(first)
    rewriter.inherit_sources(first, 'relu', 'a')
    result = {node.name: node for node in rewriter.result().node}
    assert list(result['one'].attr[SOURCE_NODES].list.s) == [b'a', b'relu']
    np.testing.assert_array_equal(tf.make_ndarray(result['one'].attr['value'].tensor), [4, 5, 6])


def test_unique_names():
    rewriter = Rewriter(_graph(), ['out'])
    assert [rewriter.unique('a'), rewriter.unique('a'), rewriter.unique('new')] == ['a_1', 'a_2', 'new']


def _results(graph_def, name):
    node, = [node for node in graph_def.node if node.name == name]
    return results_of(node)


def test_a_node_records_the_tensors_that_its_readers_read_before():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.append('relu', [make_node('Neg', 'relu/neg', ['relu'], T=tf.float32)], 'relu/inner')
    result = rewriter.result()
    assert _results(result, 'relu/neg') == ['relu']
    assert not any(_results(result, name) for name in ('x', 'relu', 'a', 'one', 'out'))


def test_results_are_recorded_through_redirects_and_passes():
    first = Rewriter(_graph(), ['x', 'out'])
    first.redirect('a', 'relu')
    first.add(make_node('Relu6', 'six', ['x'], T=tf.float32))
    first.redirect('relu', 'six')
    between = first.result()
    assert sorted(_results(between, 'six')) == ['a', 'relu']
    second = Rewriter(between, ['x', 'out'])
    second.append('six', [make_node('Neg', 'last', ['six'], T=tf.float32)], 'inner')
    result = second.result()
    assert sorted(_results(result, 'last')) == ['a', 'relu', 'six']
    assert inputs_of(result)['out'] == ['last', 'one']


def test_a_second_output_is_recorded_with_its_index():
    def build():
        x = tf.placeholder(tf.float32, [None, 4], name='x')
        left, right = tf.split(x, 2, 1, name='parts')
        tf.add(left, right, name='out')
    graph = tf.Graph()
    with graph.as_default():
        build()
    rewriter = Rewriter(graph.as_graph_def(), ['x', 'out'])
    rewriter.add(make_node('Neg', 'negative', ['parts:1'], T=tf.float32))
    rewriter.redirect('parts:1', 'negative', but=['negative'])
    result = rewriter.result()
    assert inputs_of(result)['out'] == ['parts', 'negative'] and _results(result, 'negative') == ['parts:1']


def test_the_mark_of_a_redefined_node_stays():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.add(redefined(editor.exact_copy(rewriter.node('relu'))))
    first = rewriter.result()
    assert [node.name for node in first.node if REDEFINED in node.attr] == ['relu']
    again = Rewriter(first, ['x', 'out'])
    again.set_input('relu', 0, 'x')
    assert [node.name for node in again.result().node if REDEFINED in node.attr] == ['relu']
