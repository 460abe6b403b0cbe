"""inspect: the contents of a graph, where quantization can start and end, and its effect on every op in between."""
import collections
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.arguments import also_called
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.coverage.node_status import FLOAT, QUANTIZED, InspectedNode, inspect_nodes, readers
from vai_q_tf.dpu import Target, find_target
from vai_q_tf.frozen.fed_phases import FedPhases, find_phases, with_phases
from vai_q_tf.frozen.load import unknown_ops
from vai_q_tf.graph.checks.damage import check_nodes
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.traits import FIX_NEURON_OPS, IDENTITY_OPS, SHAPING_OPS
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView, node_name
from vai_q_tf.notebook.html import block, folded, html_list, html_table, html_text
from vai_q_tf.passes import optimise
from vai_q_tf.patterns.dropout import find_dropouts
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.patterns.training_ops import gradient_nodes, outputs_without_training
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.wording import some_of

_NO_OUTPUT = frozenset(('Const', 'Assign', 'NoOp', 'Placeholder'))
# {op that turns logits into probabilities and stays float: the option that replaces it}
_PROBABILITIES = {'Softmax': 'replace_softmax', 'LogSoftmax': None, 'Sigmoid': 'replace_sigmoid'}
_MOVES = IDENTITY_OPS | SHAPING_OPS


class InputNode(NamedTuple):
    """A placeholder.

    Attributes:
      name: its node.
      dtype: its type.
      shape: a list with -1 for unknown dimensions; None for an unknown rank.
    """
    name: str
    dtype: tf.DType
    shape: Optional[List[int]]


class OutputNode(NamedTuple):
    """A node that no other node reads.

    Attributes:
      name: the node.
      op: its op type.
    """
    name: str
    op: str


class Inspection(NamedTuple):
    """The result of `inspect`.

    Attributes:
      op_types: (op type, count), most frequent first.
      inputs: the possible input nodes.
      outputs: the possible output nodes.
      input_nodes: where the range that `nodes` and `plan` cover starts.
      output_nodes: where it ends.
      nodes: an InspectedNode for each op of the range.
      plan: the QuantPlan; None if the graph cannot be quantized as it is.
      notes: sentences on obstacles to quantization and on assumptions.
    """
    op_types: Tuple[Tuple[str, int], ...]
    inputs: Tuple[InputNode, ...]
    outputs: Tuple[OutputNode, ...]
    input_nodes: Tuple[str, ...]
    output_nodes: Tuple[str, ...]
    nodes: Tuple[InspectedNode, ...]
    plan: Optional[QuantPlan]
    notes: Tuple[str, ...]

    def _sentence(self) -> str:
        if self.plan is None:
            return '{} nodes, without a plan'.format(sum(count for _, count in self.op_types))
        return 'from {} to {}: {} tensors are quantized, {} of {} ops stay float'.format(
            some_of(self.input_nodes), some_of(self.output_nodes), len(self.plan.tensors),
            sum(node.status == FLOAT for node in self.nodes), len(self.nodes))

    def __repr__(self) -> str:
        return '<Inspection of a graph with {} inputs ({}) and {} outputs ({}): {}. All: .nodes, .plan, .notes>'.format(
            len(self.inputs), some_of(node.name for node in self.inputs), len(self.outputs),
            some_of(node.name for node in self.outputs), self._sentence())

    def _repr_html_(self) -> str:
        return block(
            'Inspection', html_text('The graph {}.'.format(self._sentence())), html_list('notes', self.notes),
            html_table(('name', 'type', 'status', 'detail', 'device'), [
                (node.name, node.op, node.status, node.detail, node.device or '') for node in self.nodes]),
            folded('possible inputs', html_table(('name', 'type', 'shape'), [
                (node.name, node.dtype.name if node.dtype else '?', '?' if node.shape is None else str(node.shape))
                for node in self.inputs])),
            folded('possible outputs', html_table(('name', 'type'), self.outputs)),
            folded('types of ops', html_table(('type', 'how many'), self.op_types)))


