"""The comparison finds every kind of difference, and no false ones."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.same_network import comparing


@pytest.fixture(name='model')
def _model():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4, 4, 2], 'x')
        x = tf.pad(x, tf.constant([[0, 0], [1, 1], [1, 1], [0, 0]], name='paddings'), name='pad')
        x = tf.nn.conv2d(x, tf.constant(np.ones([3, 3, 2, 3], np.float32), name='kernel'), 1, 'VALID', name='conv')
        tf.nn.relu(x, name='relu')
    return graph.as_graph_def(add_shapes=True)


def _edited(model, name, edit):
    copy = tf.GraphDef.FromString(model.SerializeToString())
    edit(next(node for node in copy.node if node.name == name))
    return copy


def _constant(value):
    return lambda node: node.attr['value'].CopyFrom(tf.AttrValue(tensor=tf.make_tensor_proto(value)))


def _scale(factor):
    return _constant(np.full([3, 3, 2, 3], factor, np.float32))


def _batch(node):
    node.attr['_output_shapes'].list.shape[0].dim[0].size = 7


def _height(node):
    node.attr['_output_shapes'].list.shape[0].dim[1].size = 7


@pytest.mark.parametrize('name, edit', [
    ('relu', lambda node: node.attr['quantize_pos'].CopyFrom(tf.AttrValue(i=3))),
    ('relu', lambda node: node.attr['output_dir'].CopyFrom(tf.AttrValue(s=b'elsewhere'))),
    ('relu', _batch), ('kernel', _scale(1. + 5e-6))])
def test_accepted_differences(model, name, edit):
    assert comparing.differences(model, _edited(model, name, edit)) == []


@pytest.mark.parametrize('name, edit, line', [
    ('relu', lambda node: setattr(node, 'op', 'Relu6'), 'relu (Relu): is a Relu6 in the second'),
    ('relu', lambda node: node.input.__setitem__(0, 'x'), "relu (Relu): reads ['conv'] and ['x']"),
    ('relu', _height, "relu (Relu): _output_shapes [['batch', 4, 4, 3]] and [['batch', 7, 4, 3]]"),
    ('conv', lambda node: node.attr.pop('padding'), 'conv (Conv2D): attr padding only in the first'),
    ('conv', lambda node: setattr(node.attr['padding'], 's', b'SAME'), 'padding s: "VALID" and s: "SAME"'),
    ('paddings', _constant([[0, 0], [1, 2], [1, 1], [0, 0]]), 'paddings (Const): constant'),
    ('kernel', _scale(1. + 1e-4), 'kernel (Const): values are up to 0.0001 apart, the greatest is 1'),
    ('kernel', _scale(np.nan), 'kernel (Const): values'),
    ('kernel', _constant(np.ones([3, 3, 2, 3], np.float64)), 'value float32[3, 3, 2, 3] and float64[3, 3, 2, 3]'),
    ('kernel', _constant(np.ones([3, 3, 6], np.float32)), 'value float32[3, 3, 2, 3] and float32[3, 3, 6]')])
def test_differences(model, name, edit, line):
    found = comparing.differences(model, _edited(model, name, edit))
    assert len(found) == 1 and line in found[0]


def test_a_node_with_another_name(model):
    other = _edited(model, 'relu', lambda node: setattr(node, 'name', 'other'))
    assert comparing.differences(model, other) == ['only in the first: relu (Relu)', 'only in the second: other (Relu)']
    assert comparing.same_but_for_names(model, other)
    assert not comparing.same_but_for_names(model, _edited(other, 'conv', lambda node: node.attr.pop('padding')))
    assert not comparing.same_but_for_names(model, _edited(other, 'other', lambda node: node.input.__setitem__(0, 'x')))
