"""Applies a QuantPlan to a live graph.

Training and evaluation share this: they differ in how a batch norm is folded and where positions come from.
"""
import functools

from vai_q_tf import errors, ops, tf_internal
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE
from vai_q_tf.qat import distribution, graph_record, replaced_tensors


def plan_rewrite(graph, config, prefixes=('',), excluded=frozenset()):
    """Decides how to rewrite the live `graph`, and changes nothing.

    Args:
      prefixes: what names begin with in each copy of the network, see `distribution`.
      excluded: names of ops that are no part of the network, with all that waits for them.

    Returns:
      (a QuantPlan for each copy, the GraphView of the float graph that they were made for).

    Raises:
      QuantizeError: the graph cannot be rewritten as the config asks.
    """
    if graph_record.is_training(graph) or graph_record.is_evaluation(graph):
        raise errors.QuantizeError(
            errors.ALREADY_QUANTIZED, 'Called twice',
            'This graph was rewritten before. The training and the evaluation graph are made from a float graph each, in a '
            'tf.Graph of their own.')
    live_editor.check_editable(graph, excluded)
    view = GraphView(graph_def_without(graph, excluded))
    plans = [annotate(view, distribution.config_of_copy(view, config, prefix)) for prefix in prefixes]
    for plan in plans:
        live_editor.check_no_control_flow(graph, plan.nodes)
        _check_shapes(graph, plan, config)
    return plans, view


def graph_def_without(graph, excluded):
    """The GraphDef of the live `graph`, with shapes and without the ops called `excluded`."""
    graph_def = graph.as_graph_def(add_shapes=True)
    if not excluded:
        return graph_def
    return editor.subgraph(graph_def, [node for node in graph_def.node if node.name not in excluded])


def _check_shapes(graph, plan, config):
    for name, shape in zip(plan.input_nodes, config.input_shapes):
        static = graph.get_operation_by_name(name).outputs[0].shape
        # The batch size is that of the deployed model; training may have another.
        sizes = [None if dim == -1 or axis == 0 else dim for axis, dim in enumerate(shape)]
        if not static.is_compatible_with(sizes):
            raise errors.QuantizeError(
                errors.LENGTH_MISMATCH, 'Invalid parameter',
                'input_shapes has {} for node {!r}, whose shape in the graph is {}. Give a shape that fits, -1 where it is '
                'unknown.'.format(shape, name, static))


class Quantizer:
    """Adds the ops that quantize a tensor of the plan.

    Args:
      graph: the live tf.Graph.
      plans: a QuantPlan for each copy of the network in it.
      config: the QuantizeConfig.
      positions: a `MovingPositions`, or what else has its method `position`.
    """

    def __init__(self, graph, plans, config, positions):
        self._graph = graph
        self._records = {record.name: record for plan in plans for record in plan.tensors}
        self._config = config
        self._positions = positions
        self._shared = {}

    def __call__(self, name, value):
        """The quantized form of the tf.Tensor `value`, named `name`: one for all copies of the network that share it."""
        if name not in self._shared:
            self._shared[name] = self._quantize(name, value)
        return self._shared[name]

    def _quantize(self, name, value):
        record = self._records[name]
        with live_editor.with_placement_of(self._graph, self._neighbour(record, value)):
            position = self._positions.position(
                record, functools.partial(ops.search_position, value, narrow_range=record.narrow_range))
            return ops.vai_fix_neuron(value, position, bit_width=record.bits, mode=record.mode,
                                      narrow_range=record.narrow_range,
                                      gradient=self._config.gradient, name=name)

    def _neighbour(self, record, value):
        """What `value` is quantized beside: where a parameter is used, which need not be where the variable is kept."""
        if record.mode == ACTIVATION_MODE or not record.consumers:
            return value
        return self._graph.get_operation_by_name(record.consumers[0][0]).outputs[0]

    def scaled(self, name, value, scale, rescale, inner):
        """The quantized form of `value` * `scale`, times `rescale`, named `name`.

        scale, rescale: tf.Tensors [channels]. inner: how many consecutive elements of `value` share a channel.
        """
        record = self._records[name]
        with live_editor.with_placement_of(self._graph, self._neighbour(record, value)):
            position = self._positions.position(
                record, functools.partial(ops.scaled_search_position, value, scale, inner=inner))
            return ops.scaled_fix_neuron(value, scale, rescale, position, bit_width=record.bits, mode=record.mode,
                                         inner=inner, gradient=self._config.gradient, name=name)


def quantized_data(graph, plan, norm):
    """The quantized tf.Tensor that a batch norm that stands alone normalises, once `apply_plan` has come to it."""
    record = next(record for record in plan.tensors if record.tensor == norm.input)
    return live_editor.tensor(graph, record.name)


def apply_plan(graph, plan, quantize, fold):
    """Quantizes the tensors and folds the batch norms of `plan` in the live `graph`.

    Args:
      quantize: a Quantizer.
      fold: function (BatchNorm) -> tf.Tensor that took the place of its output; it quantizes weights and bias itself.
    """
    replaced = {}

    def quantize_tensor(record):
        value = replaced.get(record.tensor)
        value = live_editor.tensor(graph, record.tensor) if value is None else value
        live_editor.reroute(graph, record.consumers, quantize(record.name, value))

    def fold_norm(norm):
        replaced[norm.output] = fold(norm)

    # In graph order, so that a convolution that is copied reads its quantized input already.
    steps = [(_creation(graph, record.tensor), quantize_tensor, record) for record in plan.tensors if record.tensor]
    steps += [(_creation(graph, norm.compute or norm.output), fold_norm, norm) for norm in plan.batch_norms]
    for _, step, subject in sorted(steps, key=lambda entry: entry[0]):
        step(subject)
    replaced_tensors.note(graph, plan, replaced)


def _creation(graph, tensor_or_node):
    return tf_internal.creation_number(graph.get_operation_by_name(tensor_or_node.partition(':')[0]))
