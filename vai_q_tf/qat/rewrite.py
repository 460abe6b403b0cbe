"""Rewrites a live graph to the quantized network: decides on its inference form, makes new ops, then re-points inputs.

Training and evaluation share this: they differ in what batch norms compute and where positions come from.
"""
import functools
from typing import NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import STANDS_FOR, GraphView, node_name
from vai_q_tf.patterns.batch_norm import find_training_norms
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE
from vai_q_tf.qat import distribution, graph_record, replaced_tensors
from vai_q_tf.qat.live.live_network import LiveNetwork
from vai_q_tf.qat.live.rewiring import find_rewiring
from vai_q_tf.qat.network.decision import Decision, decide
from vai_q_tf.qat.network.inference_form import InferenceForm, inference_form


class Rewrite(NamedTuple):
    """What is to be done to a live graph.

    decision: the Decision, for all copies of the network. prefixes: what the names of each copy begin with.
    forms, ranges: the InferenceForm and the GraphRange of each.
    """
    decision: Decision
    prefixes: Tuple[str, ...]
    forms: Tuple[InferenceForm, ...]
    ranges: Tuple[GraphRange, ...]


def plan_rewrite(graph, config, prefixes=('',), excluded=frozenset(), training=False):
    """Decides how to rewrite the live `graph`, and changes nothing.

    Args:
      prefixes: what names begin with in each copy of the network, see `distribution`.
      excluded: names of ops that are no part of the network, with all that waits for them.
      training: whether it is a training graph, whose inference form may take other batches.

    Returns:
      a Rewrite.

    Raises:
      QuantizeError: the graph cannot be rewritten as the config asks.
    """
    if graph_record.is_training(graph) or graph_record.is_evaluation(graph):
        raise errors.QuantizeError(
            errors.ALREADY_QUANTIZED, 'Called twice',
            'This graph was rewritten before. The training and the evaluation graph are made from a float graph each, in a '
            'tf.Graph of their own.')
    live_editor.check_editable(graph, excluded)
    graph_def = graph_def_without(graph, excluded)
    view = GraphView(graph_def)
    forms, ranges = [], []
    for prefix in prefixes:
        own = distribution.config_of_copy(view, config, prefix)
        ranges.append(GraphRange(view, own.input_nodes, own.output_nodes))
        _check_no_control_flow(graph, ranges[-1])
        _check_shapes(graph, ranges[-1], config)
        forms.append(inference_form(graph_def, view, own, prefix, any_batch=training))
    distribution.check_alike(forms, prefixes)
    decision = decide(forms[0].graph_def, config)
    _check_names(graph, decision.plan, prefixes)
    return Rewrite(decision, tuple(prefixes), tuple(forms), tuple(ranges))


def graph_def_without(graph, excluded):
    """The GraphDef of the live `graph`, with shapes and without the ops called `excluded`."""
    graph_def = graph.as_graph_def(add_shapes=True)
    if not excluded:
        return graph_def
    return editor.subgraph(graph_def, [node for node in graph_def.node if node.name not in excluded])


def rehearse(graph, excluded, edit):
    """Makes the edit on a copy of the live `graph`, so that what can fail fails while that is as it was.

    Args:
      excluded: names of ops that the copy has not. edit: function of a tf.Graph that rewrites it.

    Returns:
      the GraphDef of the edited copy, with shapes.
    """
    copy = tf.Graph()
    with copy.as_default():
        tf.import_graph_def(graph_def_without(graph, excluded), name='')
    edit(copy)
    return copy.as_graph_def(add_shapes=True)


def _check_no_control_flow(graph, graph_range):
    try:
        live_editor.check_no_control_flow(graph, graph_range.nodes)
    except errors.QuantizeError:
        find_training_norms(graph_range)  # a learning phase says more of a condition than that it is one
        raise


def _check_shapes(graph, graph_range, config):
    for name, shape in zip(graph_range.input_nodes, config.input_shapes):
        static = graph.get_operation_by_name(name).outputs[0].shape
        # The batch size is that of the deployed model; training may have another.
        sizes = [None if dim == -1 or axis == 0 else dim for axis, dim in enumerate(shape)]
        if not static.is_compatible_with(sizes):
            raise errors.QuantizeError(
                errors.LENGTH_MISMATCH, 'Invalid parameter',
                'input_shapes has {} for node {!r}, whose shape in the graph is {}. Give a shape that fits, -1 where it is '
                'unknown.'.format(shape, name, static))


def _check_names(graph, plan, prefixes):
    known = {op.name for op in graph.get_operations()}
    taken = next((name for name in (prefix + record.name for prefix in prefixes for record in plan.tensors) if name in known),
                 None)
    if taken:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Name taken',
            'The graph has a node {!r}, which is to be the name of a FixNeuron; rename it.'.format(taken))


def names_of_copies(graph, rewrite):
    """For each copy of the network {name of a quantized tensor: the name of its FixNeuron in the live graph}.

    Copies that share the variables of a parameter share its FixNeuron.
    """
    view, first, found = GraphView(rewrite.decision.optimised), {}, []
    known = {op.name for op in graph.get_operations()}
    for prefix, form in zip(rewrite.prefixes, rewrite.forms):
        names = {}
        for record in rewrite.decision.plan.tensors:
            names[record.name] = prefix + record.name
            if record.role in ('activation', 'input'):
                continue
            sources = [node.attr[STANDS_FOR].s.decode() for node in map(view.node, view.upstream([record.tensor]))
                       if STANDS_FOR in node.attr]
            leaves = record.name, tuple(form.variables[source] for source in sources)
            if sources:
                own = prefix + record.tensor not in known and record.name not in first.values()
                names[record.name] = first.setdefault(leaves, record.name if own else prefix + record.name)
        found.append(names)
    return found


