"""Makes the graph of a GraphDef, or says by the name of its node what is wrong with that."""
import functools
import operator
import re

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import large_constants

# TensorFlow's messages name a node in one of these ways.
_NODE = re.compile(r"\{\{node ([^}]+)\}\}|\[\[node ([^\s\]]+)|[Nn]ode:? '([^']+)'|of node ([^\s:,]+)|\bfor '([^']+)' \(op:")


def make_graph(graph_def, what='the graph'):
    """The tf.Graph of a GraphDef; a QuantizeError UNSUPPORTED_GRAPH with TensorFlow's message where it makes none of it."""
    for node in graph_def.node:
        fault = '' if large_constants.is_apart(node) else _fault_of_constant(node)
        if fault:
            raise errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Invalid graph', 'The constant {!r} in {} {}; export the '
                                       'graph anew.'.format(node.name, what, fault))
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


def _fault_of_constant(node):
    """What is damaged in the value of a Const NodeDef, '' for nothing. Some of it makes TensorFlow abort the process."""
    if node.op != 'Const' or 'value' not in node.attr or node.attr['value'].WhichOneof('value') != 'tensor':
        return ''
    tensor = node.attr['value'].tensor
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype != node.attr['dtype'].type:
        return 'has a value of another type than the attr dtype'
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        return 'has a value without a shape'
    count = functools.reduce(operator.mul, sizes, 1)
    given = max([len(values) // (1 + field.name.endswith('complex_val')) for field, values in tensor.ListFields()
                 if field.name.endswith('_val')], default=0)
    content = len(tensor.tensor_content)
    if given > count or content and content != count * tf.as_dtype(tensor.dtype).size:
        return 'has a value of another size than its shape, {}'.format(sizes)
    return ''


def node_of(message):
    """' (node NAME)' for the node that a message of TensorFlow names, '' where it names none."""
    found = _NODE.search(message)
    return ' (node {!r})'.format(next(filter(None, found.groups()))) if found else ''
