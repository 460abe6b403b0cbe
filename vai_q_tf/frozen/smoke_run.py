"""Runs a graph once, so that what is wrong with it is told at once, and by the name of its node."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.make_graph import node_of
from vai_q_tf.graph.sessions import session_config, skip_clustering
from vai_q_tf.graph.view import node_name


def run_graph(graph, fetches, feed, config):
    """The values of `fetches`; a tf.errors.OpError where the graph does not run. config: a tf.ConfigProto."""
    with large_constants.session(graph, config) as session:
        return session.run(fetches, feed)


def cannot_run(what, error):
    """The QuantizeError for an error of `run_graph`; what: what does not run, and on what."""
    message = getattr(error, 'message', str(error))
    return errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Cannot run', '{}{}: {}'.format(
        what, node_of(message), (message.splitlines() or [type(error).__name__])[0]))


def check_float_graph(graph, config, batch, gpu_memory_fraction=None, others=()):
    """Runs the output nodes of the float graph on the first calibration batch; returns the values of `others`.

    Args:
      graph: from `make_graph`. config: QuantizeConfig that names its output nodes.
      batch: what is fed, {tensor name: array}.
      gpu_memory_fraction: see `session_config`. others: tensors of the graph; None is returned where they cannot be fetched, as
        in a branch that does not run.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH with the node and TensorFlow's message where the graph does not run.
    """
    fetches = {name: graph.get_operation_by_name(name).outputs[0] for name in map(node_name, config.output_nodes)}
    skip_clustering(graph.get_operation_by_name(node_name(config.output_nodes[0])))
    try:
        values, found = run_graph(graph, [fetches, others], batch, session_config(gpu_memory_fraction))
    except tf.errors.OpError as error:
        if others:
            check_float_graph(graph, config, batch, gpu_memory_fraction)
            return None
        raise cannot_run('The float graph does not run on the first batch', error) from error
    for name, value in values.items():
        if np.asarray(value).dtype.kind == 'f' and not np.isfinite(value).all():
            tf.logging.warning('Output node %r of the float graph is NaN or infinite on the first batch', name)
    return found
