"""Makes and runs a graph once, so that what is wrong with it is told at once, and by the name of its node."""
import functools
import operator
import re

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.sessions import session_config, skip_clustering
from vai_q_tf.graph.view import node_name

# TensorFlow's messages name a node in one of these ways.
_NODE = re.compile(r"\{\{node ([^}]+)\}\}|\[\[node ([^\s\]]+)|[Nn]ode:? '([^']+)'|of node ([^\s:,]+)|\bfor '([^']+)' \(op:")


def make_graph(graph_def, what='the graph'):
    """The tf.Graph of a GraphDef; a QuantizeError UNSUPPORTED_GRAPH with TensorFlow's message where it makes none of it."""
    for node in graph_def.node:
        fault = _fault_of_constant(node)
        if fault:
            raise errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Invalid graph', 'The constant {!r} in {} {}; export the '
                                       'graph anew.'.format(node.name, what, fault))
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(graph_def, name='')
    except Exception as error:  # KeyError, TypeError, ... for what is damaged
        text = str(error)
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Invalid graph', 'TensorFlow {} does not take {}{}: {}'.format(
                tf.__version__, what, _in_node(text), (text.splitlines() or [type(error).__name__])[0])) from error
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


def run_graph(graph, fetches, feed, config):
    """The values of `fetches`; a tf.errors.OpError where the graph does not run. config: a tf.ConfigProto."""
    with tf.Session(graph=graph, config=config) as session:
        return session.run(fetches, feed)


def cannot_run(what, error):
    """The QuantizeError for an error of `run_graph`; what: what does not run, and on what."""
    message = getattr(error, 'message', str(error))
    return errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Cannot run', '{}{}: {}'.format(
        what, _in_node(message), (message.splitlines() or [type(error).__name__])[0]))


def check_float_graph(graph, config, batch, gpu_memory_fraction=None):
    """Runs the output nodes of the float graph on the first calibration batch.

    Args:
      graph: from `make_graph`. config: QuantizeConfig that names its output nodes.
      batch: what is fed, {tensor name: array}.
      gpu_memory_fraction: see `session_config`.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH with the node and TensorFlow's message where the graph does not run.
    """
    fetches = {name: graph.get_operation_by_name(name).outputs[0] for name in map(node_name, config.output_nodes)}
    skip_clustering(graph.get_operation_by_name(node_name(config.output_nodes[0])))
    try:
        values = run_graph(graph, fetches, batch, session_config(gpu_memory_fraction))
    except tf.errors.OpError as error:
        raise cannot_run('The float graph does not run on the first batch', error) from error
    for name, value in values.items():
        if np.asarray(value).dtype.kind == 'f' and not np.isfinite(value).all():
            tf.logging.warning('Output node %r of the float graph is NaN or infinite on the first batch', name)


def _in_node(message):
    found = _NODE.search(message)
    return ' (node {!r})'.format(next(filter(None, found.groups()))) if found else ''
