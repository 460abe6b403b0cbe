"""Additions of a bias are recognised by the shapes of the operands, and of the weights before them."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.bias import channels_last, is_bias_of, is_transposed, split_bias_add
from vai_q_tf.patterns.graph_range import GraphRange


def _view():
    return GraphView(tf.get_default_graph().as_graph_def(add_shapes=True))


def _ones(*shape, name=None):
    return tf.constant(np.ones(shape, np.float32), name=name)


@pytest.mark.parametrize('shape, is_vector', [
    ([4], True), ([1, 1, 1, 4], True), ([1, 8, 1, 1], True), ([1], True), ([], False), ([8, 4], False)])
def test_a_vector_is_a_bias_as_either_operand(shape, is_vector):
    x = tf.placeholder(tf.float32, [None, 8, 8, 4], name='x')
    right = tf.add(x, _ones(*shape, name='bias'), name='right')
    tf.add_n([right, tf.add(_ones(*shape, name='other'), x, name='left')], name='out')
    graph_range = GraphRange(_view(), ['x'], ['out'])
    assert split_bias_add(graph_range, 'right') == (('x', 'bias', 1) if is_vector else None)
    assert split_bias_add(graph_range, 'left') == (('x', 'other', 0) if is_vector else None)


def test_other_nodes_add_no_bias():
    x = tf.placeholder(tf.float32, [4], name='x')
    constants = tf.add(_ones(4), _ones(4), name='constants')
    tf.add(tf.add(x, x, name='computed'), tf.multiply(x, constants, name='product'), name='out')
    graph_range = GraphRange(_view(), ['x'], ['out'])
    assert [split_bias_add(graph_range, name) for name in ('constants', 'computed', 'product')] == [None] * 3


@pytest.mark.parametrize('data_format, shape, add, fits', [
    ('NHWC', [5], tf.add, True), ('NHWC', [4], tf.add, False), ('NHWC', [], tf.add, False),
    ('NHWC', [1, 5, 1, 1], tf.add, False), ('NCHW', [5], tf.add, False), ('NCHW', [5], tf.nn.bias_add, True),
    ('NCHW', [1, 5, 1, 1], tf.add, True)])
def test_a_bias_has_a_value_for_each_output_channel(data_format, shape, add, fits):
    sizes = [1, 8, 8, 4] if data_format == 'NHWC' else [1, 4, 8, 8]
    tf.nn.conv2d(tf.placeholder(tf.float32, sizes), _ones(1, 1, 4, 5), 1, 'SAME', data_format=data_format, name='conv')
    add(tf.placeholder(tf.float32), _ones(*shape, name='bias'), name='sum')
    view = _view()
    assert is_bias_of(view, 'conv', 'sum', 'bias') == fits
    assert channels_last(view, 'conv') == (data_format == 'NHWC')


@pytest.mark.parametrize('transposed', [False, True])
def test_the_output_channels_of_a_transposed_matrix_come_first(transposed):
    weights = _ones(*((5, 4) if transposed else (4, 5)))
    x = tf.matmul(tf.placeholder(tf.float32, [None, 4]), weights, transpose_b=transposed, name='dense')
    tf.add(x, _ones(5, name='bias'), name='sum')
    view = _view()
    assert is_transposed(view, 'dense') == transposed and channels_last(view, 'dense')
    assert is_bias_of(view, 'dense', 'sum', 'bias')


def test_unknown_shapes_may_fit():
    x = tf.matmul(tf.placeholder(tf.float32, [None, 4]), tf.placeholder(tf.float32), name='dense')
    tf.add(x, _ones(3, name='bias'), name='sum')
    assert is_bias_of(_view(), 'dense', 'sum', 'bias')
