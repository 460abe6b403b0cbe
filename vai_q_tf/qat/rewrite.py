"""Rewrites a live graph to the quantized network: decides on its inference form, adds ops, then reroutes inputs.

Training and evaluation share this: they differ in what batch norms compute and where positions come from.
"""
from typing import Callable, Collection, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.patterns.batch_norm import find_training_norms
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor
from vai_q_tf.qat import distribution, graph_record, replaced_tensors
from vai_q_tf.qat.live.live_network import LiveNetwork, Reroute
from vai_q_tf.qat.live.quantizer import Quantizer
from vai_q_tf.qat.live.rewiring import Rewiring, find_rewiring
from vai_q_tf.qat.network.decision import Decision, decide
from vai_q_tf.qat.network.inference_form import InferenceForm, inference_form
from vai_q_tf.qat.network.stand_ins import variable_of
from vai_q_tf.qat.norms.training_forms import TrainingForm
from vai_q_tf.qat.positions.moving_positions import MovingPositions


class Rewrite(NamedTuple):
    """The planned changes of a live graph.

    graph_def: the graph before them, with shapes. decision: the Decision, for all copies of the network.
    prefixes: the prefix of the names of each copy. forms, ranges: the InferenceForm and the GraphRange of each copy.
    """
    graph_def: tf.GraphDef
    decision: Decision
    prefixes: Tuple[str, ...]
    forms: Tuple[InferenceForm, ...]
    ranges: Tuple[GraphRange, ...]


def plan_rewrite(graph: tf.Graph, config: QuantizeConfig, prefixes: Sequence[str] = ('',),
                 excluded: FrozenSet[str] = frozenset(), any_batch: bool = False,
                 decision: Optional[Decision] = None) -> Rewrite:
    """Decides how to rewrite the live `graph`, and changes nothing.

    Args:
      prefixes: prefix of the names in each copy of the network, see `distribution`.
      excluded: names of ops outside the network, with all ops that wait for them.
      any_batch: whether the inference form accepts any batch size, as that of a training graph has to.
      decision: the Decision for the network, if that is known.

    Raises:
      QuantizeError: the graph cannot be rewritten as the config asks.
    """
    if graph_record.is_training(graph) or graph_record.is_evaluation(graph):
        raise errors.QuantizeError(
            errors.ALREADY_QUANTIZED, 'Called twice',
            'This graph was rewritten before. Build the training graph and the evaluation graph from a float graph, each in '
            'its own tf.Graph.')
    live_editor.check_editable(graph, excluded)
    graph_def = graph_def_without(graph, excluded)
    view = GraphView(graph_def)
    forms, ranges = [], []
    for prefix in prefixes:
        own = distribution.config_of_copy(view, config, prefix)
        ranges.append(GraphRange(view, own.input_nodes, own.output_nodes))
        _check_no_control_flow(graph, ranges[-1])
        _check_shapes(graph, ranges[-1], config)
        forms.append(inference_form(graph_def, view, own, prefix, any_batch))
    distribution.check_alike(forms, prefixes)
    decision = decision or decide(forms[0].graph_def, config)
    _check_names(graph, decision.plan, prefixes)
    return Rewrite(graph_def, decision, tuple(prefixes), tuple(forms), tuple(ranges))


def graph_def_without(graph: tf.Graph, excluded: Collection[str]) -> tf.GraphDef:
    """The GraphDef of the live `graph`, with shapes and without the ops called `excluded`."""
    graph_def = graph.as_graph_def(add_shapes=True)
    if not excluded:
        return graph_def
    return editor.subgraph(graph_def, [node for node in graph_def.node if node.name not in excluded])


def rehearse(graph_def: tf.GraphDef, edit: Callable[[tf.Graph], None]) -> tf.Graph:
    """The copy of a live graph, given its GraphDef, after the edit: any error is raised while the graph is unchanged."""
    copy = tf.Graph()
    with copy.as_default():
        tf.import_graph_def(graph_def, name='')
    edit(copy)
    return copy


def _check_no_control_flow(graph: tf.Graph, graph_range: GraphRange) -> None:
    try:
        live_editor.check_no_control_flow(graph, graph_range.nodes)
    except errors.QuantizeError:
        find_training_norms(graph_range)  # if the condition is a learning phase, this raises an error that says so
        raise


def _check_shapes(graph: tf.Graph, graph_range: GraphRange, config: QuantizeConfig) -> None:
    for name, shape in zip(graph_range.input_nodes, config.input_shapes):
        static = graph.get_operation_by_name(name).outputs[0].shape
        # The batch size is that of the deployed model; training may have another.
        sizes = [None if dim == -1 or axis == 0 else dim for axis, dim in enumerate(shape)]
        if not static.is_compatible_with(sizes):
            raise errors.QuantizeError(
                errors.LENGTH_MISMATCH, 'Invalid parameter',
                'input_shapes has {} for node {!r}, whose shape in the graph is {}. Give a shape that fits, with -1 for '
                'unknown sizes.'.format(shape, name, static))


