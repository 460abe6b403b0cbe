"""Which quantized tensors the hardware needs at one position, and which at positions near each other."""
from typing import Dict, Iterator, List, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.traits import ADD_OPS, CONCAT_OPS, SHAPING_OPS, SPLIT_INPUTS, trait
from vai_q_tf.graph.view import node_name, tensor_name
from vai_q_tf.patterns.activations import RELU_OPS
from vai_q_tf.patterns.fusions import Fusion
from vai_q_tf.plan.draft import Draft
from vai_q_tf.plan.quant_plan import Alignment, OperandGroup

_POOLS = frozenset(('MaxPool', 'MaxPool3D', 'AvgPool', 'AvgPool3D', 'Max'))
_OPERAND_OPS = {**dict.fromkeys(ADD_OPS | {'AddN'}, 'add'), 'Mul': 'mul', **dict.fromkeys(_POOLS, 'pool'),
                **dict.fromkeys(RELU_OPS | {'LeakyRelu'}, 'activation')}
_SEVERAL = ('add', 'mul')


def find_alignments(draft: Draft, fusions: Sequence[Fusion]) -> Tuple[Alignment, ...]:
    """The Alignments of the drafted plan, in graph order.

    They come from max pools and scaled average pools with a quantized result, from concats and ops that move values if their
    result, or the relu computed with it, is quantized, and from each quantized part of a split; the input has to be quantized.
    """
    scaled = _scaled_pools(fusions)
    found = [alignment for name in draft.graph_range.nodes for alignment in _alignments_of(draft, name, scaled)]
    return tuple(alignment for alignment in found if alignment.output and alignment.inputs)


def find_operand_groups(draft: Draft, fusions: Sequence[Fusion]) -> Tuple[OperandGroup, ...]:
    """The OperandGroups of the drafted plan: additions and multiplications with several quantized inputs, and pools, activation
    functions and hard sigmoids with one, whose result, or the relu computed with it, is quantized."""
    scaled = _scaled_pools(fusions)
    found = [_operand_group(draft, name, scaled) for name in draft.graph_range.nodes if _takes_operands(draft, name)]
    found += [OperandGroup('hard_sigmoid', fusion.hard_sigmoid, (draft.quantized_source(fusion.shifted),),
                           draft.quantized(fusion.hard_sigmoid)) for fusion in fusions if fusion.hard_sigmoid]
    return tuple(group for group in found
                 if group.output and all(group.inputs) and (group.kind not in _SEVERAL or len(group.inputs) > 1))


def _scaled_pools(fusions: Sequence[Fusion]) -> Dict[str, str]:
    """{average pool: the multiplication after it}"""
    return {pool: fusion.node for fusion in fusions if fusion.kind == 'average_pool' for pool in fusion.nodes - {fusion.node}}


def _alignments_of(draft: Draft, name: str, scaled: Dict[str, str]) -> List[Alignment]:
    """The Alignments of one op; tensors that are not quantized have the name '' in them, or are missing."""
    op = draft.view.op(name)
    if op in CONCAT_OPS:
        return [_concat(draft, name)]
    if op == 'MaxPool' or name in scaled:
        result = scaled.get(name, name)
        is_output = not {name, result}.isdisjoint(draft.graph_range.output_nodes)
        return [Alignment('pool', name, draft.quantized(result), _quantized_source(draft, _first(draft, name)), is_output)]
    if op in SPLIT_INPUTS:
        source = draft.view.inputs(name)[SPLIT_INPUTS[op]]
        parts = [tensor_name(name, index) for index in range(len(draft.view.output_types(name)))]
        return [_move(draft, name, source, draft.quantized(part)) for part in parts]
    if trait(op).moves:
        return [_move(draft, name, _first(draft, name), _result(draft, name))]
    return []


def _concat(draft: Draft, name: str) -> Alignment:
    inputs = dict.fromkeys(member for _, tensor in trait(draft.view.op(name)).data_inputs(draft.view.inputs(name))
                           for member in _members(draft, tensor))
    return Alignment('concat', name, _result(draft, name), tuple(inputs), name in draft.graph_range.output_nodes)


def _members(draft: Draft, tensor: str) -> Iterator[str]:
    """The quantized tensors from `tensor` upstream through the ops that only shape it, including the first that does not."""
    while True:
        quantized = draft.quantized_source(tensor) or draft.quantized_constant(tensor)
        if quantized:
            yield quantized
        node = node_name(draft.graph_range.source(tensor))
        if draft.view.op(node) not in SHAPING_OPS or node not in draft.graph_range or node in draft.graph_range.input_nodes:
            return
        tensor = _first(draft, node)


def _move(draft: Draft, name: str, source: str, output: str) -> Alignment:
    return Alignment('move', name, output, _quantized_source(draft, source), name in draft.graph_range.output_nodes)


def _takes_operands(draft: Draft, name: str) -> bool:
    return (draft.view.op(name) in _OPERAND_OPS and draft.view.dtype(name) == tf.float32
            and name not in draft.graph_range.input_nodes)


def _operand_group(draft: Draft, name: str, scaled: Dict[str, str]) -> OperandGroup:
    """The OperandGroup of an op; tensors that are not quantized have the name '' in it."""
    op = draft.view.op(name)
    inputs = tuple(draft.quantized_source(tensor) or draft.quantized_constant(tensor)
                   for _, tensor in trait(op).data_inputs(draft.view.inputs(name)))
    output = draft.quantized(scaled[name]) if name in scaled else _result(draft, name)
    return OperandGroup(_OPERAND_OPS[op], name, inputs, output)


def _first(draft: Draft, name: str) -> str:
    return draft.view.inputs(name)[0]


def _quantized_source(draft: Draft, tensor: str) -> Tuple[str, ...]:
    quantized = draft.quantized_source(tensor)
    return (quantized,) if quantized else ()


def _result(draft: Draft, name: str) -> str:
    """The name of the quantized result of an op, or of the relu computed together with it; '' without."""
    readers = draft.graph_range.readers(name)
    if (draft.quantized(name) or draft.is_left_out(name) or len(readers) != 1
            or draft.view.op(readers[0][0]) not in RELU_OPS):
        return draft.quantized(name)
    return draft.quantized(readers[0][0])
