"""Several copies of a network in one graph: the replicas of a distribution strategy, or towers that share variables.

Each copy is planned separately and quantized by separate ops. They share the state of the positions: one row of votes for each
tensor of the network. A step is one vote, same as on one device: the least of the positions that suit the copies, so the
largest values of the whole batch decide. The position in use is read after that, once for all copies. Under MirroredStrategy
moving averages differ between replicas until they are saved; folding takes their mean, the value in a checkpoint, so the
replicas have the same quantized weights as well.

Tests: tests/distributed/.
"""
import json
import os
from typing import Callable, Dict, Iterable, List, Sequence, Tuple, TypeVar

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.traits import READ_OPS
from vai_q_tf.graph.view import GraphView, normalise
from vai_q_tf.qat.network.inference_form import InferenceForm

_Result = TypeVar('_Result')
_ADVICE = ('Supported are tf.distribute.MirroredStrategy on the devices of one machine, OneDeviceStrategy, parameter servers '
           'without a strategy (TF_CONFIG and train_and_evaluate), and Horovod.')


def for_all_replicas(rewrite: Callable[[tf.Graph, QuantizeConfig, Sequence[str]], _Result], graph: tf.Graph,
                     config: QuantizeConfig) -> _Result:
    """Calls rewrite(graph, config, prefixes), once for all copies of the network that a distribution strategy creates.

    Within the replicas of a MirroredStrategy it waits until each replica has called it.

    Args:
      rewrite: `prefixes` are the prefixes of the names of ops in each copy of the network.

    Returns:
      the result of `rewrite`.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH naming a strategy that is not supported; errors of `rewrite`.
    """
    if any(op.type == 'TPUReplicateMetadata' for op in graph.get_operations()):
        raise _unsupported('The graph is built for a TPU, which has no kernels for quantization. Train on a CPU or GPU.')
    strategy = tf.distribute.get_strategy()
    replicas = _replicas(strategy) if tf.distribute.has_strategy() else _devices_of_variables(graph)
    if replicas == 1:
        return rewrite(graph, config, ('',))
    context = tf.distribute.get_replica_context() if tf.distribute.has_strategy() else None
    if context is None:
        raise _unsupported(
            'The graph is built for {} replicas by {}, and the rewrite is called outside of them, as in a hook. Call it in the '
            'function that builds the network of a replica, such as the model_fn of an Estimator, before the optimizer.'.format(
                replicas, type(strategy).__name__ if tf.distribute.has_strategy() else 'a strategy'))
    prefixes = ('',) + tuple('replica_{}/'.format(replica) for replica in range(1, replicas))
    return context.merge_call(lambda _: rewrite(graph, config, prefixes))


def prefix_of_replica() -> str:
    """The prefix of the names of ops in the copy of the network that the current replica builds; '' without a strategy.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH naming a strategy that is not supported, or if it is called outside its replicas.
    """
    if not tf.distribute.has_strategy() or _replicas(tf.distribute.get_strategy()) == 1:
        return ''
    context = tf.distribute.get_replica_context()
    if context is None:
        raise _unsupported('The graph is built for several replicas, and this is outside of them. Call it in the function that '
                           'builds the network of a replica, such as the model_fn of an Estimator, before the optimizer.')
    number = int(tf.get_static_value(context.replica_id_in_sync_group))
    return 'replica_{}/'.format(number) if number else ''


def _devices_of_variables(graph: tf.Graph) -> int:
    """The number of devices with a copy of each variable of the graph; 1 if no strategy created them."""
    return max((len(variable.values) for variable in graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
                if isinstance(variable, tf_internal.DistributedValues)), default=1)


def is_chief() -> bool:
    """Whether this process writes files: any process except the workers other than the chief of the cluster in TF_CONFIG."""
    cluster = json.loads(os.environ.get('TF_CONFIG') or '{}')
    task = cluster.get('task', {})
    first = str(task.get('index', 0)) == '0' and 'chief' not in cluster.get('cluster', {})
    return task.get('type') != 'worker' or first


