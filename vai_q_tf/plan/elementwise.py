"""Ops without weights: each result is quantized where what goes in is."""
from typing import Mapping, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import HARD_SIGMOID_INPUT_POSITION, HARD_SIGMOID_POSITION
from vai_q_tf.graph.traits import FLOAT, FORWARDS, SPLIT_INPUTS, WEIGHTED, trait
from vai_q_tf.patterns.activations import Activation, relu_after
from vai_q_tf.patterns.fusions import Fusion
from vai_q_tf.plan.draft import IGNORED, Draft
from vai_q_tf.plan.groups import add_activation_function, add_if_read_elsewhere
from vai_q_tf.plan.quant_plan import WEIGHT_MODE, ComputeGroup
from vai_q_tf.plan.resumption import Resumption

_IN_FUNCTION = 'it is a call of a TensorFlow function, which is computed in float; only ops of the graph itself are quantized'


def add_elementwise(draft: Draft, activations: Mapping[str, Sequence[Activation]], fusions: Sequence[Fusion]) -> None:
    """Quantizes the results of additions, pools, concats and so on, and records the ops that stay float.

    What an op with a rule reads is quantized as well, where it is computed in float and no constant; see Resumption. A relu
    after the op is computed with it: then only the result of the relu is quantized.

    Args:
      activations: {source tensor: Activations}.
      fusions: Fusions, none of whose nodes is in the former.
    """
    by_node = {activation.node: activation for group in activations.values() for activation in group}
    inner = {node for activation in by_node.values() for node in activation.nodes}
    fused = {node: fusion for fusion in fusions for node in fusion.nodes}
    resumption = Resumption(draft, activations, [group.nodes for group in list(fusions) + list(by_node.values())])
    for name in draft.graph_range.order:
        if name in draft.covered or name in draft.graph_range.input_nodes or draft.graph_range.is_static(name):
            continue
        if name in fused:
            _add_fusion(draft, fused[name], name, resumption)
        elif name in draft.graph_range.dropout_nodes:
            draft.skip([name], 'a dropout is for training only; the quantized input goes through it')
        elif name in by_node:
            _add_standalone_activation(draft, by_node[name], resumption)
        elif name not in inner:
            _add_op(draft, name, activations, resumption)


def _add_fusion(draft, fusion, name, resumption):
    """Quantizes what a fusion reads and its results; `name` is the node of it that is looked at, the last one if need be."""
    if fusion.nodes & draft.ignored:
        draft.skip(sorted(fusion.nodes, key=draft.view.order), IGNORED)
        return
    if name != fusion.node and len(fusion.sources) > 1 and not all(draft.quantized_source(tensor) for tensor in fusion.sources):
        return  # one of them may come later
    unquantized = [tensor for tensor in fusion.sources if not _quantize_input(draft, fusion.node, tensor, resumption)]
    if unquantized:
        draft.skip(sorted(fusion.nodes, key=draft.view.order), resumption.reason(fusion.node, unquantized[0]))
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
        group = ComputeGroup(fusion.scale[0], draft.quantized(*fusion.sources), *weights, output, 1)
        draft.groups.append(group)
        for node in sorted(fusion.nodes - {fusion.node}, key=draft.view.order):
            if draft.quantized(node):
                biased = draft.view.order(node) >= draft.view.order(fusion.offset[0])
                draft.groups.append(group._replace(output=draft.quantized(node), bias=group.bias if biased else ''))


def _add_op(draft, name, activations, resumption):
    view, graph_range = draft.view, draft.graph_range
    spec, types = trait(view.op(name)), view.output_types(name)
    if spec.kind in (FORWARDS, WEIGHTED) or (types and not any(dtype.is_floating for dtype in types)):
        return
    relu = relu_after(view, name, activations) if spec.relu else None
    inputs = spec.data_inputs(view.inputs(name)) if spec.kind != FLOAT else ()
    if view.op(name) in SPLIT_INPUTS:
        index = SPLIT_INPUTS[view.op(name)]
        inputs = ((index, view.inputs(name)[index]),)
    constants = [(tensor, (name, index)) for index, tensor in inputs if spec.constants and graph_range.is_static(tensor)]
    if types and tf.float32 not in types:
        reason = _other_type(types[0])
    elif draft.ignored & ({name} | (relu.nodes if relu else set())):
        reason = IGNORED
    else:
        floats = [tensor for _, tensor in inputs if not (spec.constants and graph_range.is_static(tensor))]
        unquantized = [tensor for tensor in floats if not _quantize_input(draft, name, tensor, resumption)]
        reason = resumption.reason(name, unquantized[0]) if unquantized else (
            _IN_FUNCTION if view.is_function(name) else spec.reason)
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


def _add_standalone_activation(draft, activation, resumption):
    if activation.nodes & draft.ignored:
        draft.skip(sorted(activation.nodes), IGNORED)
    elif not _quantize_input(draft, activation.node, activation.source, resumption):
        draft.skip(sorted(activation.nodes), resumption.reason(activation.node, activation.source))
    else:
        add_activation_function(draft, activation)
    draft.covered.update(activation.nodes)


def _other_type(dtype):
    return 'its type is {}; only float32 is quantized'.format(dtype.name)


def _quantize_input(draft, name, tensor, resumption):
    """Quantizes a tensor that is computed in float where quantization resumes there; returns whether its reader `name` can be
    quantized. The result of what the user ignores stays as it is."""
    if draft.quantized_source(tensor):
        return True
    source = draft.graph_range.source(tensor)
    if draft.is_left_out(source):
        return resumption.wants(name)
    resumes = resumption.resumes_at(source)
    if resumes:
        draft.add_activation(source)
    return resumes
