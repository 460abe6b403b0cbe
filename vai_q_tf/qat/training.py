"""The training rewrite: a float training graph becomes quantization-aware in place, before the optimizer is added.

Tests: tests/qat/test_exactness.py.
"""
import functools
from typing import Callable, List, Mapping, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files, tf_internal
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.frozen.run_config import write_fields
from vai_q_tf.frozen.write_model import write_graph
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor
from vai_q_tf.qat import distribution, graph_record, replaced_tensors, rewrite
from vai_q_tf.qat.averages.average_saveable import Averaged
from vai_q_tf.qat.averages.averages import averaged_variables
from vai_q_tf.qat.fix_neuron_form import fix_neurons
from vai_q_tf.qat.gradients.regradient import Gradients
from vai_q_tf.qat.network import known_decisions
from vai_q_tf.qat.network.identity import identities
from vai_q_tf.qat.norms import training_forms
from vai_q_tf.qat.positions.moving_positions import MovingPositions
from vai_q_tf.qat.recipe.evidence import evidence
from vai_q_tf.qat.recipe.recipe import Recipe

TRAIN_GRAPH_FILE = 'quantize_train_graph.pb'
_Write = Callable[[QuantizeConfig, tf.GraphDef], None]


def write_training_graph(config: QuantizeConfig, graph_def: tf.GraphDef) -> None:
    """Writes the GraphDef of a training for users to look at, and the config."""
    write_graph(config.output_dir, TRAIN_GRAPH_FILE, graph_def)
    write_fields(config.output_dir, config)


def create_training_graph(graph: tf.Graph, config: QuantizeConfig, gradients: Optional[Gradients] = None,
                          towers: Optional[Sequence[str]] = None, write: _Write = write_training_graph) -> QuantPlan:
    """Rewrites the float training graph in place and writes `quantize_train_graph.pb`.

    Every tensor of the plan is quantized with its moving position, which each run of the network updates. The file shows the
    rewritten graph with FixNeuron ops, phase 2.

    Args:
      graph: the tf.Graph.
      config: the QuantizeConfig.
      gradients: the gradients of the graph, to be replaced by those of the rewritten network; None: it has none.
      towers: name scopes of the copies of the network in the graph; None: there is one copy, or a strategy creates them.
      write: writes the file.

    Returns:
      The QuantPlan that was applied.

    Raises:
      QuantizeError: before anything is changed; see `rewrite.plan_rewrite`.
    """
    if towers is not None:
        return _create(gradients, write, graph, config, distribution.prefixes_of_towers(towers))
    return distribution.for_all_replicas(functools.partial(_create, gradients, write), graph, config)


def _create(gradients: Optional[Gradients], write: _Write, graph: tf.Graph, config: QuantizeConfig,
            prefixes: Sequence[str]) -> QuantPlan:
    excluded = gradients.excluded if gradients else frozenset()
    planned = rewrite.plan_rewrite(graph, config, prefixes, excluded, any_batch=True)
    plan, recipe = planned.decision.plan, _recipe(graph, config, planned)
    if distribution.is_chief():
        files.make_directory(config.output_dir)
    rehearsed = rewrite.rehearse(planned.graph_def, lambda copy: _edit(copy, planned, config, recipe))
    if gradients:
        gradients.match(node for graph_range in planned.ranges for node in graph_range.nodes)
    if distribution.is_chief():
        write(config, fix_neurons(rehearsed.as_graph_def(add_shapes=True), _live_records(plan, rewrite.rows(graph, planned))))
    with live_editor.uninterrupted():
        _edit(graph, planned, config, recipe)
        replaced_tensors.exchange_in_new_ops(graph)
        if gradients:
            gradients.renew()
        known_decisions.note(graph, config, planned.decision)
    tf.logging.info('Quantized %d tensors for training; graph written to %s/%s', len(plan.tensors), config.output_dir,
                    TRAIN_GRAPH_FILE)
    return plan


def _recipe(graph: tf.Graph, config: QuantizeConfig, planned: rewrite.Rewrite) -> Recipe:
    """The Recipe of a training; it needs a global step only if a setting counts steps."""
    step = tf.train.get_global_step(graph)
    if any(limit is not None for limit in (config.freeze_bn_step, config.freeze_position_step, config.average_step)):
        step = require_global_step(graph, 'freeze_bn_step, freeze_position_step and average_step count')
    averaged = () if config.average_step is None else _averaged(graph, config, planned)
    return Recipe(config, None if step is None else node_name(step.name),
                  evidence(graph, planned.forms[0], planned.prefixes[0]),
                  [node for graph_range in planned.ranges for node in graph_range.input_nodes], averaged)


def _averaged(graph: tf.Graph, config: QuantizeConfig, planned: rewrite.Rewrite) -> Tuple[Averaged, ...]:
    averaged = averaged_variables(graph, planned.forms, planned.prefixes)
    if not averaged:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Nothing to average',
            'average_step is {}, and the network has no trainable variables. Omit it.'.format(config.average_step))
    return averaged


def _edit(graph: tf.Graph, planned: rewrite.Rewrite, config: QuantizeConfig, recipe: Recipe) -> None:
    """Rewrites a live graph as planned."""
    with graph.as_default(), tf_internal.silenced_deprecations():
        graph_record.note_float_graph(graph, planned.forms[0].graph_def)
        planned = planned._replace(forms=distribution.share_moving_averages(
            graph, planned.forms, planned.prefixes[0]))
        positions = MovingPositions(rewrite.rows(graph, planned), identities(planned.decision), planned.decision.plan, config,
                                    recipe.phases)
        forms = training_forms.on_batch if config.bn_fold == 'batch' else training_forms.on_moving_averages
        rewrite.apply_rewrite(graph, planned, config, positions, functools.partial(forms, use_batch=positions.phases.use_batch))
        graph_record.note_training(graph, planned.decision.plan)


def _live_records(plan: QuantPlan, names: Mapping[str, str]) -> List[QuantTensor]:
    """The QuantTensors of all copies of the network, with the names of their FixNeurons."""
    records = {record.name: record for record in plan.tensors}
    return [records[name]._replace(name=live) for live, name in names.items()]


def require_global_step(graph: tf.Graph, who_counts: str) -> tf.Variable:
    """The variable of the global step; a QuantizeError that begins with `who_counts` if the graph has none."""
    variable = tf.train.get_global_step(graph)
    if variable is None:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'No global step',
            '{} global steps, and the graph has no global step yet. Call tf.train.get_or_create_global_step() before and pass '
            'it to the optimizer.'.format(who_counts))
    return variable