def _replicas(strategy: tf.distribute.Strategy) -> int:
    """The number of replicas of a supported strategy; a QuantizeError for any other."""
    if not tf_internal.is_one_device(strategy) and not tf_internal.is_mirrored_on_one_machine(strategy):
        raise _unsupported('The graph is built by {}, which is not supported.'.format(type(strategy).__name__))
    return strategy.num_replicas_in_sync


def _unsupported(reason: str) -> errors.QuantizeError:
    return errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Distribution strategy', '{} {}'.format(reason, _ADVICE))


def config_of_copy(view: GraphView, config: QuantizeConfig, prefix: str) -> QuantizeConfig:
    """The config for the copy of the network whose names begin with `prefix`; nodes that the copies share have no prefix."""
    if not prefix:
        return config

    def prefixed(name: str) -> str:
        return prefix + name if prefix + name in view else name

    def prefixed_entries(entries: Iterable[str]) -> List[str]:
        return ['{}:{}'.format(prefixed(name), setting) for name, _, setting in (entry.rpartition(':') for entry in entries)]

    return config.replace(
        input_nodes=[prefix + name for name in config.input_nodes],
        output_nodes=[prefix + name for name in config.output_nodes],
        ignore_nodes=[prefixed(name) for name in config.ignore_nodes],
        nodes_bit=prefixed_entries(config.nodes_bit), nodes_method=prefixed_entries(config.nodes_method))


def prefixes_of_towers(towers: Sequence[str]) -> Tuple[str, ...]:
    """The prefix of the names in each tower, given their name scopes; a QuantizeError for anything but a list of scopes."""
    if isinstance(towers, str) or not towers or not all(isinstance(tower, str) and tower.strip('/') for tower in towers):
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Invalid parameter',
            'towers is {!r}; expected a list of name scopes, such as [\'clone_0\', \'clone_1\'].'.format(towers))
    return tuple(tower.rstrip('/') + '/' for tower in towers)


def check_alike(forms: Iterable[InferenceForm], prefixes: Sequence[str]) -> None:
    """Raises a QuantizeError if the copies of the network, given their InferenceForms, differ."""
    networks = [_without_reads(GraphView(form.graph_def)) for form in forms]
    for prefix, network in zip(prefixes, networks):
        differing = sorted(name for name in set(networks[0]) | set(network) if networks[0].get(name) != network.get(name))
        if differing:
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Networks differ',
                'The networks under {!r} and {!r} are not quantized alike; {!r} is in one of them only. Build both by one '
                'function, and give the ops names where TensorFlow numbers them differently.'.format(
                    prefixes[0], prefix, differing[0]))


def _without_reads(view: GraphView) -> Dict[str, Tuple[str, List[str]]]:
    """{node: (op type, inputs)} without reads of variables, whose names may differ."""
    def source(tensor: str) -> str:
        while view.op(tensor) in READ_OPS:
            tensor = view.inputs(tensor)[0]
        return tensor
    return {name: (view.op(name), [source(tensor) for tensor in view.inputs(name)])
            for name in view.names if view.op(name) not in READ_OPS}


def share_moving_averages(graph: tf.Graph, forms: Sequence[InferenceForm], prefix: str) -> Tuple[InferenceForm, ...]:
    """The forms of all copies, with the mean over the copies instead of a moving average that each copy has separately.

    prefix: that of the first copy.
    """
    shared = tuple(form._replace(variables=dict(form.variables)) for form in forms)
    for norm in shared[0].norms:
        for average in (norm.moving_mean, norm.moving_variance):
            own = average, prefix + average
            variable = next((name for name, read in shared[0].variables.items() if read in own), '')
            reads = sorted({form.variables[variable] for form in shared}) if variable else []
            if len(reads) > 1:
                mean = _mean(graph, reads, variable + '/mean')
                for form in shared:
                    form.variables[variable] = mean
    return shared


def _mean(graph: tf.Graph, tensors: Sequence[str], name: str) -> str:
    """The name of a new tensor with the mean of some tensors."""
    values = [live_editor.tensor(graph, tensor) for tensor in tensors]
    with live_editor.with_placement_of(graph, values[0]):
        return normalise(tf.divide(tf.add_n(values), float(len(values)), name=name).name)
