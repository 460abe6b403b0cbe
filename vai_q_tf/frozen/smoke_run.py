"""Runs a graph once, so that a fault in it is reported early and with the name of the node."""
from typing import Any, List, Optional, Sequence, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.make_graph import node_of
from vai_q_tf.graph.sessions import session_config, skip_clustering
from vai_q_tf.graph.view import node_name
from vai_q_tf.types import Feed

Fetch = Union[tf.Tensor, Sequence[tf.Tensor]]


def run_graph(graph: tf.Graph, fetches: Any, feed: Feed, config: tf.ConfigProto) -> Any:
    """The values of `fetches`, as `tf.Session.run` returns them; a tf.errors.OpError if the graph does not run."""
    with large_constants.session(graph, config) as session:
        return session.run(fetches, feed)


def cannot_run(what: str, error: Exception) -> errors.QuantizeError:
    """The QuantizeError for an error of `run_graph`; what: the start of its sentence, such as 'The model does not run'."""
    message = getattr(error, 'message', str(error))
    return errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Cannot run', '{}{}: {}'.format(
        what, node_of(message), (message.splitlines() or [type(error).__name__])[0]))


def check_float_graph(graph: tf.Graph, config: QuantizeConfig, batch: Feed, gpu_memory_fraction: Optional[float] = None,
                      others: Sequence[Fetch] = ()) -> Optional[List]:
    """Runs the output nodes of the float graph on the first calibration batch.

    Args:
      graph: from `make_graph`. config: names the output nodes. batch: {tensor name: array}.
      gpu_memory_fraction: see `session_config`. others: more fetches from the graph.

    Returns:
      the values of `others`; None if they cannot be fetched, for example in a branch that does not run.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH with the node and TensorFlow's message if the graph does not run.
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
