"""Draft: each tensor once, in graph order, with the settings of its role; and the nodes that stay float."""
import pytest
import tensorflow as tf

from tests.plan.networks import by_name, image, plan_of, skipped, tensor_names
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import POSITION_MIN
from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.plan.draft import Draft

layers = tf.compat.v1.layers


def test_ops_in_a_loop_stay_float():
    def body(turn, x):
        x = layers.conv2d(x, 4, 3, padding='same', name='inner', activation=tf.nn.relu)
        return turn + 1, tf.add(x, 1., name='sum')
    x = layers.conv2d(image(), 4, 3, name='conv')
    x = tf.while_loop(lambda turn, x: turn < 3, body, [0, x])[1]
    layers.conv2d(x, 4, 3, name='next')
    plan = plan_of('next/BiasAdd')
    assert [group.node for group in plan.groups] == ['conv/Conv2D', 'next/Conv2D']
    assert not any(name.startswith('while/inner') or name.startswith('while/sum') for name in tensor_names(plan))
    reasons = skipped(plan)
    assert all('loop' in reasons['while/' + name] for name in ('inner/Conv2D', 'inner/Relu', 'sum'))


def test_an_ignored_input_node_is_quantized_as_an_activation_where_it_is_read():
    layers.conv2d(image(), 4, 3, name='conv')
    tensor = by_name(plan_of('conv/BiasAdd', ignore_nodes=['x']))['x/aquant']
    assert (tensor.role, tensor.method) == ('activation', 1)


@pytest.mark.parametrize('arch_type, expected', [('DEFAULT', set()), ('DPUCADF8H', {1})])
def test_the_arch_type_decides_whether_the_smallest_integer_is_used(arch_type, expected):
    layers.conv2d(image(), 4, 3, name='conv')
    plan = plan_of('conv/BiasAdd', arch_type=arch_type)
    assert {tensor.mode for tensor in plan.tensors if tensor.narrow_range} == expected
    assert all(tensor.narrow_range == (tensor.mode in expected) for tensor in plan.tensors)


def _draft(**fields):
    """A Draft of relu(split(x)[1] * w), without any tensors yet."""
    part = tf.split(image(4), 2, -1, name='split')[1]
    tf.nn.relu(tf.multiply(part, tf.identity(tf.constant([2.0, 3.0], name='w'), name='w/read'), name='mul'), name='out')
    view = GraphView(tf.compat.v1.get_default_graph().as_graph_def(add_shapes=True))
    config = QuantizeConfig(['x'], ['out'], weight_bit=4, bias_bit=6, activation_bit=9, method=2, **fields)
    return Draft(GraphRange(view, ['x'], ['out']), config)


def test_tensors_have_the_bits_of_their_role_and_are_in_graph_order():
    draft = _draft()
    assert draft.add_activation('out') == 'out/aquant'
    assert draft.add_activation('split:1') == 'split/output_1/aquant'
    assert draft.add_weight('w/read', 'weight', 0, ('mul', 1)) == 'w/wquant'
    assert draft.add_weight('mul', 'bias', 0, ('out', 0)) == 'mul/wquant'
    assert draft.add_activation('x', 'input', method=0) == 'x/aquant'
    assert [(tensor.name, tensor.bits, tensor.method) for tensor in draft.tensors] == [
        ('x/aquant', 9, 0), ('split/output_1/aquant', 9, 2), ('w/wquant', 4, 2), ('mul/wquant', 6, 2), ('out/aquant', 9, 2)]
    assert [tensor.tensor for tensor in draft.tensors] == ['x', 'split:1', 'w', 'mul', 'out']


def test_a_tensor_is_added_once_with_all_its_readers():
    draft = _draft()
    assert [draft.add_constant_operand('w/read', reader) for reader in (('mul', 1), ('out', 0), ('mul', 1))] == ['w/aquant'] * 3
    tensor, = draft.tensors
    assert (tensor.role, tensor.mode, tensor.consumers) == ('constant', 1, (('mul', 1), ('out', 0)))
    assert draft.quantized_constant('w') == draft.quantized_constant('w/read') == 'w/aquant'
    assert draft.quantized_constant('x') == ''


def test_a_part_of_a_split_has_the_values_of_the_whole():
    draft = _draft()
    assert draft.quantized_source('split:1') == ''
    draft.add_activation('x')
    assert draft.quantized_source('split:1') == 'x/aquant' and draft.quantized('split:1') == ''
    draft.add_activation('split:1')
    assert draft.quantized_source('split:1') == 'split/output_1/aquant'


def test_the_highest_of_the_required_positions_counts():
    draft = _draft()
    draft.add_activation('x')
    draft.add_activation('out')
    for position in (3, 7, 0):
        draft.require_min_position('x', position)
    draft.require_min_position('mul', 5)  # it stays float
    assert [tensor.min_position for tensor in draft.tensors] == [7, POSITION_MIN]


def test_the_first_reason_of_a_skipped_node_counts():
    draft = _draft()
    draft.skip(['out', 'mul'], 'one')
    draft.skip(['mul', 'split'], 'another')
    assert [tuple(record) for record in draft.skipped] == [
        ('split', 'Split', 'another'), ('mul', 'Mul', 'one'), ('out', 'Relu', 'one')]
    assert draft.covered == {'split', 'mul', 'out'} and not draft.is_left_out('mul')
