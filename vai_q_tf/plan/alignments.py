"""Which quantized tensors the hardware needs at one position, and which near each other."""
from typing import Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.traits import ADD_OPS, CONCAT_OPS, SPLIT_INPUTS, trait
from vai_q_tf.graph.view import node_name, tensor_name
from vai_q_tf.patterns.fusions import Fusion
from vai_q_tf.plan.draft import Draft
from vai_q_tf.plan.quant_plan import Alignment, OperandGroup

# Ops that change the shape only, which a concat's inputs are followed through.
_SHAPING_OPS = frozenset(('Reshape', 'ExpandDims', 'Squeeze'))
_POOLS = frozenset(('MaxPool', 'MaxPool3D', 'AvgPool', 'AvgPool3D', 'Max'))
_ACTIVATIONS = frozenset(('Relu', 'Relu6', 'LeakyRelu'))
_OPERAND_OPS = {**dict.fromkeys(ADD_OPS | {'AddN'}, 'add'), 'Mul': 'mul', **dict.fromkeys(_POOLS, 'pool'),
                **dict.fromkeys(_ACTIVATIONS, 'activation')}
_SEVERAL = ('add', 'mul')


def find_alignments(draft: Draft, fusions: Sequence[Fusion]) -> Tuple[Alignment, ...]:
    """The Alignments of the drafted plan, a tuple in graph order.

    Max pools and scaled average pools whose result is quantized, and concats and ops that move values whose result, or the relu
    computed with it, is quantized, make one if they have a quantized input; so does each quantized part that a split makes.
    """
    scaled = _scaled_pools(fusions)
    moved = {fusion.node: fusion.sources[0] for fusion in fusions if fusion.kind == 'upsampling'}
    found = []
    for name in draft.graph_range.nodes:
        op = draft.view.op(name)
        if op in CONCAT_OPS:
            found.append(_concat(draft, name))
        elif op == 'MaxPool':
            found.append(_selection(draft, 'pool', name, _first(draft, name), draft.quantized(name)))
        elif name in scaled:
            found.append(_selection(draft, 'pool', name, _first(draft, name), draft.quantized(scaled[name]), scaled[name]))
        elif op in SPLIT_INPUTS:
            found += _parts(draft, name)
        elif name in moved or trait(op).moves:
            source = moved.get(name) or _first(draft, name)
            found.append(_selection(draft, 'move', name, source, _result(draft, name)))
    return tuple(alignment for alignment in found if alignment.output and alignment.inputs)


def find_operand_groups(draft: Draft, fusions: Sequence[Fusion]) -> Tuple[OperandGroup, ...]:
    """The OperandGroups of the drafted plan, a tuple: additions and multiplications with several quantized inputs, pools,
    activation functions and hard sigmoids with one, of which the result, or the relu computed with it, is quantized."""
    scaled = _scaled_pools(fusions)
    found = []
    for name in draft.graph_range.nodes:
        kind = _OPERAND_OPS.get(draft.view.op(name))
        if not kind or draft.view.dtype(name) != tf.float32 or name in draft.graph_range.input_nodes:
            continue
        data = trait(draft.view.op(name)).data_inputs(draft.view.inputs(name))
        inputs = tuple(draft.quantized_source(tensor) or draft.quantized_constant(tensor) for _, tensor in data)
        output = draft.quantized(scaled[name]) if name in scaled else _result(draft, name)
        if output and all(inputs) and (kind not in _SEVERAL or len(inputs) > 1):
            found.append(OperandGroup(kind, name, inputs, output))
    sigmoids = [fusion for fusion in fusions if draft.quantized(fusion.hard_sigmoid) and draft.quantized_source(fusion.shifted)]
    found += [OperandGroup('hard_sigmoid', fusion.hard_sigmoid, (draft.quantized_source(fusion.shifted),),
                           draft.quantized(fusion.hard_sigmoid)) for fusion in sigmoids]
    return tuple(found)


def _scaled_pools(fusions):
    """{average pool: the multiplication after it}"""
    return {pool: fusion.node for fusion in fusions if fusion.kind == 'average_pool' for pool in fusion.nodes - {fusion.node}}


def _first(draft, name):
    return draft.view.inputs(name)[0]


def _result(draft, name):
    """The name of the quantized result of an op, that of the relu after it where the two are computed together; or ''."""
    readers = [reader for reader, _ in draft.graph_range.readers(name)]
    alone = draft.quantized(name) or draft.is_left_out(name)
    if not alone and len(readers) == 1 and draft.view.op(readers[0]) in ('Relu', 'Relu6'):
        return draft.quantized(readers[0])
    return draft.quantized(name)


def _selection(draft, kind, name, source, output, result=''):
    """The Alignment of an op with one quantized input; `result` is the node that has its result if that is another."""
    quantized, outputs = draft.quantized_source(source), draft.graph_range.output_nodes
    return Alignment(kind, name, output, (quantized,) if quantized else (), name in outputs or result in outputs)


def _parts(draft, name):
    source = draft.view.inputs(name)[SPLIT_INPUTS[draft.view.op(name)]]
    parts = [tensor_name(name, index) for index in range(len(draft.view.output_types(name)))]
    return [_selection(draft, 'move', name, source, draft.quantized(part)) for part in parts]


def _concat(draft, name):
    inputs = {}
    for _, tensor in trait(draft.view.op(name)).data_inputs(draft.view.inputs(name)):
        inputs.update((member, None) for member in _members(draft, tensor))
    return Alignment('concat', name, _result(draft, name), tuple(inputs), name in draft.graph_range.output_nodes)


def _members(draft, tensor):
    """The quantized tensors from `tensor` up through the ops that only shape it, the first that does not included."""
    while True:
        quantized = draft.quantized_source(tensor) or draft.quantized_constant(tensor)
        if quantized:
            yield quantized
        tensor = draft.graph_range.source(tensor)
        node = node_name(tensor)
        if draft.view.op(node) not in _SHAPING_OPS or node not in draft.graph_range or node in draft.graph_range.input_nodes:
            return
        tensor = draft.view.inputs(node)[0]
