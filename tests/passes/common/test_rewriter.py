"""The edits of a pass: redirecting, appending, dropping what is unused, names that are kept."""
import numpy as np
import tensorflow.compat.v1 as tf

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


def _inputs(graph_def):
    return {node.name: list(node.input) for node in graph_def.node}


def test_no_edit_gives_the_graph_itself():
    graph_def = _graph()
    assert Rewriter(graph_def, ['out']).result() is graph_def


def test_redirect_reaches_data_and_control_inputs_and_drops_what_is_unused():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.redirect('a', 'relu')
    assert _inputs(rewriter.result()) == {'x': [], 'relu': ['x'], 'one': ['^relu'], 'out': ['relu', 'one']}


def test_redirects_chain_through_new_nodes():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.redirect('a', 'relu')
    rewriter.add(make_node('Relu6', 'six', ['x'], T=tf.float32))
    rewriter.redirect('relu', 'six')
    assert _inputs(rewriter.result()) == {'x': [], 'six': ['x'], 'one': ['^six'], 'out': ['six', 'one']}


def test_append_redirects_the_readers():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.append('relu', [make_node('Neg', 'relu/neg', ['relu'], T=tf.float32)], 'relu/inner')
    assert _inputs(rewriter.result())['relu/neg'] == ['relu']
    assert _inputs(rewriter.result())['a'] == ['relu/neg']


def test_append_keeps_the_name_of_an_output():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.append('out', [make_node('Neg', 'n', ['out'], T=tf.float32)], 'out/inner')
    result = rewriter.result()
    assert _inputs(result)['out'] == ['out/inner'] and _inputs(result)['out/inner'] == ['a', 'one']
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(result, name='')
        np.testing.assert_array_equal(session.run('out:0', {'x:0': [[1., -1., 2.]]}), [[-2., -2., -5.]])


def test_values_and_origins():
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


def _noted(graph_def, name):
    node, = [node for node in graph_def.node if node.name == name]
    return results_of(node)


def test_a_result_notes_what_it_is_read_in_place_of():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.append('relu', [make_node('Neg', 'relu/neg', ['relu'], T=tf.float32)], 'relu/inner')
    result = rewriter.result()
    assert _noted(result, 'relu/neg') == ['relu']
    assert not any(_noted(result, name) for name in ('x', 'relu', 'a', 'one', 'out'))


def test_results_are_noted_through_redirects_and_passes():
    first = Rewriter(_graph(), ['x', 'out'])
    first.redirect('a', 'relu')
    first.add(make_node('Relu6', 'six', ['x'], T=tf.float32))
    first.redirect('relu', 'six')
    between = first.result()
    assert sorted(_noted(between, 'six')) == ['a', 'relu']
    second = Rewriter(between, ['x', 'out'])
    second.append('six', [make_node('Neg', 'last', ['six'], T=tf.float32)], 'inner')
    result = second.result()
    assert sorted(_noted(result, 'last')) == ['a', 'relu', 'six']
    # Whoever looks for a tensor of the first graph follows the notes to the end.
    assert _inputs(result)['out'] == ['last', 'one']


def test_a_tensor_behind_the_first_output_is_noted_with_its_index():
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
    assert _inputs(result)['out'] == ['parts', 'negative'] and _noted(result, 'negative') == ['parts:1']


def test_redefined_marks_a_node_and_is_kept():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    rewriter.add(redefined(editor.exact_copy(rewriter.node('relu'))))
    first = rewriter.result()
    assert [node.name for node in first.node if REDEFINED in node.attr] == ['relu']
    again = Rewriter(first, ['x', 'out'])
    again.set_input('relu', 0, 'x')
    assert [node.name for node in again.result().node if REDEFINED in node.attr] == ['relu']
