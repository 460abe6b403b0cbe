"""Makes the graph of a GraphDef, or says by the name of its node what is wrong with that."""
import re

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import large_constants

# TensorFlow's messages name a node in one of these ways.
_NODE = re.compile(r"\{\{node ([^}]+)\}\}|\[\[node ([^\s\]]+)|[Nn]ode:? '([^']+)'|of node ([^\s:,]+)|\bfor '([^']+)' \(op:")


def make_graph(graph_def, what='the graph'):
    """The tf.Graph of a GraphDef that `check_nodes` found sound; what: what to call it in the message.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH with TensorFlow's words where it does not take the graph all the same.
    """
    graph = tf.Graph()
    try:
        with graph.as_default():
            large_constants.import_graph_def(graph_def, name='')
    except Exception as error:  # KeyError, TypeError, ... for what is damaged
        text = str(error)
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Invalid graph', 'TensorFlow {} does not take {}{}: {}'.format(
                tf.__version__, what, node_of(text), (text.splitlines() or [type(error).__name__])[0])) from error
    return graph


def node_of(message):
    """' (node NAME)' for the node that a message of TensorFlow names, '' where it names none."""
    found = _NODE.search(message)
    return ' (node {!r})'.format(next(filter(None, found.groups()))) if found else ''
