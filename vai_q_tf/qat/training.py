"""The training rewrite: a float training graph becomes quantization-aware in place, before the optimizer is made."""
import functools

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.qat import distribution, evaluation, graph_record, rewrite
from vai_q_tf.qat.fix_neuron_form import fix_neurons
from vai_q_tf.qat.moving_positions import MovingPositions, read_variables
from vai_q_tf.qat.norms import fold, norm_ops, standalone_norm

TRAIN_GRAPH_FILE = 'quantize_train_graph.pb'


def create_training_graph(graph, config, gradients=None, towers=None):
    """Rewrites the float training graph in place and writes `quantize_train_graph.pb`.

    Every tensor of the plan is quantized with its moving position, which each run of the network moves. The file shows the
    rewritten graph with FixNeuron ops, phase 2.

    Args:
      graph: the tf.Graph.
      config: the QuantizeConfig.
      gradients: a `regradient.Gradients` of the graph; they become those of the rewritten network. None: there are none.
      towers: name scopes of the copies of the network in the graph; None: there is one copy, or a strategy makes them.

    Returns:
      The QuantPlan that was applied.

    Raises:
      QuantizeError: before anything is changed; see `rewrite.plan_rewrite`.
    """
    if towers is not None:
        return _create(gradients, graph, config, distribution.prefixes_of_towers(towers))
    return distribution.for_all_replicas(functools.partial(_create, gradients), graph, config)


def _create(gradients, graph, config, prefixes):
    plans, view = rewrite.plan_rewrite(graph, config, prefixes, gradients.excluded if gradients else frozenset())
    if gradients:
        gradients.match(node for plan in plans for node in plan.nodes)
    rows = distribution.rows_of_copies(plans, prefixes)
    with graph.as_default():
        step = _global_step(graph, config)
        if distribution.is_chief():
            files.make_directory(config.output_dir)
        graph_record.note_float_graph(graph, _float_graph(graph, view, plans[0], prefixes[0]))
        with tf.name_scope(None):
            track = _before(step, config.freeze_position_step, graph_record.TRACK)
            if track is None:
                track = tf.constant(True, name=graph_record.TRACK)
            use_batch = _before(step, config.freeze_bn_step, 'vai_q_tf/use_batch_statistics')
        positions = MovingPositions(rows, read_variables(graph, plans[0]), config.position_decay, track,
                                    config.position_update, plan=distribution.plain_plan(plans[0], prefixes[0]), config=config)
        quantize = rewrite.Quantizer(graph, plans, config, positions)
        for plan in distribution.share_moving_averages(graph, plans):
            rewrite.apply_plan(graph, plan, quantize, _folding(graph, config, plan, quantize, use_batch))
        graph_record.note_training(graph, distribution.plain_plan(plans[0], prefixes[0]))
    everything = plans[0]._replace(tensors=tuple(tensor for plan in plans for tensor in plan.tensors))
    network = rewrite.graph_def_without(graph, gradients.excluded if gradients else frozenset())
    rewritten = fix_neurons(network, everything, 2, config.output_dir)
    if gradients:
        gradients.renew()
    if distribution.is_chief():
        files.write(config.output_dir, TRAIN_GRAPH_FILE, rewritten.SerializeToString())
        tf.logging.info('Quantized %d tensors for training; graph written to %s/%s', len(plans[0].tensors),
                        config.output_dir, TRAIN_GRAPH_FILE)
    return plans[0]


def _float_graph(graph, view, plan, prefix):
    """The GraphDef of the float range of the live `graph`, viewed by `view` before it is rewritten.

    prefix: what the names of the network begin with in this graph; the GraphDef has them without it.
    """
    roots = list(plan.output_nodes)
    roots += [node_name(tensor) for norm in plan.batch_norms for tensor in (norm.moving_mean, norm.moving_variance)]
    nodes = [editor.placeholder(name, view.dtype(name), view.shape(name)) if name in plan.input_nodes
             else editor.copy(view.node(name)) for name in view.upstream(roots, plan.input_nodes)]
    for node in nodes:
        node.name = distribution.without(prefix, node.name)
        node.input[:] = [distribution.without(prefix, operand) for operand in node.input]
    float_graph = tf.GraphDef(node=nodes)
    float_graph.versions.CopyFrom(graph.graph_def_versions)
    return float_graph


def _folding(graph, config, plan, quantize, use_batch):
    """The function that brings a batch norm of the plan into its form in training."""
    nodes = frozenset(plan.nodes)

    def fold_norm(norm):
        on_batch = norm.training and config.bn_fold == 'batch'
        if not on_batch:
            result = evaluation.fold_norm(graph, plan, norm, quantize)
        elif norm.compute:
            result = fold.fold_batch(graph, norm, quantize, use_batch)
        else:
            data = rewrite.quantized_data(graph, plan, norm)
            result = standalone_norm.quantize_batch(graph, norm, data, quantize, nodes, use_batch)
        if norm.training:
            norm_ops.guard_moving_averages(graph, norm, nodes, on_batch, use_batch if on_batch else None)
        return result
    return fold_norm


def _global_step(graph, config):
    """The tensor of the global step, None where no setting needs it."""
    if config.freeze_bn_step is None and config.freeze_position_step is None:
        return None
    variable = require_global_step(graph, 'freeze_bn_step and freeze_position_step count')
    with tf.name_scope(None):
        return tf.cast(variable, tf.int64, name='vai_q_tf/global_step')


def require_global_step(graph, who_counts):
    """The variable of the global step; a QuantizeError that says who counts it where the graph has none."""
    variable = tf.train.get_global_step(graph)
    if variable is None:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'No global step',
            '{} global steps, and the graph has no global step yet. Call tf.train.get_or_create_global_step() before and pass '
            'it to the optimizer.'.format(who_counts))
    return variable


def _before(step, limit, name):
    return None if limit is None else tf.less(step, tf.constant(limit, tf.int64), name=name)