def rows(graph, planned):
    """{name of a FixNeuron in the live graph: the name that its position is kept by}."""
    return {live: name for names in names_of_copies(graph, planned) for name, live in names.items()}


class Quantizer:
    """Adds the ops that quantize a tensor of the plan.

    Args:
      names: {name of a quantized tensor: the name of its FixNeuron} of one copy of the network.
      shared: {name of a FixNeuron: its tf.Tensor}, which all copies have in common.
      config: the QuantizeConfig.
      positions: a `MovingPositions`, or what else has its method `position`.
    """

    def __init__(self, names, shared, config, positions):
        self._names = names
        self._shared = shared
        self._config = config
        self._positions = positions

    def __call__(self, network, record):
        """The quantized form of a tensor of a LiveNetwork."""
        return self.quantize(network, record, lambda: network.value(record.tensor))

    def quantize(self, network, record, value):
        """The quantized form of what the function `value` gives: one for all copies of the network that share it."""
        name = self._names[record.name]
        if name not in self._shared:
            self._shared[name] = self._quantize(network, record._replace(name=name), value())
        return self._shared[name]

    def _quantize(self, network, record, value):
        with live_editor.with_placement_of(network.graph, _neighbour(network, record, value)):
            position = self._positions.position(
                record, functools.partial(ops.search_position, value, narrow_range=record.narrow_range))
            return ops.vai_fix_neuron(value, position, bit_width=record.bits, mode=record.mode,
                                      narrow_range=record.narrow_range, gradient=self._config.gradient, name=record.name)

    def scaled(self, network, record, value, scale, rescale, inner):
        """The quantized form of `value` * `scale`, times `rescale`.

        scale, rescale: tf.Tensors [channels]. inner: how many consecutive elements of `value` share a channel.
        """
        name = self._names[record.name]
        if name not in self._shared:
            named = record._replace(name=name)
            with live_editor.with_placement_of(network.graph, _neighbour(network, record, value)):
                position = self._positions.position(
                    named, functools.partial(ops.scaled_search_position, value, scale, inner=inner))
                self._shared[name] = ops.scaled_fix_neuron(
                    value, scale, rescale, position, bit_width=record.bits, mode=record.mode, inner=inner,
                    gradient=self._config.gradient, name=name)
        return self._shared[name]


def _neighbour(network, record, value):
    """What `value` is quantized beside: where a parameter is used, which need not be where the variable is kept."""
    if record.mode == ACTIVATION_MODE or not record.consumers or record.consumers[0][0] not in network.clean:
        return value
    return network.operation(record.consumers[0][0]).outputs[0]


def apply_rewrite(graph, rewrite, config, positions, batch_forms=None):
    """Rewrites the live `graph`.

    Args:
      rewrite: the Rewrite. positions: as of `Quantizer`.
      batch_forms: function (LiveNetwork, GraphRange) to the TrainingForms of its batch norms.
    """
    shared, rewirings, batch_inputs = {}, [], []
    for names, prefix, form, graph_range in zip(
            names_of_copies(graph, rewrite), rewrite.prefixes, rewrite.forms, rewrite.ranges):
        network = LiveNetwork(graph, rewrite.decision, form, prefix, Quantizer(names, shared, config, positions))
        batch_inputs += _make_ops(network, batch_forms(network, graph_range) if batch_forms else {})
        rewirings.append(find_rewiring(network, graph_range))
        rewirings[-1].inputs.extend(_parameter_inputs(network))
    # Everything is there; from here on nothing can fail.
    for rewiring in rewirings:
        for inputs, value in rewiring.inputs:
            live_editor.reroute(graph, [reader for reader in inputs if not reader[0].startswith(graph_record.TEACHER)], value)
    for inputs, value in batch_inputs:
        live_editor.reroute(graph, inputs, value)
    replaced_tensors.note(graph, {name: value for rewiring in rewirings for name, value in rewiring.replaced.items()})


def _make_ops(network, forms):
    """Quantizes all tensors in the order in which the network computes them, with its batch norms in the given TrainingForms.

    Returns:
      [(inputs to re-point, tf.Tensor)] of the forms.
    """
    inputs, records = [], {}
    for record in network.plan.tensors:
        records.setdefault(node_name(record.tensor), []).append(record)
    left = {name for form in forms.values() for name in form.quantizes}
    for name in network.view.upstream(network.plan.output_nodes):
        if name in forms:
            inputs += forms[name].make()
        for record in records.get(name, ()):
            if record.name not in left:
                network.quantized(record)
    return inputs


def _parameter_inputs(network):
    """[(inputs, tf.Tensor)] of the live ops that read quantized parameters."""
    return [([(network.live_name(node), index)], network.quantized(record))
            for record in network.plan.tensors if network.is_static(record.tensor)
            for node, index in record.consumers if node in network.kept]
