"""Which float tensor belongs to each quantized one of a model."""
import collections

from vai_q_tf import ops
from vai_q_tf.analysis.measure import Pairing
from vai_q_tf.analysis.model_tensors import model_tensors
from vai_q_tf.analysis.side_by_side import without_fix_neurons
from vai_q_tf.graph.view import GraphView, node_name, output_index

_ADDED = 'the float network has no {!r}'


def pair_by_plan(float_graph, model, plan, config):
    """The Pairing of a model with the float graph that its plan was made for."""
    ops.load_library()  # before views ask what FixNeuron gives
    tensors, records = model_tensors(GraphView(model)), {record.name: record for record in plan.tensors}
    unpaired = {name: _ADDED.format(node_name(tensor.source)) for name, tensor in tensors.items() if name not in records}
    float_tensors = {name: records[name].tensor for name in tensors if name in records}
    return with_plan(Pairing(model, float_graph, tensors, float_tensors, unpaired), plan, config)


def with_plan(pairing, plan, config):
    """The Pairing with what a QuantPlan, whose tensors have the names of the model's, tells of it."""
    roles = {record.name: record.role for record in plan.tensors}
    tensors = collections.OrderedDict((name, tensor._replace(role=roles.get(name, tensor.role)))
                                      for name, tensor in pairing.tensors.items())
    return pairing._replace(tensors=tensors, plan=plan, config=config)


def pair_with_itself(model):
    """The Pairing of a model with itself, its FixNeurons taken out."""
    ops.load_library()
    tensors = model_tensors(GraphView(model))
    sources = {name: tensor.source for name, tensor in tensors.items()}

    def beyond(tensor):
        while node_name(tensor) in sources:
            tensor = sources[node_name(tensor)]
        return tensor
    return Pairing(model, without_fix_neurons(model), tensors, {name: beyond(source) for name, source in sources.items()}, {})


def pair_by_names(float_graph, model):
    """The Pairing of a model with a float graph that went through the passes: by names, constants by what reads them first."""
    ops.load_library()
    view, other = GraphView(model), GraphView(float_graph)
    tensors, found, unpaired = model_tensors(view), {}, {}
    for name, tensor in tensors.items():
        candidates = []
        if tensor.is_static:
            candidates = [other.inputs(reader)[index] for reader, index in tensor.readers
                          if reader in other and index < len(other.inputs(reader)) and other.op(reader) == view.op(reader)]
        candidates = [other.skip_identity(candidate) for candidate in candidates]
        if node_name(tensor.source) in other:
            candidates.append(tensor.source)
        candidates = [candidate for candidate in candidates if _is_alike(view, tensor.source, other, candidate)]
        if candidates:
            found[name] = candidates[0]
        else:
            unpaired[name] = _ADDED.format(node_name(tensor.source))
    return Pairing(model, float_graph, tensors, found, unpaired)


def _is_alike(view, tensor, other, candidate):
    """Whether a tensor may be the float one: it has the type and, as far as that is known, the shape."""
    if output_index(candidate) >= len(other.output_types(node_name(candidate))):
        return False
    if view.dtype(tensor) != other.dtype(candidate):
        return False
    shapes = view.shape(tensor), other.shape(candidate)
    return None in shapes or len(shapes[0]) == len(shapes[1]) and all(
        -1 in sizes or sizes[0] == sizes[1] for sizes in zip(*shapes))
