"""A network that is in one graph several times: the replicas of a distribution strategy, or towers that share variables.

Each copy is planned by itself and quantized by ops of its own. What they share is the state of the positions: one row of votes
for a tensor of the network, whatever copy it is in. A step is one vote, as it is on one device: the least of the positions that
suit the copies, so the largest values of the whole batch decide. Only then the position in use is read, once for all copies.
Under MirroredStrategy moving averages differ between replicas until they are saved; folding takes their mean, which is what a
checkpoint has, so that the replicas have the same quantized weights as well.
"""
import json
import os

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.traits import READ_OPS
from vai_q_tf.graph.view import GraphView, normalise

_ADVICE = ('Supported are tf.distribute.MirroredStrategy on the devices of one machine, OneDeviceStrategy, parameter servers '
           'without a strategy (TF_CONFIG and train_and_evaluate), and Horovod.')


def for_all_replicas(rewrite, graph, config):
    """Calls rewrite(graph, config, prefixes), once for all copies of the network that a distribution strategy makes.

    Within the replicas of a MirroredStrategy it waits until each of them has come to its call.

    Args:
      rewrite: prefixes are what names of ops begin with in each copy of the network.

    Returns:
      what `rewrite` returns.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH naming a strategy that is not supported; what `rewrite` raises.
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


def prefix_of_replica():
    """What names of ops begin with in the copy of the network that the replica of now builds; '' without a strategy.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH naming a strategy that is not supported, or where it is called outside of its replicas.
    """
    if not tf.distribute.has_strategy() or _replicas(tf.distribute.get_strategy()) == 1:
        return ''
    context = tf.distribute.get_replica_context()
    if context is None:
        raise _unsupported('The graph is built for several replicas, and this is outside of them. Call it in the function that '
                           'builds the network of a replica, such as the model_fn of an Estimator, before the optimizer.')
    number = int(tf.get_static_value(context.replica_id_in_sync_group))
    return 'replica_{}/'.format(number) if number else ''


def _devices_of_variables(graph):
    """On how many devices the strategy that made the variables of the graph keeps each of them; 1 without a strategy."""
    return max((len(variable.values) for variable in graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
                if isinstance(variable, tf_internal.DistributedValues)), default=1)


def is_chief():
    """Whether this process writes files: any but the workers beside the chief of a cluster that TF_CONFIG describes."""
    cluster = json.loads(os.environ.get('TF_CONFIG') or '{}')
    task = cluster.get('task', {})
    first = str(task.get('index', 0)) == '0' and 'chief' not in cluster.get('cluster', {})
    return task.get('type') != 'worker' or first


def _replicas(strategy):
    """How many replicas a supported strategy has; a QuantizeError for others."""
    if not tf_internal.is_one_device(strategy) and not tf_internal.is_mirrored_on_one_machine(strategy):
        raise _unsupported('The graph is built by {}, which is not supported.'.format(type(strategy).__name__))
    return strategy.num_replicas_in_sync


def _unsupported(reason):
    return errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Distribution strategy', '{} {}'.format(reason, _ADVICE))


def config_of_copy(view, config, prefix):
    """The config for the copy of the network whose names begin with `prefix`; what the copies share has no prefix."""
    if not prefix:
        return config

    def prefixed(name):
        return prefix + name if prefix + name in view else name

    def prefixed_entries(entries):
        return ['{}:{}'.format(prefixed(name), setting) for name, _, setting in (entry.rpartition(':') for entry in entries)]

    return config.replace(
        input_nodes=[prefix + name for name in config.input_nodes],
        output_nodes=[prefix + name for name in config.output_nodes],
        ignore_nodes=[prefixed(name) for name in config.ignore_nodes],
        nodes_bit=prefixed_entries(config.nodes_bit), nodes_method=prefixed_entries(config.nodes_method))


def prefixes_of_towers(towers):
    """What names begin with in each tower, given the name scopes of the towers; a QuantizeError for what is no list of them."""
    if isinstance(towers, str) or not towers or not all(isinstance(tower, str) and tower.strip('/') for tower in towers):
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Invalid parameter',
            'towers is {!r}; expected a list of name scopes, such as [\'clone_0\', \'clone_1\'].'.format(towers))
    return tuple(tower.rstrip('/') + '/' for tower in towers)


def check_alike(forms, prefixes):
    """Raises a QuantizeError where the copies of the network, given their InferenceForms, are not the same network."""
    networks = [_without_reads(GraphView(form.graph_def)) for form in forms]
    for prefix, network in zip(prefixes, networks):
        differing = sorted(name for name in set(networks[0]) | set(network) if networks[0].get(name) != network.get(name))
        if differing:
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Networks differ',
                'The networks under {!r} and {!r} are not quantized alike; {!r} is in one of them only. Build both by one '
                'function, and give the ops names where TensorFlow numbers them differently.'.format(
                    prefixes[0], prefix, differing[0]))


def _without_reads(view):
    """{node: (op type, inputs)} of what computes; the names of reads of variables need not be alike."""
    def source(tensor):
        while view.op(tensor) in READ_OPS:
            tensor = view.inputs(tensor)[0]
        return tensor
    return {name: (view.op(name), [source(tensor) for tensor in view.inputs(name)])
            for name in view.names if view.op(name) not in READ_OPS}


def share_moving_averages(graph, planned):
    """The InferenceForms of a Rewrite, with the mean over the copies wherever each copy has moving averages of its own."""
    forms = [form._replace(variables=dict(form.variables)) for form in planned.forms]
    for norm in forms[0].norms:
        for average in (norm.moving_mean, norm.moving_variance):
            own = average, planned.prefixes[0] + average
            variable = next((name for name, read in forms[0].variables.items() if read in own), None)
            reads = sorted({form.variables[variable] for form in forms}) if variable else ()
            if len(reads) < 2:
                continue
            averages = [live_editor.tensor(graph, name) for name in reads]
            with live_editor.with_placement_of(graph, averages[0]):
                mean = tf.divide(tf.add_n(averages), float(len(averages)), name=variable + '/mean')
            for form in forms:
                form.variables[variable] = normalise(mean.name)
    return tuple(forms)