@also_called(q_config='config')
def inspect(graph_def: tf.GraphDef, config: Optional[QuantizeConfig] = None) -> Inspection:
    """The Inspection of a graph, which may be float, quantized, or have variables.

    Args:
      graph_def: a tf.GraphDef.
      config: a QuantizeConfig. If it names no input or output nodes, the range goes from the placeholders (for pixels or files,
        from the first float tensor after them) to the float outputs that depend on them. With a target_type each op has a
        device.

    Raises:
      QuantizeError: a damaged graph; an unknown target; the range that the config names cannot be quantized.
    """
    check_nodes(graph_def)
    view = GraphView(graph_def)
    config = config if config is not None else QuantizeConfig()
    target = find_target(config.target_type) if config.target_type else None
    inputs = tuple(InputNode(name, view.dtype(name), view.shape(name)) for name in view.names if view.op(name) == 'Placeholder')
    notes: List[str] = []
    outputs = _outputs(graph_def, view, notes)
    is_given = bool(config.input_nodes and config.output_nodes)
    fix_neurons = [name for name in view.names if view.op(name) in FIX_NEURON_OPS]
    config = _with_range(view, config, inputs, outputs, [] if fix_neurons else notes)
    nodes: Tuple[InspectedNode, ...] = ()
    plan: Optional[QuantPlan] = None
    if fix_neurons:
        notes.append('The graph is quantized already: it has {} FixNeurons.'.format(len(fix_neurons)))
        nodes = tuple(_inspect_fix_neuron(view, name) for name in fix_neurons)
    elif not config.input_nodes or not config.output_nodes:
        notes.append('There is nothing to quantize: no float output depends on an input. Name --input_nodes and '
                     '--output_nodes.')
    else:
        nodes, plan = _inspect_range(graph_def, view, config, is_given, target, notes)
    return Inspection(_op_types(graph_def), inputs, outputs, tuple(config.input_nodes), tuple(config.output_nodes), nodes, plan,
                      tuple(notes))


def _inspect_range(graph_def: tf.GraphDef, view: GraphView, config: QuantizeConfig, is_given: bool, target: Optional[Target],
                   notes: List[str]) -> Tuple[Tuple[InspectedNode, ...], Optional[QuantPlan]]:
    """The nodes and the plan of the range; ((), None) and a note if it cannot be quantized, an error if it was given."""
    try:
        plan, view = _plan(graph_def, view, config, notes)
        return tuple(inspect_nodes(view, plan, target)), plan
    except errors.QuantizeError as error:
        if error.code == errors.ALREADY_QUANTIZED:
            notes.append(error.detail)
        elif is_given:
            raise
        else:
            notes.append('It cannot be quantized from {} to {}: {}'.format(
                ', '.join(config.input_nodes), ', '.join(config.output_nodes), error))
        return (), None


def _outputs(graph_def: tf.GraphDef, view: GraphView, notes: List[str]) -> Tuple[OutputNode, ...]:
    """The possible OutputNodes; in a training graph, which is noted, those of the network."""
    gradients = gradient_nodes(view)
    if gradients:
        notes.append('This is a training graph: {} nodes compute gradients or follow them, such as {!r}; none of them is '
                     'proposed as an output node. Build the network for inference (training=False), and freeze that.'.format(
                         len(gradients), gradients[0]))
        return tuple(OutputNode(name, view.op(name)) for name in outputs_without_training(view, gradients))
    read = {node_name(reference) for node in graph_def.node for reference in node.input}
    return tuple(OutputNode(name, view.op(name)) for name in view.names if name not in read and view.op(name) not in _NO_OUTPUT)


def _op_types(graph_def: tf.GraphDef) -> Tuple[Tuple[str, int], ...]:
    counts = collections.Counter(node.op for node in graph_def.node)
    for function in graph_def.library.function:
        counts.update(node.op for node in function.node_def)
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _with_range(view: GraphView, config: QuantizeConfig, inputs: Sequence[InputNode], outputs: Sequence[OutputNode],
                notes: List[str]) -> QuantizeConfig:
    """The config with input and output nodes; notes if proposed ones are not the ends of the graph."""
    input_nodes, output_nodes = config.input_nodes, config.output_nodes
    if not input_nodes:
        starts = [_first_float(view, node.name) for node in inputs if node.dtype != tf.bool and node.shape != []]
        input_nodes = [name for name in starts if name]
    input_nodes = _used_inputs(view, input_nodes, output_nodes)
    if not output_nodes:
        fed = reach([node_name(name) for name in input_nodes if node_name(name) in view], lambda name: readers(view, name))
        output_nodes = [node.name for node in outputs if node.name in fed and tf.float32 in view.output_types(node.name)]
        output_nodes = _before_probabilities(view, config, input_nodes, output_nodes, notes)
        input_nodes = _used_inputs(view, input_nodes, output_nodes)
    return config.replace(input_nodes=input_nodes, output_nodes=output_nodes)


