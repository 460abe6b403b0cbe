"""annotate: decides which tensors of a graph are quantized, and how."""
from typing import Dict, List

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView, node_name, tensor_name
from vai_q_tf.passes.dpu.replace_softmax import SOFTMAX_OF
from vai_q_tf.patterns.activations import Activation, find_activations, relu_after
from vai_q_tf.patterns.fusions import Fusion, find_fusions
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.plan.alignments import find_alignments, find_operand_groups
from vai_q_tf.plan.draft import ActivationsOf, Draft
from vai_q_tf.plan.elementwise import add_elementwise
from vai_q_tf.plan.groups import add_compute_groups, add_compute_inputs
from vai_q_tf.plan.overrides import apply_overrides
from vai_q_tf.plan.quant_plan import QuantPlan

_IN_SOFTMAX = "it is a part of the hardware's softmax, which computes in bfloat16"


def annotate(view: GraphView, config: QuantizeConfig) -> QuantPlan:
    """The QuantPlan of the graph between config.input_nodes and config.output_nodes.

    Quantized are the network's inputs, the weights, biases and results of weighted ops (after their activation function), the
    results of the other ops that have a rule, and the inputs of all of these.

    Args:
      view: GraphView of a float graph that `passes.optimise` returned.
      config: QuantizeConfig that names a range.

    Raises:
      QuantizeError: an unknown node, input and output nodes that are not connected, nothing to quantize, a graph that
        is quantized already, a node that has the name of a FixNeuron.
    """
    graph_range = GraphRange(view, config.input_nodes, config.output_nodes)
    draft = Draft(graph_range, config)
    _add_inputs(draft)
    _skip_hard_softmaxes(draft)
    activations = _activations_of(graph_range)
    chains = add_compute_groups(draft, activations)
    fusions = _find_fusions(draft, activations)
    add_elementwise(draft, activations, fusions)
    add_compute_inputs(draft, chains)
    _require_something(draft)
    _require_free_names(draft)
    return QuantPlan(
        input_nodes=graph_range.input_nodes, output_nodes=graph_range.output_nodes, nodes=graph_range.nodes,
        tensors=apply_overrides(draft, config), groups=tuple(draft.groups), skipped=draft.skipped,
        alignments=find_alignments(draft, fusions), operand_groups=find_operand_groups(draft, fusions))


def _add_inputs(draft: Draft) -> None:
    """Quantizes the float results of the input nodes; no value overflows at their positions (method 0)."""
    for name in draft.graph_range.input_nodes:
        for index, dtype in enumerate(draft.view.output_types(name)):
            tensor = tensor_name(name, index)
            used = draft.graph_range.readers(tensor) or draft.graph_range.is_output(tensor)
            if dtype == tf.float32 and used and name not in draft.ignored:
                draft.add_activation(tensor, 'input', method=0)


def _skip_hard_softmaxes(draft: Draft) -> None:
    """Keeps the ops of the hardware's softmaxes float."""
    view = draft.view
    for name in draft.graph_range.nodes:
        if SOFTMAX_OF in view.node(name).attr:
            logits = node_name(view.node(name).attr[SOFTMAX_OF].s.decode())
            draft.skip([node for node in view.upstream([name], [logits])
                        if node != logits and not draft.graph_range.is_static(node)], _IN_SOFTMAX)


def _activations_of(graph_range: GraphRange) -> ActivationsOf:
    found: Dict[str, List[Activation]] = {}
    for activation in find_activations(graph_range):
        found.setdefault(activation.source, []).append(activation)
    return found


def _find_fusions(draft: Draft, activations: ActivationsOf) -> List[Fusion]:
    """The Fusions of nodes that are in no compute group and in no activation function of several nodes."""
    taken = set(draft.covered)
    for group in activations.values():
        taken.update(node for activation in group if len(activation.nodes) > 1 for node in activation.nodes)
    return find_fusions(draft.graph_range, lambda tensor: relu_after(draft.view, tensor, activations), taken)


def _require_something(draft: Draft) -> None:
    if all(tensor.role == 'input' for tensor in draft.tensors):
        raise errors.QuantizeError(
            errors.EMPTY_RANGE, 'Nothing to quantize',
            'Between the input nodes ({}) and the output nodes ({}) there is no op to quantize{}.'.format(
                ', '.join(draft.graph_range.input_nodes), ', '.join(draft.graph_range.output_nodes), _why_nothing(draft)))


def _why_nothing(draft: Draft) -> str:
    if draft.config.ignore_nodes:
        return ' but what ignore_nodes (--ignore_nodes) keeps float: ' + ', '.join(draft.config.ignore_nodes)
    weighted = next((found for found in draft.skipped if trait(found.op).kind == WEIGHTED), None)
    return '' if weighted is None else ': node {!r} stays float, because {}'.format(weighted.node, weighted.reason)


def _require_free_names(draft: Draft) -> None:
    taken = next((tensor.name for tensor in draft.tensors if tensor.name in draft.view), None)
    if taken:
        raise errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Name taken', 'The graph has a node {!r}, a name that a '
                                   'FixNeuron needs; rename the node.'.format(taken))
