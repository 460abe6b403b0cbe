"""The float tensor of each quantized tensor of a model."""
from typing import Iterator

import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.analysis.measure import Pairing
from vai_q_tf.analysis.model_tensors import ModelTensor, model_tensors
from vai_q_tf.analysis.side_by_side import without_fix_neurons
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView, node_name, output_index
from vai_q_tf.plan.quant_plan import QuantPlan

_ADDED = 'the float network has no {!r}'


def pair_by_plan(float_graph: tf.GraphDef, model: tf.GraphDef, plan: QuantPlan, config: QuantizeConfig) -> Pairing:
    """The Pairing of a model with the float graph of its plan."""
    ops.load_library()  # before views ask what FixNeuron gives
    tensors, records = model_tensors(GraphView(model)), {record.name: record for record in plan.tensors}
    unpaired = {name: _ADDED.format(node_name(tensor.source)) for name, tensor in tensors.items() if name not in records}
    float_tensors = {name: records[name].tensor for name in tensors if name in records}
    return with_plan(Pairing(model, float_graph, tensors, float_tensors, unpaired), plan, config)


def with_plan(pairing: Pairing, plan: QuantPlan, config: QuantizeConfig) -> Pairing:
    """The Pairing with a QuantPlan of the same tensor names, and their roles in it."""
    roles = {record.name: record.role for record in plan.tensors}
    tensors = {name: tensor._replace(role=roles.get(name, tensor.role)) for name, tensor in pairing.tensors.items()}
    return pairing._replace(tensors=tensors, plan=plan, config=config)


def pair_with_itself(model: tf.GraphDef) -> Pairing:
    """The Pairing of a model with itself without its FixNeurons."""
    ops.load_library()
    tensors = model_tensors(GraphView(model))
    sources = {name: tensor.source for name, tensor in tensors.items()}

    def float_source(tensor: str) -> str:
        while node_name(tensor) in sources:
            tensor = sources[node_name(tensor)]
        return tensor
    return Pairing(model, without_fix_neurons(model), tensors, {name: float_source(name) for name in sources}, {})


def pair_by_names(float_graph: tf.GraphDef, model: tf.GraphDef) -> Pairing:
    """The Pairing of a model with a float graph after the passes: by names, constants by their readers first."""
    ops.load_library()
    view, other = GraphView(model), GraphView(float_graph)
    tensors, found, unpaired = model_tensors(view), {}, {}
    for name, tensor in tensors.items():
        match = next((candidate for candidate in _candidates(tensor, view, other)
                      if _is_alike(view, tensor.source, other, candidate)), None)
        if match is None:
            unpaired[name] = _ADDED.format(node_name(tensor.source))
        else:
            found[name] = match
    return Pairing(model, float_graph, tensors, found, unpaired)


def _candidates(tensor: ModelTensor, view: GraphView, other: GraphView) -> Iterator[str]:
    """The tensors of `other` that may be the float one, the likeliest first."""
    if tensor.is_static:
        for reader, index in tensor.readers:
            if reader in other and index < len(other.inputs(reader)) and other.op(reader) == view.op(reader):
                yield other.skip_identity(other.inputs(reader)[index])
    if node_name(tensor.source) in other:
        yield tensor.source


def _is_alike(view: GraphView, tensor: str, other: GraphView, candidate: str) -> bool:
    """Whether two tensors have the same type and, as far as known, the same shape."""
    if output_index(candidate) >= len(other.output_types(node_name(candidate))):
        return False
    if view.dtype(tensor) != other.dtype(candidate):
        return False
    own, theirs = view.shape(tensor), other.shape(candidate)
    if own is None or theirs is None:
        return True
    return len(own) == len(theirs) and all(-1 in sizes or sizes[0] == sizes[1] for sizes in zip(own, theirs))
