"""Imports a GraphDef, or reports by the name of the node why TensorFlow refuses it."""
import re

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import large_constants

# The ways in which TensorFlow's messages name a node.
_NODE = re.compile(r"\{\{node ([^}]+)\}\}|\[\[node ([^\s\]]+)|[Nn]ode:? '([^']+)'|of node ([^\s:,]+)|\bfor '([^']+)' \(op:")


def make_graph(graph_def: tf.GraphDef, what: str = 'the graph') -> tf.Graph:
    """The tf.Graph of a GraphDef that passed `check_nodes`.

    Args:
      what: the name of the graph in the message.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH with TensorFlow's message if TensorFlow refuses the graph all the same.
    """
    graph = tf.Graph()
    try:
        with graph.as_default():
            large_constants.import_graph_def(graph_def, name='')
    except Exception as error:  # damage raises KeyError, TypeError, ...
        text = str(error)
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Invalid graph', 'TensorFlow {} does not take {}{}: {}'.format(
                tf.__version__, what, node_of(text), (text.splitlines() or [type(error).__name__])[0])) from error
    return graph


def node_of(message: str) -> str:
    """" (node 'NAME')" for the node that a message of TensorFlow names, '' if it names none."""
    found = _NODE.search(message)
    return ' (node {!r})'.format(next(filter(None, found.groups()))) if found else ''
