"""Large constants beside their graph: copies stay small, and what is computed is what it would be with them inside."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.view import GraphView

_VALUE = np.random.RandomState(0).randn(130, 140).astype(np.float32)


def _graph(value=_VALUE, **nodes):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, value.shape[0]], 'x')
        tf.matmul(x, tf.constant(value, name='w'), name='y')
        tf.constant(np.arange(1 << 15, dtype=np.int64), name='integers')
        tf.constant(_VALUE[:10], name='small')
        return graph.as_graph_def()


def _run(graph_def, feed):
    graph = tf.Graph()
    with graph.as_default():
        large_constants.import_graph_def(graph_def, name='')
    with large_constants.session(graph) as session:
        return session.run('y:0', feed)


@large_constants.kept_apart()
def test_a_detached_graph_is_small_and_has_all_values():
    before = _graph()
    graph_def = large_constants.detached(before)
    apart = [node.name for node in graph_def.node if large_constants.is_apart(node)]
    assert apart == ['w']
    view = GraphView(graph_def)
    np.testing.assert_array_equal(view.value('w'), _VALUE)
    assert view.value('w').dtype == np.float32 and view.shape('w') == [130, 140] and view.node('w').ByteSize() < 200
    assert abs(large_constants.byte_size(view.node('w')) - before.node[1].ByteSize()) < 200
    assert large_constants.whole(graph_def) == before
    with pytest.raises(ValueError):
        view.value('w')[0] = 0


@large_constants.kept_apart()
def test_it_computes_the_same():
    feed = {'x:0': np.random.RandomState(1).randn(3, 130).astype(np.float32)}
    expected = _run(_graph(), feed)
    graph_def = large_constants.detached(_graph())
    np.testing.assert_array_equal(_run(graph_def, feed), expected)
    np.testing.assert_array_equal(_run(editor.with_values(graph_def, {'w': 2 * _VALUE}), feed), 2 * expected)
    np.testing.assert_array_equal(_run(editor.with_values(graph_def, {'w': _VALUE.astype(np.float64)}), feed), expected)


@large_constants.kept_apart()
def test_one_that_waits_for_a_node_stays_a_constant():
    graph_def = _graph()
    next(node for node in graph_def.node if node.name == 'w').input.append('^x')
    graph_def = large_constants.detached(graph_def)
    graph = tf.Graph()
    with graph.as_default():
        large_constants.import_graph_def(graph_def, name='')
    operation = graph.get_operation_by_name('w')
    assert operation.type == 'Const' and [each.name for each in operation.control_inputs] == ['x']
    assert _run(graph_def, {'x:0': np.eye(130, dtype=np.float32)}).tolist() == _VALUE.tolist()


@large_constants.kept_apart()
def test_equal_values_are_kept_once_and_make_equal_graphs():
    one, other = (editor.constant('w', tf.float32, np.array(_VALUE)) for _ in range(2))
    assert one == other and large_constants.is_apart(one)
    assert large_constants.kept(np.array(_VALUE)).base is large_constants.kept(np.array(_VALUE)).base
    assert editor.constant('w', tf.float32, _VALUE.T) != one and not large_constants.is_apart(
        editor.constant('w', tf.float32, _VALUE[:10]))


def test_nothing_is_apart_outside_of_a_scope():
    before = _graph()
    assert large_constants.detached(before) == before and large_constants.detached(before) is not before
    assert editor.constant('w', tf.float32, _VALUE).ByteSize() > _VALUE.nbytes
    with large_constants.kept_apart():
        inside = large_constants.detached(before)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        _run(inside, {'x:0': np.eye(130, dtype=np.float32)})
    with pytest.raises(ValueError):
        GraphView(inside).value('w')


@large_constants.kept_apart()
def test_what_an_inner_scope_adds_is_forgotten_with_it():
    outer = editor.constant('w', tf.float32, _VALUE)
    with large_constants.kept_apart():
        inner = editor.constant('w', tf.float32, _VALUE + 1)
        assert large_constants.is_apart(inner) and editor.constant('w', tf.float32, _VALUE) == outer
    assert GraphView(tf.GraphDef(node=[outer])).value('w').tolist() == _VALUE.tolist()
    with pytest.raises(StopIteration):
        large_constants.attached(inner)


@large_constants.kept_apart()
def test_what_no_graph_has_is_forgotten():
    kept, gone = editor.constant('a', tf.float32, _VALUE), editor.constant('b', tf.float32, _VALUE + 1)
    large_constants.forget_all_but([tf.GraphDef(node=[kept])])
    assert large_constants.attached(kept).ByteSize() > _VALUE.nbytes
    with pytest.raises(StopIteration):
        large_constants.attached(gone)


@large_constants.kept_apart()
def test_a_damaged_one_stays_as_it_is():
    graph_def = _graph()
    next(node for node in graph_def.node if node.name == 'w').attr['value'].tensor.tensor_shape.dim[0].size += 1
    assert large_constants.detached(graph_def) == graph_def


def test_by_pieces_is_the_function_of_all():
    value = np.random.RandomState(0).randn(3, 200000).astype(np.float32)
    np.testing.assert_array_equal(large_constants.by_pieces(lambda piece: 2 * piece + 1, value), 2 * value + 1)
    assert large_constants.by_pieces(lambda piece: piece, np.float32(3)).shape == ()
