"""Shapes that hold for every batch size."""
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.any_batch_shapes import note_any_batch_shapes


def _view(build):
    with tf.Graph().as_default() as graph:
        build(tf.placeholder(tf.float32, [None, 4, 6, 3], 'x'))
        graph_def = graph.as_graph_def()
    return GraphView(note_any_batch_shapes(graph_def, (), QuantizeConfig(['x'], ['y'], [[-1, 4, 6, 3]])))


def test_sizes_computed_from_other_dimensions_are_known():
    view = _view(lambda x: tf.image.resize_bilinear(x, 2 * tf.shape(x)[1:3], name='y'))
    assert view.shape('y') == [-1, 8, 12, 3] and view.shape('x') == [-1, 4, 6, 3]


def test_sizes_computed_from_the_batch_are_unknown():
    assert _view(lambda x: tf.reshape(x, [2 * tf.shape(x)[0], -1], name='y')).shape('y') == [-1, 36]
    assert _view(lambda x: tf.reshape(x, tf.concat([[4], tf.shape(x)[:1], [-1]], 0), name='y')).shape('y') == [4, -1, 18]


def test_a_graph_that_takes_one_batch_is_returned_as_it_is():
    assert _view(lambda x: tf.add_n(tf.split(x, 5, 0), name='y')).shape('y') is None  # no shapes are noted
