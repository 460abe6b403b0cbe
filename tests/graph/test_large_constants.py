"""Large constants apart from their graph: copies are small, and results are the same as with the constants inside."""
import os
import threading
import weakref

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.view import GraphView

_VALUE = np.random.RandomState(0).randn(130, 140).astype(np.float32)
_MANY = np.arange(40000, dtype=np.float32)


def _graph(value=_VALUE, **nodes):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, value.shape[0]], 'x')
        with tf.device('/cpu:0'):
            w = tf.constant(value, name='w')
        tf.matmul(x, w, name='y')
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
def test_a_constant_with_a_control_input_stays_a_constant():
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


@pytest.mark.parametrize('size, dtype, apart', [
    (1 << 14, np.float32, True), ((1 << 14) - 1, np.float32, False), (1 << 15, np.float16, True), (1 << 15, np.int64, False)])
@large_constants.kept_apart()
def test_large_floats_are_apart(size, dtype, apart):
    """From 64 KiB on, in a graph that is read and in a new constant."""
    value, dtype = np.arange(size).astype(dtype), tf.as_dtype(dtype)
    tensor = tf.AttrValue(tensor=tf.make_tensor_proto(0, dtype, [0]))
    tensor.tensor.tensor_shape.dim[0].size, tensor.tensor.tensor_content = size, value.tobytes()
    whole = tf.GraphDef(node=[tf.NodeDef(name='w', op='Const', attr={
        'dtype': tf.AttrValue(type=dtype.as_datatype_enum), 'value': tensor})])
    detached = large_constants.detached(whole)
    for node in (detached.node[0], editor.constant('w', dtype, value)):
        assert large_constants.is_apart(node) == apart
        np.testing.assert_array_equal(GraphView(tf.GraphDef(node=[node])).value('w'), value)
    assert large_constants.whole(detached) == whole and large_constants.whole(whole) is whole


@large_constants.kept_apart()
def test_arrays_of_any_layout():
    for value in (_VALUE, _VALUE.T, _MANY[::2], _MANY.reshape(2, 100, 200)[:, ::2]):
        kept = large_constants.kept(value)
        np.testing.assert_array_equal(kept, value)
        assert not kept.flags.writeable and kept.ctypes.data % 64 == 0, 'TensorFlow shares its memory'
        node = editor.constant('w', tf.float32, value)
        np.testing.assert_array_equal(GraphView(tf.GraphDef(node=[node])).value('w'), value)
    assert large_constants.kept(_VALUE[:10]).base is _VALUE, 'small arrays stay unchanged'


@large_constants.kept_apart()
def test_the_same_bytes_as_constants_of_several_shapes_and_types():
    types = [np.float32, np.float32, np.float16, tf.bfloat16.as_numpy_dtype, np.float32]
    values = [_VALUE.view(dtype) for dtype in types]
    values[1] = values[1].reshape(70, 260)
    nodes = [editor.constant(name, tf.as_dtype(dtype), value) for name, dtype, value in zip('abcde', types, values)]
    assert len({node.attr['value'].tensor.tensor_content for node in nodes}) == 1
    graph = tf.Graph()
    with graph.as_default():
        large_constants.import_graph_def(tf.GraphDef(node=nodes), name='')
        mine = tf.get_variable('mine', [2], use_resource=True)
    with large_constants.session(graph) as session:
        for found, expected in zip(session.run([name + ':0' for name in 'abcde']), values):
            assert found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()
        session.run(mine.initializer)
    assert [op.name for op in graph.get_operations() if op.type == 'VarHandleOp'
            and not large_constants.is_stand_in(op)] == ['mine']


@large_constants.kept_apart()
def test_the_variable_has_the_device_of_the_constant():
    with tf.Graph().as_default() as graph:
        large_constants.import_graph_def(large_constants.detached(_graph()), name='')
    read = graph.get_operation_by_name('w')
    assert read.type == 'ReadVariableOp' and read.device == read.inputs[0].op.device == '/device:CPU:0'


def test_the_memory_is_given_back():
    with large_constants.kept_apart():
        graph_def = large_constants.detached(_graph())
        memory = weakref.ref(large_constants.bytes_apart(next(filter(large_constants.is_apart, graph_def.node))).base)
        _run(graph_def, {'x:0': np.eye(130, dtype=np.float32)})
        assert memory() is not None
    assert memory() is None


def test_the_memory_of_small_arrays_is_given_back():
    """Free memory between other blocks of the C library's heap, which would keep it."""
    def resident():
        with open('/proc/self/statm') as stream:
            return int(stream.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    with large_constants.kept_apart():
        editor.constant('w', tf.float32, _VALUE)
        small = [np.ones(60 << 10, np.uint8) for _ in range(700)]
        others = small[::10]
        del small
        before = resident()
    assert before - resident() > 20 << 20 and len(others) == 70


@large_constants.kept_apart()
def test_each_thread_has_its_own_scopes():
    before, found = _graph(), []
    thread = threading.Thread(target=lambda: found.append(large_constants.detached(before)))
    thread.start()
    thread.join()
    assert found == [before]


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
    assert large_constants.kept(_VALUE) is _VALUE
    with pytest.raises(KeyboardInterrupt), large_constants.kept_apart():
        raise KeyboardInterrupt
    assert large_constants.detached(before) == before


@large_constants.kept_apart()
def test_values_of_an_inner_scope_are_forgotten_at_its_end():
    outer = editor.constant('w', tf.float32, _VALUE)
    with large_constants.kept_apart():
        inner = editor.constant('w', tf.float32, _VALUE + 1)
        assert large_constants.is_apart(inner) and editor.constant('w', tf.float32, _VALUE) == outer
        assert len(large_constants._scopes.open[-1]) == 1, 'a value is kept once'
    assert GraphView(tf.GraphDef(node=[outer])).value('w').tolist() == _VALUE.tolist()
    with pytest.raises(StopIteration):
        large_constants.attached(inner)


@large_constants.kept_apart()
def test_values_without_a_graph_are_forgotten():
    kept, gone = editor.constant('a', tf.float32, _VALUE), editor.constant('b', tf.float32, _VALUE + 1)
    with large_constants.kept_apart():
        gone_too = editor.constant('c', tf.float32, _VALUE + 2)
        large_constants.forget_all_but([tf.GraphDef(node=[kept])])
        assert large_constants.attached(kept).ByteSize() > _VALUE.nbytes
        for node in (gone, gone_too):
            with pytest.raises(StopIteration):
                large_constants.attached(node)


def test_by_pieces_equals_the_function_of_the_whole():
    value = np.random.RandomState(0).randn(3, 200000).astype(np.float32)
    sizes = []

    def function(piece):
        sizes.append(piece.size)
        return 2 * piece + 1
    np.testing.assert_array_equal(large_constants.by_pieces(function, value), 2 * value + 1)
    assert sum(sizes) == value.size and max(sizes) <= value.size / 2, 'memory for one piece'
    assert large_constants.by_pieces(lambda piece: piece, np.float32(3)).shape == ()
