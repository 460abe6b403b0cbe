"""The three documented functions of quantization-aware training.

Each takes its arguments in any form that scripts use: positional as documented, by keyword, and with a leading graph as in
vai_q_tensorflow. Their types identify them.
"""
import functools
import inspect
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, TypeVar, cast

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.integrations import gradient_interception
from vai_q_tf.integrations.keras import session
from vai_q_tf.qat import checkpoints, evaluation, training
from vai_q_tf.qat.deploy import EvaluationFreezer, FrozenFiles

_TYPES = {'graph': tf.Graph, 'checkpoint': str, 'config': QuantizeConfig}
_Function = TypeVar('_Function', bound=Callable[..., Any])


def _sort_arguments(function: _Function) -> _Function:
    """The function, with positional arguments in any order, a checked config, and the default graph if none is given."""
    signature = inspect.getfullargspec(function)

    @functools.wraps(function)
    def sorting(*args: Any, **kwargs: Any) -> Any:
        values = _arguments(function.__name__, signature.args, signature.kwonlyargs, args, kwargs)
        require_config(values.get('config'))
        if values.get('graph') is None:
            values['graph'] = tf.get_default_graph()
        return function(**values)

    return cast(_Function, sorting)


@_sort_arguments
def CreateQuantizeTrainingGraph(config: Optional[QuantizeConfig] = None, graph: Optional[tf.Graph] = None, *,
                                towers: Optional[Sequence[str]] = None) -> None:
    """Converts a float training graph to a quantize training graph, in place; call it before the optimizer is created.

    Ops that read a tensor of the network then read its quantized form, and so do ops that are added later.

    Args:
      config: a QuantizeConfig, which is required. The graph may come before it, as in vai_q_tensorflow.
      graph: the tf.Graph to rewrite; None: the default graph.
      towers: name scopes of the copies of the network, such as ['clone_0', 'clone_1'], if the graph has several on shared
        variables; the config has the names of the network without them.

    Raises:
      QuantizeError: the graph cannot be rewritten (code, node, what to do); it stays as it is.
      TypeError: an argument of a wrong type.
    """
    with session.renewed(graph):
        training.create_training_graph(graph, require_config(config), towers=towers)
    gradient_interception.follow(graph)


@_sort_arguments
def CreateQuantizeEvaluationGraph(config: Optional[QuantizeConfig] = None, graph: Optional[tf.Graph] = None) -> None:
    """Converts a float evaluation graph to a quantize evaluation graph, in place.

    A Saver created after it restores the quantize positions from the checkpoint together with the weights. Metrics may be built
    before or after it.

    Args:
      config: a QuantizeConfig, which is required, with the nodes of training. The graph may come before it.
      graph: the tf.Graph to rewrite; None: the default graph.

    Raises:
      QuantizeError, TypeError: same as `CreateQuantizeTrainingGraph`.
    """
    with session.renewed(graph):
        evaluation.create_evaluation_graph(graph, require_config(config))
    gradient_interception.follow(graph)


@_sort_arguments
def CreateQuantizeDeployGraph(checkpoint: Optional[str] = None, config: Optional[QuantizeConfig] = None,
                              graph: Optional[tf.Graph] = None) -> FrozenFiles:
    """Freezes a checkpoint into the quantize evaluation graph and writes both files of the evaluation.

    Args:
      checkpoint: prefix of a checkpoint, or a directory, whose latest one is taken.
      config: a QuantizeConfig, which is required.
      graph: the quantize evaluation graph, which may also be the first argument; None: the default graph.

    Returns:
      FrozenFiles, the paths of `quantize_eval_graph_<suffix>.pb` and `quantize_eval_model_<suffix>.pb`.

    Raises:
      QuantizeError: there is no checkpoint, the graph is not a quantize evaluation graph, or the checkpoint lacks positions or
        variables (named).
      TypeError: an argument of a wrong type.
    """
    freezer = EvaluationFreezer(graph, require_config(config))
    prefix = checkpoints.find_checkpoint(checkpoint)
    return freezer.write(prefix, checkpoints.checkpoint_step(prefix))


def _arguments(function: str, names: Sequence[str], keywords: Sequence[str], args: Sequence[Any],
               kwargs: Mapping[str, Any]) -> Dict[str, Any]:
    """The arguments of a call by name; `names` may be positional, in any order, `keywords` are only in `kwargs`."""
    values = _positional(function, names, args)
    for name, value in kwargs.items():
        if name not in [*names, *keywords] or name in values:
            raise TypeError('{}: unexpected argument {!r}; it takes {}, each once'.format(
                function, name, ', '.join([*names, *keywords])))
        if name in names and value is not None and not isinstance(value, _TYPES[name]):
            raise TypeError('{}: {} must be a {}, got {}: {!r}'.format(
                function, name, _TYPES[name].__name__, type(value).__name__, value))
        values[name] = value
    return values


def _positional(function: str, names: Sequence[str], args: Sequence[Any]) -> Dict[str, Any]:
    """The positional arguments of a call by name, which their types determine."""
    values: Dict[str, Any] = {}
    for value in args:
        # None is the graph in any place: in vai_q_tensorflow the graph comes first.
        name = 'graph' if value is None else next((name for name in names if isinstance(value, _TYPES[name])), '')
        if not name or name in values:
            raise TypeError('{}: unexpected argument of type {}: {!r}; it takes {}'.format(
                function, type(value).__name__, value, ', '.join(names)))
        values[name] = value
    return values
