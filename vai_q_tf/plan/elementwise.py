"""Ops without weights: each result is quantized where what goes in is."""
import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import HARD_SIGMOID_INPUT_POSITION, HARD_SIGMOID_POSITION
from vai_q_tf.graph.traits import CONCAT_OPS, FLOAT, FORWARDS, WEIGHTED, trait
from vai_q_tf.patterns.activations import relu_after
from vai_q_tf.plan.draft import IGNORED
from vai_q_tf.plan.groups import add_activation_function, add_if_read_elsewhere
from vai_q_tf.plan.quant_plan import WEIGHT_MODE, ComputeGroup


def add_elementwise(draft, activations, fusions):
    """Quantizes the results of additions, pools, concats and so on, and records the ops that stay float.

    An op is quantized if all its float inputs are, or are constants of an op that takes constants. A relu behind it is
    computed with it: then only the result of the relu is quantized.

    Args:
      activations: {source tensor: Activations}.
      fusions: Fusions, none of whose nodes is in the former.
    """
    by_node = {activation.node: activation for group in activations.values() for activation in group}
    inner = {node for activation in by_node.values() for node in activation.nodes}
    fused = {node: fusion for fusion in fusions for node in fusion.nodes}
    for name in draft.graph_range.order:
        if name in draft.covered or name in draft.graph_range.input_nodes or draft.graph_range.is_static(name):
            continue
        if name in fused:
            _add_fusion(draft, fused[name], name)
        elif name in draft.graph_range.dropout_nodes:
            draft.skip([name], 'a dropout is for training only; the quantized input goes through it')
        elif name in by_node:
            _add_standalone_activation(draft, by_node[name])
        elif name not in inner:
            _add_op(draft, name, activations)


def _add_fusion(draft, fusion, name):
    """Quantizes the results of a fusion, once its inputs are; `name` is the node of it that is looked at."""
    unquantized = [tensor for tensor in fusion.sources if not draft.quantized_source(tensor)]
    if unquantized and name != fusion.node:
        return
    if unquantized or fusion.nodes & draft.ignored:
        draft.skip(sorted(fusion.nodes, key=draft.view.order),
                   IGNORED if fusion.nodes & draft.ignored else 'its input {!r} is computed in float'.format(unquantized[0]))
        return
    draft.covered.update(fusion.nodes)
    weights = [draft.add_weight(draft.view.inputs(reader[0])[reader[1]], role, WEIGHT_MODE, reader)
               for role, reader in (('weight', fusion.scale), ('bias', fusion.offset)) if reader]
    for node in sorted(fusion.nodes - {fusion.node}, key=draft.view.order):
        if node in fusion.inner:
            draft.add_activation(node)
        else:
            add_if_read_elsewhere(draft, node, fusion.nodes)
    output = draft.add_activation(fusion.node)
    if fusion.hard_sigmoid:
        draft.require_min_position(fusion.hard_sigmoid, HARD_SIGMOID_POSITION)
        draft.require_min_position(fusion.shifted, HARD_SIGMOID_INPUT_POSITION)
    if weights:
        draft.groups.append(ComputeGroup(fusion.scale[0], draft.quantized(*fusion.sources), *weights, output, 1))


def add_concat_inputs(draft):
    """Quantizes what the concats of the range join that stay float because of some of it; they do not become quantized."""
    for name in draft.graph_range.nodes:
        op = draft.view.op(name)
        if op not in CONCAT_OPS or draft.view.dtype(name) != tf.float32 or draft.quantized(name):
            continue
        if name in draft.ignored or name in draft.graph_range.input_nodes or draft.graph_range.is_static(name):
            continue
        for index, tensor in trait(op).data_inputs(draft.view.inputs(name)):
            if draft.graph_range.is_static(tensor):
                draft.add_constant_operand(tensor, (name, index))
            elif not draft.quantized_source(tensor):
                draft.add_activation(draft.graph_range.source(tensor))


def _add_op(draft, name, activations):
    spec, types = trait(draft.view.op(name)), draft.view.output_types(name)
    if spec.kind in (FORWARDS, WEIGHTED) or (types and not any(dtype.is_floating for dtype in types)):
        return
    reason = spec.reason if spec.kind == FLOAT else ''
    if types and tf.float32 not in types:
        reason = 'its type is {}; only float32 is quantized'.format(types[0].name)
    constants = []
    for index, tensor in spec.data_inputs(draft.view.inputs(name)) if not reason else ():
        if spec.constants and draft.graph_range.is_static(tensor):
            constants.append((tensor, (name, index)))
        elif not draft.quantized_source(tensor):
            reason = 'its input {!r} is computed in float'.format(tensor)
            break
    relu = relu_after(draft.view, name, activations) if spec.relu else None
    if not reason and draft.ignored & ({name} | (relu.nodes if relu else set())):
        reason = IGNORED
    if reason:
        draft.skip([name], reason)
        return
    for tensor, reader in constants:
        draft.add_constant_operand(tensor, reader)
    if relu:
        draft.covered.update(relu.nodes)
        add_if_read_elsewhere(draft, name, relu.nodes, fused=False)
        draft.add_activation(relu.node)
    else:
        draft.add_activation(name)


def _add_standalone_activation(draft, activation):
    if activation.nodes & draft.ignored:
        draft.skip(sorted(activation.nodes), IGNORED)
    elif not draft.quantized_source(activation.source):
        draft.skip(sorted(activation.nodes), 'its input {!r} is computed in float'.format(activation.source))
    else:
        add_activation_function(draft, activation)
    draft.covered.update(activation.nodes)
