"""The three documented functions of quantization-aware training.

Each takes its arguments in any form that scripts use: positional as documented, by keyword, and with a leading graph as the
original had it; they are told apart by their types.
"""
import functools
import inspect
from typing import Any, Callable, TypeVar, cast

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.integrations import gradient_interception
from vai_q_tf.integrations.keras import session
from vai_q_tf.qat import checkpoints, evaluation, training
from vai_q_tf.qat.deploy import EvaluationFreezer

_TYPES = {'graph': tf.Graph, 'checkpoint': str, 'config': QuantizeConfig}
_Function = TypeVar('_Function', bound=Callable[..., Any])


def _sort_arguments(function: _Function) -> _Function:
    """The function, which may be called with positional arguments in any order; it gets a valid config, and a graph."""
    signature = inspect.getfullargspec(function)

    @functools.wraps(function)
    def sorting(*args, **kwargs):
        values = _arguments(function.__name__, signature.args, signature.kwonlyargs, args, kwargs)
        require_config(values.get('config'))
        if values.get('graph') is None:
            values['graph'] = tf.get_default_graph()
        return function(**values)

    return cast(_Function, sorting)


@_sort_arguments
def CreateQuantizeTrainingGraph(config=None, graph=None, *, towers=None):
    """Converts a float training graph to a quantize training graph, in place; call it before the optimizer is made.

    What read a tensor of the network reads its quantized form then, and so does what is built from it later.

    Args:
      config: a QuantizeConfig; it has to be given. The graph may come before it, as in the original.
      graph: the tf.Graph to rewrite; the default graph where it is None.
      towers: name scopes of the copies of the network, where the graph has it several times on shared variables, such as
        ['clone_0', 'clone_1']; the config has the names of the network without them.

    Raises:
      QuantizeError: the graph cannot be rewritten (code, node, what to do); it is as it was then.
      TypeError: an argument of a wrong type.
    """
    with session.renewed(graph):
        training.create_training_graph(graph, config, towers=towers)
    gradient_interception.follow(graph)


@_sort_arguments
def CreateQuantizeEvaluationGraph(config=None, graph=None):
    """Converts a float evaluation graph to a quantize evaluation graph, in place.

    A Saver made afterwards restores the quantize positions from the checkpoint together with the weights. Metrics may be built
    before or afterwards.

    Args:
      config: a QuantizeConfig; it has to be given, and its nodes are those of training. The graph may come before it.
      graph: the tf.Graph to rewrite; the default graph where it is None.

    Raises:
      QuantizeError, TypeError: as `CreateQuantizeTrainingGraph`.
    """
    with session.renewed(graph):
        evaluation.create_evaluation_graph(graph, config)
    gradient_interception.follow(graph)


@_sort_arguments
def CreateQuantizeDeployGraph(checkpoint=None, config=None, graph=None):
    """Freezes a checkpoint into the quantize evaluation graph and writes both files of the evaluation.

    Args:
      checkpoint: prefix of a checkpoint, or a directory whose latest one is taken.
      config: a QuantizeConfig; it has to be given.
      graph: the quantize evaluation graph, which may be the first argument, too; the default graph where it is None.

    Returns:
      FrozenFiles, the paths of `quantize_eval_graph_<suffix>.pb` and `quantize_eval_model_<suffix>.pb`.

    Raises:
      QuantizeError: no checkpoint there, a graph that is not a quantize evaluation graph, a checkpoint that lacks positions
        or variables (named).
      TypeError: an argument of a wrong type.
    """
    freezer = EvaluationFreezer(graph, config)
    prefix = checkpoints.find_checkpoint(checkpoint)
    return freezer.write(prefix, checkpoints.checkpoint_step(prefix))


def _arguments(function, names, keywords, args, kwargs):
    """The arguments of a call by their names: those of `args` have the types of `names`, `keywords` are in `kwargs` only."""
    values = {}
    for value in args:
        # None is the graph, wherever it is: that of the original was the first argument.
        name = 'graph' if value is None else next((name for name in names if isinstance(value, _TYPES[name])), None)
        if name is None or name in values:
            raise TypeError('{}: unexpected argument of type {}: {!r}; it takes {}'.format(
                function, type(value).__name__, value, ', '.join(names)))
        values[name] = value
    for name, value in kwargs.items():
        if name not in names + keywords or name in values:
            raise TypeError('{}: unexpected argument {!r}; it takes {}, each once'.format(
                function, name, ', '.join(names + keywords)))
        if name in names and value is not None and not isinstance(value, _TYPES[name]):
            raise TypeError('{}: {} must be a {}, got {}: {!r}'.format(
                function, name, _TYPES[name].__name__, type(value).__name__, value))
        values[name] = value
    return values
