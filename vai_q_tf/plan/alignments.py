"""Alignments: the quantized tensors that concats and pools need at one position."""
from vai_q_tf.graph.traits import CONCAT_OPS, trait
from vai_q_tf.graph.view import node_name
from vai_q_tf.plan.quant_plan import Alignment

# Ops that change the shape only, which a concat's inputs are followed through.
_SHAPING_OPS = frozenset(('Reshape', 'ExpandDims', 'Squeeze'))


def find_alignments(draft, fusions):
    """The Alignments of the drafted plan, a tuple in graph order.

    Concats, max pools and scaled average pools whose result is quantized and that have a quantized input make one.
    """
    scaled = {}
    for fusion in fusions:
        if fusion.kind == 'average_pool':
            pool, = fusion.nodes - {fusion.node}
            scaled[pool] = fusion.node
    found = []
    for name in draft.graph_range.nodes:
        op = draft.view.op(name)
        if op in CONCAT_OPS:
            found.append(_concat(draft, name))
        elif op == 'MaxPool':
            found.append(_pool(draft, name, name))
        elif name in scaled:
            found.append(_pool(draft, name, scaled[name]))
    return tuple(alignment for alignment in found if alignment.output and alignment.inputs)


def _concat(draft, name):
    inputs = {}
    for _, tensor in trait(draft.view.op(name)).data_inputs(draft.view.inputs(name)):
        inputs.update((member, None) for member in _members(draft, tensor))
    return Alignment('concat', name, draft.quantized(name), tuple(inputs), name in draft.graph_range.output_nodes)


def _members(draft, tensor):
    """The quantized tensors from `tensor` up through the ops that only shape it, the first that does not included."""
    while True:
        tensor = draft.graph_range.source(tensor)
        quantized = draft.quantized(tensor) or draft.quantized_constant(tensor)
        if quantized:
            yield quantized
        node = node_name(tensor)
        if draft.view.op(node) not in _SHAPING_OPS or node not in draft.graph_range or node in draft.graph_range.input_nodes:
            return
        tensor = draft.view.inputs(node)[0]


def _pool(draft, name, result):
    source = draft.quantized(draft.graph_range.source(draft.view.inputs(name)[0]))
    outputs = draft.graph_range.output_nodes
    return Alignment('pool', name, draft.quantized(result), (source,) if source else (),
                     name in outputs or result in outputs)
