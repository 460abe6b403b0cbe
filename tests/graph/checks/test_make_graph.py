"""A graph that TensorFlow refuses raises an error with the name of the node, and does not end the process."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.checks.make_graph import make_graph


def _graph_def():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [2, 6], 'x')
        tf.strided_slice(x, tf.constant([0, 1], name='begin'), [1, 2], name='slice')
        return graph.as_graph_def()


def test_makes_the_graph():
    with make_graph(_graph_def()).as_default() as graph, tf.Session(graph=graph) as session:
        np.testing.assert_array_equal(session.run('slice:0', {'x:0': np.arange(12.).reshape(2, 6)}), [[1]])


def test_an_error_of_tensorflow_names_the_node():
    """Only the shape function of the op knows that a size is missing."""
    graph_def = _graph_def()
    begin = next(node for node in graph_def.node if node.name == 'begin').attr['value'].tensor
    begin.CopyFrom(tf.make_tensor_proto(np.int32([0, 1, 2])))
    with pytest.raises(errors.QuantizeError, match='does not take the graph .*\\(node .slice') as caught:
        make_graph(graph_def)
    assert caught.value.code == errors.UNSUPPORTED_GRAPH
