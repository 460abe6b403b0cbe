"""Starts a quantized training from the weights of a float one."""
from typing import Set

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import VARIABLE_OPS
from vai_q_tf.qat import checkpoints, graph_record
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader


def start_from_float(graph: tf.Graph, checkpoint: str) -> None:
    """Initializes the variables that `graph` has by now, except the global step, with their values in a float checkpoint.

    Call it after the rewrite and before the optimizer. It does not affect a training that resumes from its own checkpoint.
    Moving averages get their values, too, unlike with tf.estimator.WarmStartSettings.

    Args:
      graph: the live tf.Graph, rewritten for training.
      checkpoint: prefix of the float checkpoint.

    Raises:
      QuantizeError: INVALID_INPUT if the checkpoint is damaged or lacks variables of the quantized network (named).
    """
    reader = CheckpointReader(checkpoint)
    step, needed = tf.train.get_global_step(graph), network_variables(graph)
    variables = [variable for variable in graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES) if variable is not step]
    found, unfit = checkpoints.restorable(reader, variables)
    missing = {unfit[name] for name, variable in zip(map(checkpoints.variable_name, variables), variables)
               if name in unfit and (variable.op.name in needed or reader.has_tensor(name))}
    if missing:
        raise checkpoints.missing_variables(
            checkpoint, missing, 'Give a float checkpoint of this network; for new layers, omit it and call '
            'tf.train.init_from_checkpoint in the model_fn.', 'has no value of {} variables of the network')
    with graph.as_default(), tf.control_dependencies(None):
        tf.train.init_from_checkpoint(checkpoint, {
            name: variables[0] if len(variables) == 1 else variables for name, variables in found.items()})


def network_variables(graph: tf.Graph) -> Set[str]:
    """The names of the variables of the network in a rewritten graph."""
    float_graph = graph_record.float_graph(graph)
    return {node.name for node in float_graph.node if node.op in VARIABLE_OPS}
