"""Edits of GraphDefs."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import function

from vai_q_tf.graph import graphdef_editor as editor


@function.Defun(tf.float32)
def _twice(x):
    return 2 * x


def _graph_def():
    with tf.Graph().as_default() as graph:
        _twice(tf.placeholder(tf.float32, [], name='x'), name='out')
        return graph.as_graph_def()


def test_a_subgraph_has_versions_and_functions():
    graph_def = _graph_def()
    graph_def.versions.producer = 77
    result = editor.subgraph(graph_def, graph_def.node[1:])
    assert [node.name for node in result.node] == ['out'] and result.versions.producer == 77
    assert result.library == graph_def.library and len(result.library.function) == 1
    without = editor.subgraph(graph_def, graph_def.node[:1])
    assert not without.HasField('library') and without.versions == graph_def.versions


def test_a_subgraph_has_the_functions_that_it_uses_and_those_that_these_use():
    @function.Defun(tf.float32, tf.float32, func_name='backward')
    def backward(x, gradient):
        return _twice(gradient, name='again')

    @function.Defun(tf.float32, func_name='forward', grad_func=backward)
    def forward(x):
        return tf.nn.relu(x)

    @function.Defun(tf.float32, func_name='outer')
    def outer(x):
        return forward(x) + 1.0

    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [], name='x')
        outer(x, name='call')
        _twice(x, name='other')
        tf.data.Dataset.range(3).map(lambda x: x + 1).make_one_shot_iterator()
        graph_def = graph.as_graph_def()
    twice = next(node.op for node in graph_def.node if node.name == 'other')
    for names, used in (('x', set()), ('other', {twice}), ('call', {'outer', 'forward', 'backward', twice})):
        nodes = [node for node in graph_def.node if node.name == names]
        library = editor.subgraph(graph_def, nodes).library
        assert {function.signature.name for function in library.function} == used, names
        assert [gradient.gradient_func for gradient in library.gradient] == ['backward'] * (names == 'call')
    named = tf.NodeDef(name='named', op='MapDataset')
    named.attr['f'].func.name = twice
    listed = tf.NodeDef(name='listed', op='Case')
    listed.attr['branches'].list.func.add(name='forward')
    functions = editor.subgraph(graph_def, [named, listed]).library.function
    assert {function.signature.name for function in functions} == {twice, 'forward', 'backward'}


def test_a_subgraph_is_a_copy():
    graph_def = _graph_def()
    before = graph_def.SerializeToString(deterministic=True)
    editor.subgraph(graph_def, graph_def.node).node[0].name = 'other'
    assert graph_def.SerializeToString(deterministic=True) == before


def test_values_of_constants():
    graph_def = _graph_def()
    graph_def.node.extend([editor.constant('c', tf.float32, [1.0, 2.0])])
    graph_def.node[-1].input.append('^x')
    graph_def.node[-1].attr['_note'].s = b'stays'
    result = editor.with_values(graph_def, {'c': np.array([3, 4])})
    assert result.library == graph_def.library and list(result.node[:-1]) == list(graph_def.node[:-1])
    assert tf.make_ndarray(result.node[-1].attr['value'].tensor).tolist() == [3, 4]
    assert list(result.node[-1].input) == ['^x'] and result.node[-1].attr['_note'].s == b'stays'


def _node():
    node = tf.NodeDef(name='sum', op='Add', input=['a', 'b:1', '^c'], device='/cpu:0')
    node.attr['T'].type = tf.float32.as_datatype_enum
    node.attr['_class'].list.s.append(b'loc:@a')
    node.attr['_output_shapes'].list.shape.add()
    return node


def test_exact_copies():
    node, before = _node(), _node()
    copied = editor.exact_copy(node)
    assert copied == node and copied is not node
    rewired = editor.with_inputs(node, ['b', 'a', '^d'])
    assert list(rewired.input) == ['b', 'a', '^d'] and node == before
    rewired.input[:] = node.input
    assert rewired == node
    assert editor.with_inputs(node, ['a', 'b:1', '^c']) is node


def test_copies_for_another_graph():
    node, before = _node(), _node()
    copied = editor.copy(node)
    assert list(copied.input) == ['a', 'b:1'] and not copied.device and list(copied.attr) == ['T'] and copied.name == 'sum'
    copied = editor.copy(node, 'other', ['x', '^y'])
    assert (copied.name, copied.op, list(copied.input)) == ('other', 'Add', ['x']) and node == before


def test_unused_names():
    taken = {'a', 'b', 'b_1', 'b_2', 'b1'}
    assert [editor.unused_name(name, taken) for name in ('c', 'a', 'b', 'b_1')] == ['c', 'a_1', 'b_3', 'b_1_1']
    assert [editor.unused_name(name, taken, '{}{}') for name in ('c', 'a', 'b')] == ['c', 'a1', 'b2']
    assert taken == {'a', 'b', 'b_1', 'b_2', 'b1'}


@pytest.mark.parametrize('value, dtype', [(3, tf.int32), ([-1], tf.int32), (np.int64(2), tf.int64)])
def test_the_axis_of_a_concat(value, dtype):
    node = editor.constant('axis', dtype, value)
    for field in ('int_val', 'int64_val'):
        node.attr['value'].tensor.ClearField(field)
    node.attr['value'].tensor.tensor_content = np.array(value, dtype.as_numpy_dtype).tobytes()
    node.attr['_output_shapes'].list.shape.add()
    axis = editor.concat_axis(node)
    assert axis.name == 'axis' and axis.op == 'Const' and sorted(axis.attr) == ['dtype', 'value']
    tensor = axis.attr['value'].tensor
    assert list(tensor.int_val) == [int(np.ravel(value)[0])] and not tensor.tensor_shape.dim and not tensor.tensor_content
    assert axis.attr['dtype'].type == tensor.dtype == tf.int32
    assert editor.concat_axis(node, dtype).attr['dtype'].type == dtype


_FIELDS = {tf.float32: 'float_val', tf.float64: 'double_val', tf.float16: 'half_val', tf.bfloat16: 'half_val',
           tf.int8: 'int_val', tf.uint8: 'int_val', tf.int16: 'int_val', tf.int32: 'int_val', tf.int64: 'int64_val',
           tf.bool: 'bool_val', tf.complex64: 'scomplex_val'}


def _const(dtype, entries, shape):
    """A GraphDef with a Const 'c' that has these entries in the repeated field of its type, and its value for TensorFlow."""
    node = tf.NodeDef(name='c', op='Const')
    node.attr['dtype'].type = node.attr['value'].tensor.dtype = dtype.as_datatype_enum
    node.attr['value'].tensor.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    getattr(node.attr['value'].tensor, _FIELDS.get(dtype, 'string_val')).extend(entries)
    return tf.GraphDef(node=[node])


def _value(graph_def):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name='')
        return session.run('c:0')


@pytest.mark.parametrize('dtype', list(_FIELDS))
@pytest.mark.parametrize('entries, shape', [((0, 1, 1, 0), [2, 2]), ((1, 0), [5]), ((0, 0, 1), [3, 2]), ((), [3])])
def test_values_are_packed(dtype, entries, shape):
    if dtype in (tf.float16, tf.bfloat16):
        entries = [15360 * entry for entry in entries]
    if dtype == tf.complex64:
        entries = [part for entry in entries for part in (entry, 2)]
    graph_def = _const(dtype, entries, shape)
    expected = _value(graph_def)
    packed = editor.with_packed_constants(graph_def)
    tensor = packed.node[0].attr['value'].tensor
    np.testing.assert_array_equal(_value(packed), expected)
    if entries:
        assert tensor.tensor_content == expected.tobytes() and not getattr(tensor, _FIELDS[dtype])
        assert graph_def.node[0].attr['value'].tensor.tensor_content == b''  # the graph of the caller is unchanged


@pytest.mark.parametrize('dtype, entries, shape', [
    (tf.float32, [3.], [2, 2]), (tf.float32, [3.] * 4, [2, 2]), (tf.int32, [3], []), (tf.int32, [3], [1]),
    (tf.string, [b'a', b'b'], [2]), (tf.float32, [3.], [1 << 40]), (tf.float32, [1., 2., 3.], [2]), (tf.float32, [], [0])])
def test_constants_that_are_not_packed(dtype, entries, shape):
    graph_def = _const(dtype, entries, shape)
    assert editor.with_packed_constants(graph_def) is graph_def
