"""Ops without weights: each result is quantized if the inputs are."""
from typing import FrozenSet, Iterable, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import HARD_SIGMOID_INPUT_POSITION, HARD_SIGMOID_POSITION
from vai_q_tf.graph.traits import FLOAT, FORWARDS, SPLIT_INPUTS, WEIGHTED, trait
from vai_q_tf.patterns.activations import Activation, relu_after
from vai_q_tf.patterns.fusions import Fusion
from vai_q_tf.plan.draft import IGNORED, ActivationsOf, Draft, other_type
from vai_q_tf.plan.groups import add_activation_function, add_parameter, is_read_elsewhere
from vai_q_tf.plan.quant_plan import WEIGHT_MODE, ComputeGroup
from vai_q_tf.plan.resumption import Resumption
from vai_q_tf.types import NodeInput

_IN_DROPOUT = 'a dropout is for training only; the quantized input goes through it'
_IN_FUNCTION = 'it is a call of a TensorFlow function, which is computed in float; only ops of the graph itself are quantized'


def add_elementwise(draft: Draft, activations: ActivationsOf, fusions: Sequence[Fusion]) -> None:
    """Quantizes the results of additions, pools, concats and so on, and records the ops that stay float.

    An input that is computed in float is quantized as well if an op with a rule reads it; see Resumption. A relu after the op
    is computed together with it: then only the result of the relu is quantized.

    Args:
      fusions: Fusions that share no node with the activation functions.
    """
    elementwise = _Elementwise(draft, activations, fusions)
    for name in draft.graph_range.order:
        if not (name in draft.covered or name in draft.graph_range.input_nodes or draft.graph_range.is_static(name)):
            elementwise.add(name)