def _check_names(graph: tf.Graph, plan: QuantPlan, prefixes: Sequence[str]) -> None:
    known = {op.name for op in graph.get_operations()}
    taken = next((name for name in (prefix + record.name for prefix in prefixes for record in plan.tensors) if name in known),
                 None)
    if taken:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Name taken',
            'The graph has a node {!r}, but a FixNeuron needs this name; rename it.'.format(taken))


def names_of_copies(graph: tf.Graph, rewrite: Rewrite) -> List[Dict[str, str]]:
    """For each copy of the network {name of a quantized tensor: name of its FixNeuron in the live graph}.

    Copies that share the variables of a parameter share its FixNeuron.
    """
    view = GraphView(rewrite.decision.optimised)
    known = {op.name for op in graph.get_operations()}
    shared: Dict[Tuple[str, Tuple[str, ...]], str] = {}  # (quantized parameter, reads of its variables) -> its FixNeuron
    found = []
    for prefix, form in zip(rewrite.prefixes, rewrite.forms):
        names = {}
        for record in rewrite.decision.plan.tensors:
            names[record.name] = prefix + record.name
            variables = _variables(view, record)
            if variables:
                reads = tuple(form.variables[variable] for variable in variables)
                own = prefix + record.tensor not in known and record.name not in shared.values()
                names[record.name] = shared.setdefault((record.name, reads), record.name if own else prefix + record.name)
        found.append(names)
    return found


def _variables(view: GraphView, record: QuantTensor) -> List[str]:
    """The variables that a quantized parameter depends on; none for activations."""
    if record.role in ('activation', 'input'):
        return []
    return [variable for variable in map(variable_of, map(view.node, view.upstream([record.tensor]))) if variable]


def rows(graph: tf.Graph, planned: Rewrite) -> Dict[str, str]:
    """{name of a FixNeuron in the live graph: key of its position}."""
    return {live: name for names in names_of_copies(graph, planned) for name, live in names.items()}


def apply_rewrite(graph: tf.Graph, rewrite: Rewrite, config: QuantizeConfig, positions: MovingPositions,
                  batch_forms: Optional[Callable[[LiveNetwork, GraphRange], Dict[str, TrainingForm]]] = None) -> None:
    """Rewrites the live `graph`.

    batch_forms: the TrainingForms of the batch norms of a network; None: they compute the same as at inference.
    """
    shared: Dict[str, tf.Tensor] = {}
    rewirings: List[Rewiring] = []
    batch_reroutes: List[Reroute] = []
    for names, prefix, form, graph_range in zip(
            names_of_copies(graph, rewrite), rewrite.prefixes, rewrite.forms, rewrite.ranges):
        network = LiveNetwork(graph, rewrite.decision, form, prefix, Quantizer(names, shared, config, positions))
        batch_reroutes += _add_ops(network, batch_forms(network, graph_range) if batch_forms else {})
        rewirings.append(find_rewiring(network, graph_range))
        rewirings[-1].reroutes.extend(_parameter_reroutes(network))
    # All ops exist; from here on nothing can fail.
    for rewiring in rewirings:
        for readers, value in rewiring.reroutes:
            live_editor.reroute(graph, [reader for reader in readers if not reader[0].startswith(graph_record.TEACHER)], value)
    for readers, value in batch_reroutes:
        live_editor.reroute(graph, readers, value)
    replaced_tensors.note(graph, {name: value for rewiring in rewirings for name, value in rewiring.replaced.items()})


def _add_ops(network: LiveNetwork, forms: Mapping[str, TrainingForm]) -> List[Reroute]:
    """Quantizes all tensors in the order in which the network computes them, its batch norms in the given TrainingForms."""
    reroutes: List[Reroute] = []
    records: Dict[str, List[QuantTensor]] = {}
    for record in network.plan.tensors:
        records.setdefault(node_name(record.tensor), []).append(record)
    left = {name for form in forms.values() for name in form.quantizes}
    for name in network.view.upstream(network.plan.output_nodes):
        if name in forms:
            reroutes += forms[name].add()
        for record in records.get(name, ()):
            if record.name not in left:
                network.quantized(record)
    return reroutes


def _parameter_reroutes(network: LiveNetwork) -> List[Reroute]:
    """Reroutes of the live ops that read quantized parameters."""
    return [Reroute([(network.live_name(node), index)], network.quantized(record))
            for record in network.plan.tensors if network.is_static(record.tensor)
            for node, index in record.consumers if node in network.kept]
