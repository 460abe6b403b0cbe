"""A graph that TensorFlow does not take is refused with the name of the node, and does not take the process down."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.make_graph import make_graph


def _graph_def():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [2, 6], 'x')
        tf.strided_slice(x, tf.constant([0, 1], name='begin'), [1, 2], name='slice')
        return graph.as_graph_def()


def _proto(node):
    return node.attr['value'].tensor


@pytest.mark.parametrize('damage, message', [
    (lambda node: setattr(_proto(node), 'dtype', tf.uint8.as_datatype_enum), 'another type'),
    (lambda node: setattr(_proto(node), 'tensor_content', b'1234567'), r'another size than its shape, \[2\]'),
    (lambda node: setattr(_proto(node).tensor_shape.dim[0], 'size', 3), r'another size than its shape, \[3\]'),
    (lambda node: _proto(node).int_val.extend([1, 2, 3]), 'another size'),
    (lambda node: setattr(_proto(node).tensor_shape.dim[0], 'size', -1), 'without a shape'),
    (lambda node: setattr(_proto(node).tensor_shape, 'unknown_rank', True), 'without a shape')])
def test_damaged_constants(damage, message):
    graph_def = _graph_def()
    damage(next(node for node in graph_def.node if node.name == 'begin'))
    with pytest.raises(errors.QuantizeError, match=message) as caught:
        make_graph(graph_def)
    assert caught.value.code == errors.UNSUPPORTED_GRAPH and "'begin' in the graph" in caught.value.detail


@pytest.mark.parametrize('damage', [
    lambda node: node.attr.pop('T'), lambda node: node.input.pop(), lambda node: node.attr['Index'].CopyFrom(tf.AttrValue(i=1)),
    lambda node: setattr(node.attr['T'], 'type', tf.int64.as_datatype_enum), lambda node: setattr(node, 'op', 'MatMul'),
    lambda node: node.input.append('x'), lambda node: node.attr['new_axis_mask'].CopyFrom(tf.AttrValue(s=b'x'))])
def test_other_damage(damage):
    graph_def = _graph_def()
    damage(next(node for node in graph_def.node if node.name == 'slice'))
    with pytest.raises(errors.QuantizeError, match='does not take the graph') as caught:
        make_graph(graph_def)
    assert caught.value.code == errors.UNSUPPORTED_GRAPH and 'slice' in caught.value.detail