class _Elementwise:
    """Quantizes nodes one by one, each after its producers."""

    def __init__(self, draft: Draft, activations: ActivationsOf, fusions: Sequence[Fusion]) -> None:
        self._draft, self._activations = draft, activations
        self._functions = {activation.node: activation for group in activations.values() for activation in group}
        self._inside_functions = {node for activation in self._functions.values() for node in activation.nodes}
        self._fusions = {node: fusion for fusion in fusions for node in fusion.nodes}
        self._resumption = Resumption(draft, activations, [
            *(fusion.nodes for fusion in fusions), *(activation.nodes for activation in self._functions.values())])

    def add(self, name: str) -> None:
        """Quantizes the node, or the fusion or activation function that it ends, or records why it stays float."""
        if name in self._fusions:
            self._add_fusion(self._fusions[name], name)
        elif name in self._draft.graph_range.dropout_nodes:
            self._draft.skip([name], _IN_DROPOUT)
        elif name in self._functions:
            self._add_activation_function(self._functions[name])
        elif name not in self._inside_functions and self._computes_floats(name):
            self._add_op(name)

    def _add_fusion(self, fusion: Fusion, name: str) -> None:
        """Quantizes inputs and results of a fusion at the first of its nodes, `name`, where all inputs are known; at the last
        if need be."""
        draft = self._draft
        if (name != fusion.node and len(fusion.sources) > 1 and fusion.nodes.isdisjoint(draft.ignored)
                and not all(map(draft.quantized_source, fusion.sources))):
            return  # one of them may come later
        reason = self._reason_to_stay_float(fusion.node, fusion.nodes, fusion.sources)
        if reason:
            draft.skip(fusion.nodes, reason)
            return
        draft.covered.update(fusion.nodes)
        for node in self._inside(fusion):
            if node in fusion.inner:
                draft.add_activation(node)
            elif is_read_elsewhere(draft, node, fusion.nodes):
                draft.add_activation(node, without=fusion.nodes)
        draft.add_activation(fusion.node)
        if fusion.hard_sigmoid:
            draft.require_min_position(fusion.hard_sigmoid, HARD_SIGMOID_POSITION)
            draft.require_min_position(fusion.shifted, HARD_SIGMOID_INPUT_POSITION)
        if fusion.scale and fusion.offset:
            self._add_batch_norm(fusion, fusion.scale, fusion.offset)

    def _inside(self, fusion: Fusion) -> Sequence[str]:
        """The nodes of a fusion before its result, in graph order."""
        return sorted(fusion.nodes - {fusion.node}, key=self._draft.view.order)

    def _add_batch_norm(self, fusion: Fusion, scale: NodeInput, offset: NodeInput) -> None:
        """Quantizes the constants of a batch norm; records its ComputeGroup, and those of the quantized values inside it."""
        draft = self._draft
        weight = add_parameter(draft, 'weight', WEIGHT_MODE, scale)
        bias = add_parameter(draft, 'bias', WEIGHT_MODE, offset)
        group = ComputeGroup(scale[0], draft.quantized(*fusion.sources), weight, bias, draft.quantized(fusion.node), 1)
        draft.groups.append(group)
        for node in self._inside(fusion):
            if draft.quantized(node):
                biased = draft.view.order(node) >= draft.view.order(offset[0])
                draft.groups.append(group._replace(output=draft.quantized(node), bias=bias if biased else ''))

    def _add_activation_function(self, activation: Activation) -> None:
        """Quantizes an activation function that is not computed together with the op before it."""
        reason = self._reason_to_stay_float(activation.node, activation.nodes, [activation.source])
        if reason:
            self._draft.skip(activation.nodes, reason)
        else:
            self._draft.covered.update(activation.nodes)
            add_activation_function(self._draft, activation)

    def _computes_floats(self, name: str) -> bool:
        """Whether the node is an op to quantize, or one whose results stay float; for those of unknown type, too."""
        types = self._draft.view.output_types(name)
        return (trait(self._draft.view.op(name)).kind not in (FORWARDS, WEIGHTED)
                and (not types or any(dtype.is_floating for dtype in types)))

    def _add_op(self, name: str) -> None:
        draft, spec = self._draft, trait(self._draft.view.op(name))
        relu = relu_after(draft.view, name, self._activations) if spec.relu else None
        reason = self._reason_of_op(name, relu.nodes if relu else frozenset())
        if reason:
            draft.skip([name], reason)
            return
        for index, tensor in self._operands(name):
            if self._is_constant_operand(name, tensor):
                draft.add_constant_operand(tensor, (name, index))
        if relu:
            draft.covered.update(relu.nodes)
            if is_read_elsewhere(draft, name, relu.nodes):
                draft.add_activation(name)  # the hardware stores it then, and the relu reads it again
            draft.add_activation(relu.node)
        else:
            draft.add_activation(name)

    def _operands(self, name: str) -> Sequence[Tuple[int, str]]:
        """The (index, tensor) of the inputs that carry values."""
        op, inputs = self._draft.view.op(name), self._draft.view.inputs(name)
        if op in SPLIT_INPUTS:
            return [(SPLIT_INPUTS[op], inputs[SPLIT_INPUTS[op]])]
        return trait(op).data_inputs(inputs) if trait(op).kind != FLOAT else ()

    def _is_constant_operand(self, name: str, tensor: str) -> bool:
        return trait(self._draft.view.op(name)).constants and self._draft.graph_range.is_static(tensor)

    def _reason_of_op(self, name: str, relu: FrozenSet[str]) -> str:
        """Why an op without weights stays float; '' if it is quantized. relu: the nodes computed together with it."""
        view = self._draft.view
        types = view.output_types(name)
        if types and tf.float32 not in types:
            return other_type(types[0])
        sources = [tensor for _, tensor in self._operands(name) if not self._is_constant_operand(name, tensor)]
        return self._reason_to_stay_float(name, relu | {name}, sources) or (
            _IN_FUNCTION if view.is_function(name) else trait(view.op(name)).reason)

    def _reason_to_stay_float(self, name: str, nodes: FrozenSet[str], sources: Iterable[str]) -> str:
        """Why `nodes`, which are computed as one, stay float; '' if they do not. Quantizes the inputs where that resumes.

        name: the op that reads the tensors `sources`.
        """
        if nodes & self._draft.ignored:
            return IGNORED
        unquantized = [tensor for tensor in sources if not self._quantize_source(name, tensor)]
        return self._resumption.reason(name, unquantized[0]) if unquantized else ''

    def _quantize_source(self, name: str, tensor: str) -> bool:
        """Quantizes a tensor that is computed in float if quantization resumes there; returns whether its reader `name` can be
        quantized. The result of an ignored op stays as it is."""
        if self._draft.quantized_source(tensor):
            return True
        source = self._draft.graph_range.source(tensor)
        if self._draft.is_left_out(source):
            return self._resumption.wants(name)
        resumes = self._resumption.resumes_at(source)
        if resumes:
            self._draft.add_activation(source)
        return resumes
