"""The three documented functions of quantization-aware training.

Each takes its arguments in any form that scripts use: positional as documented, by keyword, and with a leading graph as the
original had it; they are told apart by their types.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.integrations.keras import session
from vai_q_tf.qat import checkpoints, evaluation, record, training
from vai_q_tf.qat.deploy.freeze import EvaluationFreezer

_TYPES = {'graph': tf.Graph, 'checkpoint': str, 'config': QuantizeConfig}


def CreateQuantizeTrainingGraph(*args, towers=None, **kwargs):
    """Converts a float training graph to a quantize training graph, in place; call it before the optimizer is made.

    Args:
      config: a QuantizeConfig.
      graph: the tf.Graph to rewrite; the default graph where it is not given.
      towers: name scopes of the copies of the network, where the graph has it several times on shared variables, such as
        ['clone_0', 'clone_1']; the config has the names of the network without them.

    Raises:
      QuantizeError: the graph cannot be rewritten (code, node, what to do); it is as it was then.
      TypeError: an argument of a wrong type.
    """
    graph, _, config = _arguments('CreateQuantizeTrainingGraph', ('graph', 'config'), args, kwargs)
    with session.renewed(graph):
        training.create_training_graph(graph, config, towers=towers)


def CreateQuantizeEvaluationGraph(*args, **kwargs):
    """Converts a float evaluation graph to a quantize evaluation graph, in place.

    A Saver made afterwards restores the quantize positions from the checkpoint together with the weights.

    Args:
      config: a QuantizeConfig; its nodes are those of training.
      graph: the tf.Graph to rewrite; the default graph where it is not given.

    Raises:
      QuantizeError, TypeError: as `CreateQuantizeTrainingGraph`.
    """
    graph, _, config = _arguments('CreateQuantizeEvaluationGraph', ('graph', 'config'), args, kwargs)
    with session.renewed(graph):
        evaluation.create_evaluation_graph(graph, config)


def CreateQuantizeDeployGraph(*args, **kwargs):
    """Freezes a checkpoint into the quantize evaluation graph and writes both files of the evaluation.

    Args:
      checkpoint: prefix of a checkpoint, or a directory whose latest one is taken.
      config: a QuantizeConfig.
      graph: the quantize evaluation graph; the default graph where it is not given.

    Returns:
      FrozenFiles, the paths of `quantize_eval_graph_<suffix>.pb` and `quantize_eval_model_<suffix>.pb`.

    Raises:
      QuantizeError: no checkpoint there, a graph that is not a quantize evaluation graph, a checkpoint that lacks positions
        or variables (named).
      TypeError: an argument of a wrong type.
    """
    graph, checkpoint, config = _arguments('CreateQuantizeDeployGraph', ('graph', 'checkpoint', 'config'), args, kwargs)
    plan = record.evaluation_plan(graph)
    prefix = checkpoints.find_checkpoint(checkpoint)
    return EvaluationFreezer(graph, plan, config).write(prefix, checkpoints.checkpoint_step(prefix))


def _arguments(function, names, args, kwargs):
    """(graph, checkpoint, config) from the arguments of a call."""
    values = {}
    for value in args:
        name = next((name for name in names if isinstance(value, _TYPES[name])), None)
        # The original's leading graph may be None.
        if value is None and not values:
            name = 'graph'
        if name is None or name in values:
            raise TypeError('{}: unexpected argument of type {}: {!r}; it takes {}'.format(
                function, type(value).__name__, value, ', '.join(names)))
        values[name] = value
    for name, value in kwargs.items():
        if name not in names or name in values:
            raise TypeError('{}: unexpected argument {!r}; it takes {}, each once'.format(function, name, ', '.join(names)))
        if value is not None and not isinstance(value, _TYPES[name]):
            raise TypeError('{}: {} must be a {}, got {}: {!r}'.format(
                function, name, _TYPES[name].__name__, type(value).__name__, value))
        values[name] = value
    config = require_config(values.get('config'))
    graph = values.get('graph')
    return tf.get_default_graph() if graph is None else graph, values.get('checkpoint'), config
