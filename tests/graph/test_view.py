"""GraphView against the live graph of its GraphDef."""
import pytest
import tensorflow as tf
from tensorflow.python.framework import function

from vai_q_tf import errors
from vai_q_tf.graph.view import GraphView, indexed_name, node_name, normalise, output_index, tensor_name


def _view(add_shapes=True):
    return GraphView(tf.compat.v1.get_default_graph().as_graph_def(add_shapes=add_shapes))


@pytest.fixture
def network():
    x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], name='x')
    x = tf.compat.v1.layers.conv2d(x, 4, 3, name='conv', activation=tf.nn.relu)
    parts = tf.split(x, 2, -1, name='parts')
    values, indices = tf.nn.top_k(tf.reshape(parts[1], [-1, 72]), name='top')
    with tf.control_dependencies([values]):
        tf.identity(tf.identity(indices, name='copy'), name='out')
    tf.compat.v1.placeholder(tf.float32, None, name='anything')
    return tf.compat.v1.get_default_graph()


def test_calls_have_the_types_and_the_state_of_their_functions():
    @function.Defun(tf.float32, func_name='parts')
    def parts(x):
        return tf.cast(x, tf.int32), x

    @function.Defun(tf.float32, func_name='noisy')
    def noisy(x):
        return x + tf.random.uniform([])

    x = tf.compat.v1.placeholder(tf.float32, [], name='x')
    parts(noisy(x, name='second'), name='first')
    view = _view()
    assert view.output_types('first') == (tf.int32, tf.float32) and view.dtype('first:1') == tf.float32
    assert [view.is_function(name) for name in ('first', 'second', 'x')] == [True, True, False]
    assert [view.is_stateful(name) for name in ('first', 'second')] == [False, True] and view.is_known('first')


def test_names():
    assert [node_name(name) for name in ('a/b', 'a/b:2', '^a/b')] == ['a/b'] * 3
    assert [output_index(name) for name in ('a', 'a:0', 'a:3')] == [0, 0, 3]
    assert [indexed_name(name) for name in ('a', 'a:0', 'a/b:3')] == ['a:0', 'a:0', 'a/b:3']
    assert [normalise(name) for name in ('a', 'a:0', 'a:3')] == ['a', 'a', 'a:3']
    assert (tensor_name('a'), tensor_name('a', 2)) == ('a', 'a:2')


def test_mirrors_the_live_graph(network):
    view = _view()
    operations = network.get_operations()
    assert view.names == tuple(op.name for op in operations)
    for op in operations:
        assert op.name in view and view.op(op.name) == op.type and view.node(op.name).name == op.name
        assert view.inputs(op.name) == tuple(normalise(tensor.name) for tensor in op.inputs)
        assert set(view.control_inputs(op.name)) == {control.name for control in op.control_inputs}
        assert view.output_types(op.name) == tuple(tensor.dtype.base_dtype for tensor in op.outputs)
        for tensor in op.outputs:
            name = normalise(tensor.name)
            expected = {(reader.name, index) for reader in tensor.consumers()
                        for index, operand in enumerate(reader.inputs) if operand is tensor}
            assert set(view.consumers(name)) == expected
            assert view.dtype(name) == tensor.dtype.base_dtype
            known = tensor.shape.rank is not None
            assert view.shape(name) == ([dim or -1 for dim in tensor.shape.as_list()] if known else None)


def test_shapes_of_constants_and_variables_without_output_shapes(network):
    view = _view(add_shapes=False)
    assert view.shape('conv/kernel') == view.shape('conv/kernel/read') == [3, 3, 3, 4]
    assert view.shape('conv/dilation_rate') == [2]
    assert view.shape('x') == [-1, 8, 8, 3]
    assert view.shape('conv/Relu') is None
    with tf.compat.v1.variable_scope('r', use_resource=True):
        tf.compat.v1.get_variable('v', [5, 6])
    assert _view(add_shapes=False).shape('r/v/Read/ReadVariableOp') == [5, 6]


def test_skip_identity(network):
    assert _view().skip_identity('out') == 'top:1'
    assert _view().skip_identity('top:1') == 'top:1'


def test_upstream_lists_producers_first_and_stops(network):
    view = _view()
    found = view.upstream(['out', 'parts'], ['conv/Relu'])
    assert {'out', 'copy', 'top', 'parts', 'conv/Relu'} <= set(found)
    assert 'conv/BiasAdd' not in found and 'x' not in found
    assert len(found) == len(set(found))
    assert all(found.index(node_name(tensor)) < found.index(name) for name in found if name != 'conv/Relu'
               for tensor in view.inputs(name))
    assert view.upstream(['copy']) == [name for name in view.upstream(['out']) if name != 'out']


def test_upstream_survives_a_loop():
    tf.while_loop(lambda i: i < 3, lambda i: i + 1, [tf.constant(0)], name='loop')
    view = _view()
    assert set(view.upstream(['loop/Exit'])) >= {'loop/NextIteration', 'loop/Merge', 'loop/Enter'}


def test_attrs_have_the_defaults_of_the_op():
    graph_def = tf.compat.v1.GraphDef()
    graph_def.node.add(name='x', op='Placeholder').attr['dtype'].type = tf.float32.as_datatype_enum
    graph_def.node.add(name='y', op='LeakyRelu', input=['x'])
    graph_def.node.add(name='z', op='NotAnOp', input=['y:0'])
    view = GraphView(graph_def)
    assert view.attr('y', 'alpha').f == pytest.approx(0.2)
    assert view.dtype('y') == tf.float32
    assert view.find_attr('y', 'alpha') == view.attr('y', 'alpha')
    assert view.find_attr('y', 'unheard_of') is None and view.find_attr('z', 'alpha') is None
    with pytest.raises(KeyError, match="'y' has no attr 'unheard_of'"):
        view.attr('y', 'unheard_of')
    assert view.dtype('z') is None and view.is_stateful('z') and view.inputs('z') == ('y',)


def test_stateful_ops():
    tf.compat.v1.random_uniform([2], name='r')
    view = _view()
    assert view.is_stateful('r/RandomUniform') and not view.is_stateful('r')


@pytest.mark.parametrize('names, message', [(['a', 'a'], 'Two nodes'), (['a'], "'missing'")])
def test_invalid_graphs(names, message):
    graph_def = tf.compat.v1.GraphDef()
    for name in names:
        graph_def.node.add(name=name, op='Relu', input=['missing'])
    if len(names) > 1:
        del graph_def.node[0].input[:], graph_def.node[1].input[:]
    with pytest.raises(errors.QuantizeError) as raised:
        GraphView(graph_def)
    assert raised.value.code == errors.UNSUPPORTED_GRAPH and message in str(raised.value)
