"""Makes and runs the float graph before anything is done to it, so that what is wrong with it or its data is told at once."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.sessions import session_config, skip_clustering
from vai_q_tf.graph.view import node_name


def make_float_graph(graph_def):
    """The tf.Graph of a GraphDef; a QuantizeError UNSUPPORTED_GRAPH with TensorFlow's message where it makes none of it."""
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(graph_def, name='')
    except (ValueError, tf.errors.OpError) as error:
        text = 'TensorFlow {} does not take the graph: {}'.format(tf.__version__, str(error).splitlines()[0])
        raise errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Invalid graph', text) from error
    return graph


def check_float_graph(graph, config, batch, gpu_memory_fraction=None):
    """Runs the output nodes of the float graph on the first calibration batch.

    Args:
      graph: from `make_float_graph`. config: QuantizeConfig that names its output nodes.
      batch: what is fed, {tensor name: array}.
      gpu_memory_fraction: see `session_config`.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH with the node and TensorFlow's message where the graph does not run.
    """
    outputs = [node_name(name) for name in config.output_nodes]
    fetches = {name: graph.get_operation_by_name(name).outputs[0] for name in outputs}
    skip_clustering(fetches[outputs[0]].op)
    try:
        with tf.Session(graph=graph, config=session_config(gpu_memory_fraction)) as session:
            values = session.run(fetches, batch)
    except tf.errors.OpError as error:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Cannot run', 'The float graph does not run on the first batch{}: {}'.format(
                ' (node {!r})'.format(error.op.name) if error.op is not None else '', error.message.splitlines()[0])) from error
    for name, value in values.items():
        if np.asarray(value).dtype.kind == 'f' and not np.isfinite(value).all():
            tf.logging.warning('Output node %r of the float graph is NaN or infinite on the first batch', name)
