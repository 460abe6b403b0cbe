"""The evaluation model of a graph, a plan and positions, and the shapes of its inputs."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, fixed_point, ops
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.errors import QuantizeError
from vai_q_tf.export.finalize import finalize, fix_input_shapes, narrow_input_shapes, quantize_weights
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate

_WEIGHTS = np.random.RandomState(0).normal(0, 1, [1, 1, 3, 2]).astype(np.float32)


def _graph(build, batch=None):
    """The GraphDef of y = build(x [batch, 4, 4, 3]), with shapes."""
    with tf.Graph().as_default() as graph:
        tf.identity(build(tf.placeholder(tf.float32, [batch, 4, 4, 3], 'x')), 'y')
    return graph.as_graph_def(add_shapes=True)


def _network(x):
    with tf.control_dependencies([tf.no_op('before')]):
        x = tf.nn.conv2d(x, tf.constant(_WEIGHTS, name='w'), 1, 'SAME', name='conv')
    return tf.concat([x, tf.nn.relu(x, name='relu')], -1, name='join')


def _config(shape=(-1, 4, 4, 3)):
    return QuantizeConfig(['x'], ['y'], [list(shape)])


def _finalized(graph_def, shapes=True):
    plan = annotate(GraphView(graph_def), _config())
    noted = {node.name: list(node.attr['_output_shapes'].list.shape) for node in graph_def.node} if shapes else {}
    positions = {tensor.name: number for number, tensor in enumerate(plan.tensors)}
    return finalize(graph_def, plan, positions, noted), positions


def _shape(node):
    return [dim.size for dim in node.attr['_output_shapes'].list.shape[0].dim]


def test_fix_neurons_have_the_positions_and_the_shapes_of_their_tensors():
    model, positions = _finalized(_graph(_network))
    nodes = {node.name: node for node in model.node}
    assert {name: node.attr['quantize_pos'].i for name, node in nodes.items() if node.op == 'FixNeuron'} == positions
    assert set(positions) == {'x/aquant', 'w/wquant', 'conv/aquant', 'relu/aquant', 'join/aquant'}
    assert _shape(nodes['conv/aquant']) == _shape(nodes['conv']) == [-1, 4, 4, 2] and _shape(nodes['w/wquant']) == [1, 1, 3, 2]
    assert {node.attr['phase'].i for node in nodes.values() if node.op == 'FixNeuron'} == {1}


def test_nodes_are_plain_and_after_their_inputs():
    graph_def = _graph(_network)
    for node in graph_def.node:
        if node.name == 'join/axis':
            node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(np.int32(-1)))
            node.attr['value'].tensor.ClearField('int_val')
            node.attr['value'].tensor.tensor_content = np.int32(-1).tobytes()
        node.device = '/cpu:0'
        node.attr['_note'].s = b'private'
        node.attr['_symmetric'].b = True
    model, _ = _finalized(graph_def, shapes=False)
    seen = set()
    for node in model.node:
        assert not node.device and not any(operand.startswith('^') for operand in node.input)
        assert {key for key in node.attr if key.startswith('_')} <= {'_symmetric'}
        assert seen.issuperset(operand.partition(':')[0] for operand in node.input)
        seen.add(node.name)
    axis, = (node.attr['value'].tensor for node in model.node if node.name == 'join/axis')
    assert list(axis.int_val) == [-1] and not axis.tensor_content


def test_constants_in_a_branch_stay_there():
    """By a control input: they have no others."""
    def build(x):
        x = tf.nn.relu(x, name='relu')
        return tf.cond(tf.placeholder_with_default(True, []), lambda: x * tf.constant(2., name='two'), lambda: x)
    model, _ = _finalized(_graph(build))
    controls = {node.name: [operand for operand in node.input if operand.startswith('^')] for node in model.node}
    assert [name for name, found in controls.items() if found] == ['cond/two'] and controls['cond/two'] == ['^cond/switch_t']


def test_weights_get_their_quantized_values():
    model, positions = _finalized(_graph(_network))
    written = GraphView(quantize_weights(model))
    expected = fixed_point.quantize(_WEIGHTS, positions['w/wquant'], 8, fixed_point.HALF_AWAY)
    np.testing.assert_array_equal(written.value('w'), expected)
    assert (expected != _WEIGHTS).any() and written.value('join/axis') == -1


@pytest.mark.parametrize('own, given, batch, expected', [
    ([None, None, 4, 3], [2, 4, 4, 3], False, [-1, 4, 4, 3]), ([None, None, 4, 3], [2, 4, 4, 3], True, [2, 4, 4, 3]),
    ([8, 4, 4, 3], [2, 5, 5, 3], True, [8, 4, 4, 3]), (None, [2, 4, 4, 3], False, [-1, 4, 4, 3])])
def test_unknown_sizes_of_inputs_are_narrowed(own, given, batch, expected):
    with tf.Graph().as_default() as graph:
        tf.nn.relu(tf.placeholder(tf.float32, own, 'x'), name='y')
    for shapes in (False, True):
        narrowed = narrow_input_shapes(graph.as_graph_def(add_shapes=shapes), _config(given), batch)
        x, = (node for node in narrowed.node if node.name == 'x')
        assert [dim.size for dim in x.attr['shape'].shape.dim] == expected
        assert ('_output_shapes' in x.attr) == shapes and (not shapes or _shape(x) == expected)


def test_fixed_input_shapes_are_noted_downstream():
    ops.load_library()
    model, _ = _finalized(_graph(_network))
    nodes = {node.name: node for node in fix_input_shapes(model, _config((2, 6, 6, 3))).node}
    assert [dim.size for dim in nodes['x'].attr['shape'].shape.dim] == [2, 6, 6, 3]
    assert _shape(nodes['join/aquant']) == [2, 6, 6, 4] and _shape(nodes['w']) == [1, 1, 3, 2]


def test_a_batch_that_is_built_into_the_graph():
    model = _graph(lambda x: tf.reshape(x, [8, -1]), batch=8)
    with pytest.raises(QuantizeError, match=r"of 2, and the graph is made for 8: .*'y' has the shape \[8, 12\]") as caught:
        fix_input_shapes(model, _config((2, 4, 4, 3)))
    assert caught.value.code == errors.LENGTH_MISMATCH
    assert fix_input_shapes(model, _config((8, 4, 4, 3))).node[0].attr['shape'].shape.dim[0].size == 8
