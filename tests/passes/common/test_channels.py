"""Layouts of results, and operands that act on their channels."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import frozen
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.channels import Layout, acts_per_channel, layout_after, layout_of, shape_for_weights
from vai_q_tf.passes.common.rewriter import Rewriter


def _conv(**options):
    shape = [2, 3, 5, 5] if options.get('data_format') == 'NCHW' else [2, 5, 5, 3]
    return tf.nn.conv2d(tf.zeros(shape), tf.zeros([3, 3, 3, 4]), 1, 'SAME', name='op', **options)


# {name: (function that creates 'op', shape of the weights, Layout, shape of a vector that multiplies the weights)}
_OPS = {
    'conv': (_conv, [3, 3, 3, 4], Layout(4, 3, 4), [4]),
    'channels first': (lambda: _conv(data_format='NCHW'), [3, 3, 3, 4], Layout(4, 1, 4), [4]),
    'depthwise': (lambda: tf.nn.depthwise_conv2d_native(
        tf.zeros([2, 5, 5, 3]), tf.zeros([3, 3, 3, 2]), [1] * 4, 'SAME', name='op'), [3, 3, 3, 2], Layout(4, 3, 6), [3, 2]),
    'transposed': (lambda: tf.nn.conv2d_transpose(tf.zeros([2, 5, 5, 3]), tf.zeros([3, 3, 4, 3]), [2, 5, 5, 4], 1, name='op'),
                   [3, 3, 4, 3], Layout(4, 3, 4), [4, 1]),
    'conv3d': (lambda: tf.nn.conv3d(tf.zeros([2, 5, 5, 5, 3]), tf.zeros([1, 1, 1, 3, 4]), [1] * 5, 'SAME', name='op'),
               [1, 1, 1, 3, 4], Layout(5, 4, 4), [4]),
    'matmul': (lambda: tf.matmul(tf.zeros([2, 3]), tf.zeros([3, 4]), name='op'), [3, 4], Layout(2, 1, 4), [4]),
    'matmul, transposed': (lambda: tf.matmul(tf.zeros([2, 3]), tf.zeros([4, 3]), transpose_b=True, name='op'),
                           [4, 3], Layout(2, 1, 4), [4, 1])}


@pytest.mark.parametrize('name', _OPS)
def test_layouts(name):
    build, weights, layout, shape = _OPS[name]
    view = GraphView(frozen(build))
    assert layout_of(view, 'op', weights) == layout
    dims = view.shape('op')
    assert (len(dims), dims[layout.axis]) == (layout.rank, layout.channels)
    assert shape_for_weights(view, 'op', weights, layout.channels) == shape
    assert np.broadcast(np.zeros(weights), np.zeros(shape)).shape == tuple(weights)


def test_other_ops_have_no_layout():
    assert layout_of(GraphView(frozen(lambda: tf.zeros([3], name='op') + 1.0)), 'op', [3]) is None


@pytest.mark.parametrize('shape, last, first', [
    ([4], True, False), ([1], True, True), ([], True, True), ([1, 4], True, False), ([4, 1, 1], False, True),
    ([1, 1, 1, 4], True, False), ([1, 4, 1, 1], False, True), ([3], False, False), ([2, 1, 1, 4], False, False),
    ([1, 1, 1, 1, 4], False, False)])
def test_which_operands_act_per_channel(shape, last, first):
    view = GraphView(frozen(lambda: tf.zeros(shape, name='c')))
    assert acts_per_channel(view, 'c', Layout(4, 3, 4)) == last
    assert acts_per_channel(view, 'c', Layout(4, 1, 4)) == first


def test_integers_and_unknown_shapes_do_not_act_per_channel():
    def build():
        tf.zeros([4], tf.int32, name='integers')
        tf.placeholder(tf.float32, None, name='unknown')
    view = GraphView(frozen(build))
    assert not any(acts_per_channel(view, name, Layout(4, 3, 4)) for name in ('integers', 'unknown'))


_CHANNELS_LAST = Layout(4, 3, 4)


@pytest.mark.parametrize('move, before, after', [
    (lambda x: tf.squeeze(x, [1], name='op'), _CHANNELS_LAST, Layout(3, 2, 4)),
    (lambda x: tf.squeeze(x, [-3, -2], name='op'), _CHANNELS_LAST, Layout(2, 1, 4)),
    (lambda x: tf.squeeze(x, [2], name='op'), Layout(4, 1, 1), Layout(3, 1, 1)),
    (lambda x: tf.squeeze(x, [1], name='op'), Layout(4, 1, 1), None),
    (lambda x: tf.squeeze(x, name='op'), _CHANNELS_LAST, None),
    (lambda x: tf.batch_to_space_nd(x, [1, 1], [[0, 0], [0, 0]], name='op'), _CHANNELS_LAST, _CHANNELS_LAST),
    (lambda x: tf.batch_to_space_nd(x, [1, 1], [[0, 0], [0, 0]], name='op'), Layout(4, 1, 1), None),
    (lambda x: tf.reshape(x, [-1, 4], name='op'), _CHANNELS_LAST, Layout(2, 1, 4)),
    (lambda x: tf.reshape(x, [-1, 2], name='op'), _CHANNELS_LAST, None),
    (lambda x: tf.reshape(x, [-1, 4], name='op'), Layout(4, 1, 1), None),
    (lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], 4]), name='op'), _CHANNELS_LAST, Layout(2, 1, 4)),
    (lambda x: tf.reshape(x, tf.stack([4, tf.shape(x)[0]]), name='op'), _CHANNELS_LAST, None),
    (lambda x: tf.reshape(x, tf.concat([tf.gather(tf.shape(x), [0, 1]), [1, 4]], 0), name='op'), _CHANNELS_LAST,
     _CHANNELS_LAST),
    (lambda x: tf.reshape(x, tf.placeholder(tf.int32, [2]), name='op'), _CHANNELS_LAST, None),
    (lambda x: tf.nn.relu(x, name='op'), _CHANNELS_LAST, None)])
def test_the_layout_after_ops_that_move_values(move, before, after):
    rewriter = Rewriter(frozen(lambda: move(tf.placeholder(tf.float32, [2, 1, 1, 4]))), [])
    assert layout_after(rewriter, 'op', before) == after
