"""Helpers of all tests: reading models and running them."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.sessions import exact


def read_graph(path):
    """The GraphDef in a binary file."""
    with open(str(path), 'rb') as file:
        return tf.GraphDef.FromString(file.read())


def run(graph_def, tensors, feed=None):
    """The values of tensors of a GraphDef, computed op by op as the graph says; feed: {tensor: value}."""
    with tf.Graph().as_default() as graph, tf.Session(graph=graph, config=exact(tf.ConfigProto())) as session:
        tf.import_graph_def(graph_def, name='')
        return session.run(list(map(_output, tensors)), {_output(name): value for name, value in (feed or {}).items()})


def _output(tensor):
    return tensor if ':' in tensor else tensor + ':0'