def _before_probabilities(view: GraphView, config: QuantizeConfig, input_nodes: Sequence[str], output_nodes: Sequence[str],
                          notes: List[str]) -> List[str]:
    """The output nodes, with the logits in place of a softmax or a sigmoid at the end."""
    found: List[str] = []
    inputs = set(map(node_name, input_nodes))
    for name in output_nodes:
        op, logits = _last_activation(view, name)
        option = _PROBABILITIES.get(op, '')
        stays_float = option is None or option != '' and not getattr(config, option)
        if stays_float and logits not in inputs and view.dtype(logits) == tf.float32:
            notes.append('The proposed output node is {!r}, not {!r}: a {} stays float, so it belongs to the post-processing, '
                         'which the model keeps.'.format(logits, name, op))
            name = logits
        found.append(name)
    return list(dict.fromkeys(found))


def _last_activation(view: GraphView, name: str) -> Tuple[str, str]:
    """(op type, first input) of the node, or of the last one upstream that does more than move values."""
    while view.op(name) in _MOVES:
        name = node_name(view.inputs(name)[0])
    return view.op(name), node_name((view.inputs(name) or ('',))[0])


def _first_float(view: GraphView, name: str) -> str:
    """The placeholder, or the first float tensor computed from its pixels or file; '' if that is ambiguous."""
    seen = set()
    while view.dtype(name) != tf.float32:
        seen.add(name)
        following = {reader for reader, _ in view.consumers(name)} - seen
        if len(following) != 1:
            return ''
        name = following.pop()
    return name


def _used_inputs(view: GraphView, input_nodes: List[str], output_nodes: Sequence[str]) -> List[str]:
    """The input nodes that the output nodes depend on; all of them without output nodes."""
    if not output_nodes or not all(node_name(name) in view for name in output_nodes):
        return input_nodes
    dropouts = find_dropouts(view, view.names)[0]  # at inference these forward their input, whatever rate is fed
    needed = reach([node_name(name) for name in output_nodes], lambda name: [node_name(tensor) for tensor in (
        [dropouts[name]] if name in dropouts else view.inputs(name))])
    return [name for name in input_nodes if node_name(name) in needed or node_name(name) not in view] or input_nodes


def _plan(graph_def: tf.GraphDef, view: GraphView, config: QuantizeConfig, notes: List[str]) -> Tuple[QuantPlan, GraphView]:
    """(QuantPlan, the GraphView that it is about). A graph that cannot be optimised is planned as it is."""
    obstacles = _obstacles(graph_def, view, GraphRange(view, config.input_nodes, config.output_nodes).nodes)
    notes += obstacles
    if not obstacles:
        view = GraphView(optimise(_at_inference(graph_def, view, config, notes), config))
    return annotate(view, config), view


def _obstacles(graph_def: tf.GraphDef, view: GraphView, names: Sequence[str]) -> List[str]:
    found = []
    unknown = unknown_ops(graph_def, map(view.node, names))
    if unknown:
        found.append('TensorFlow does not have the ops {}; load them with --custom_op_so before the graph is '
                     'quantized.'.format(', '.join(unknown)))
    if any(view.op(name) in VARIABLE_OPS for name in names):
        found.append('The graph has variables; freeze it with freeze_graph before it is quantized.')
    return found


def _at_inference(graph_def: tf.GraphDef, view: GraphView, config: QuantizeConfig, notes: List[str]) -> tf.GraphDef:
    """The graph with learning phases set to False, which is noted."""
    phases = find_phases(view, config)
    defaults = FedPhases(view, phases, {}).values
    assumed = [name for name in phases if view.dtype(name) == tf.bool and defaults.get(name, True)]
    if assumed:
        notes.append('The following holds if input_fn returns False for {} in every step.'.format(
            ', '.join(map(repr, assumed))))
    return with_phases(graph_def, dict.fromkeys(assumed, np.array(False)))


def _inspect_fix_neuron(view: GraphView, name: str) -> InspectedNode:
    source = view.inputs(name)[0]
    return InspectedNode(node_name(source), view.op(source), QUANTIZED, '{}: {} bits, position {}'.format(
        name, view.attr(name, 'bit_width').i, view.attr(name, 'quantize_pos').i))
