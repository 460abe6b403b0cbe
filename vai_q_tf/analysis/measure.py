"""measure: how far a model is from its float network, tensor by tensor, where it is known which tensor belongs to which."""
import math
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops
from vai_q_tf.analysis.model_tensors import ModelTensor, scaled_weights
from vai_q_tf.analysis.results import Analysis, TensorError
from vai_q_tf.analysis.side_by_side import side_by_side
from vai_q_tf.analysis.statistics import Statistics
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.decibels import decibels
from vai_q_tf.fixed_point import HISTOGRAM_ZERO, POSITION_ZERO
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.make_graph import make_graph, node_of
from vai_q_tf.graph.fetchable import fetchable_tensors
from vai_q_tf.graph.sessions import session_config, skip_clustering
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.positions.final_positions import Observation, decide, least_error
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.terminal.progress import progress

_NOT_FINITE = 'the float tensor is NaN or infinite, or too large to be squared'
_EMPTY = 'it has no elements'
_LOOKED_AT = 1 << 16  # elements of a constant that tell whether it is stored as it was quantized
_FITTED = 1 / 8
_NO_DATA = 'it needs data, and no input_fn is given'


class Pairing(NamedTuple):
    """A model and its float network.

    model, reference: GraphDefs. tensors: {name: ModelTensor} in the order of the network. float_tensors: {name: tensor of the
    reference}. unpaired: {name: why it has none}. plan, config: a QuantPlan and a QuantizeConfig that tell which positions the
    hardware takes; None where they are not known.
    """
    model: tf.GraphDef
    reference: tf.GraphDef
    tensors: Dict[str, ModelTensor]
    float_tensors: Dict[str, str]
    unpaired: Dict[str, str]
    plan: Optional[QuantPlan] = None
    config: Optional[QuantizeConfig] = None


def measure(pairing, feeds, count, names, *, histograms=True, gpu_memory_fraction=None):
    """The Analysis of a Pairing.

    Each batch runs three networks, see `side_by_side`.

    Args:
      feeds: iterable of {tensor name: array}, one a batch; none: weights and biases only. count: how many there are.
      names: (model, reference) for the Analysis.
      histograms: whether there are any in it. gpu_memory_fraction: see `session_config`.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH where a network does not run; what `feeds` raises.
    """
    ops.load_library()
    unpaired = dict(pairing.unpaired)
    model, reference = GraphView(pairing.model), GraphView(pairing.reference)
    paired, own = _measurable(pairing, model, reference, unpaired)
    moving = [tensor for tensor in paired if not tensor.is_static]
    sides = side_by_side(pairing.model, pairing.reference, pairing.float_tensors,
                         {tensor.name: tensor.scales for tensor in moving})
    static = [tensor for tensor in paired if tensor.is_static]
    constants = _constants(pairing, model, reference, static, own, sides)
    parts = [Statistics(static, constants.sides, sides.prefix + '/static', histograms),
             Statistics(moving, {name: (value, name, sides.alone_of[name], value) for name, value in sides.float_of.items()},
                        sides.prefix + '/moving', histograms)]
    graph_def = editor.subgraph(sides.graph, list(sides.graph.node) + constants.nodes + parts[0].nodes + parts[1].nodes)
    graph_def.library.function.extend(parts[0].functions + parts[1].functions)
    batches = _run(graph_def, parts, feeds, count, gpu_memory_fraction)
    results, found = [result for part in parts for result in part.results()], []
    tables = {tensor.name: table for tensor, _, table, _ in results}
    suited = _suited(pairing, tables)
    for tensor, sums, table, histogram in results:
        if not np.isfinite([sums.energy, sums.error, sums.alone_error, sums.low, sums.high]).all():
            unpaired[tensor.name] = _NOT_FINITE
        else:
            loss = _loss(tensor, sums, table, suited[tensor.name], constants.scale_errors.get(tensor.name, 0.0))
            found.append(_error(tensor, sums, loss, histogram))
    unpaired.update((tensor.name, _EMPTY if batches or tensor.is_static else _NO_DATA)
                    for tensor in paired if tensor.name not in tables)
    depth = tuple(tensor.name for tensor in moving if tensor.name not in unpaired)
    return Analysis(*names, batches, tuple(_worst_first(found)), depth, unpaired)


def _worst_first(found):
    """The TensorErrors, that with the least dB that its layer's result has alone, less twice the dB that it loses, first."""
    results = {}
    for error in found:
        if error.role in ('input', 'activation'):
            results[error.layer] = min(_finite(error.alone_db), results.get(error.layer, math.inf))

    def key(error):
        own = _finite(error.alone_db)
        return (own if error.role in ('input', 'activation') else results.get(error.layer, own)) - 2 * error.loss_db, own
    return sorted(found, key=key)


def _finite(db):
    """dB to sort by: an error where there is nothing counts as an error of the size of the values."""
    return 0.0 if db == -math.inf else db


def _measurable(pairing, model, reference, unpaired):
    """([ModelTensor that can be measured], {static one: the value that the model has before its FixNeuron})."""
    (there, why), (there_float, why_float) = fetchable_tensors(model), fetchable_tensors(reference)
    there, there_float = set(there), set(there_float)
    found, own = [], {}
    for name, tensor in pairing.tensors.items():
        other = pairing.float_tensors.get(name)
        if other is None:
            continue
        if tensor.is_static and model.value(tensor.source) is not None:
            own[name] = model.value(tensor.source)
            if reference.value(other) is not None:
                found.append(tensor)
                continue
        if name not in there or tensor.source not in there:
            unpaired[name] = why.get(name, 'it cannot be fetched')
        elif other not in there_float:
            unpaired[name] = 'the float tensor cannot be fetched: {}'.format(why_float.get(node_name(other), 'unknown'))
        else:
            found.append(tensor)
    return found, own


class _Constants(NamedTuple):
    """Of tensors that depend on no data: NodeDefs, {name: what Statistics calls sides}, and {name of weights: what
    `_scale_error` gives}."""
    nodes: List
    sides: Dict[str, Tuple[str, str, str, str]]
    scale_errors: Dict[str, float]


def _constants(pairing, model, reference, tensors, own, sides):
    found = _Constants([], {}, {})
    scales = {name: np.array(other.scales) for other in pairing.tensors.values() if other.scales
              for name in (other.name, other.layer)}
    for number, tensor in enumerate(tensors):
        value = reference.value(pairing.float_tensors[tensor.name])
        if value is None or tensor.name not in own:
            float_tensor = sides.float_of[tensor.name]
            found.sides[tensor.name] = float_tensor, tensor.name, tensor.name, float_tensor
            continue
        # Nodes of their own: those in the networks may be in a branch.
        names = ['{}/constants/{}/{}'.format(sides.prefix, number, name) for name in ('float', 'model', 'quantized')]
        value = _scaled(tensor, value, scales, model) if scales else value
        quantized = editor.copy(model.node(tensor.name), names[2], [names[1]])
        found.nodes.extend([editor.constant(names[0], tf.float32, value),
                            editor.constant(names[1], tf.float32, own[tensor.name]), quantized])
        some = own[tensor.name].flat[:_LOOKED_AT]
        is_rounded = np.array_equal(tensor.quantize(some), some)
        if tensor.role == 'weight':
            found.scale_errors[tensor.name] = _scale_error(value, own[tensor.name])
        # Positions are judged by what was rounded, which may be fitted to the layer, unless the model has only the result.
        found.sides[tensor.name] = names[0], names[2], names[2], names[0] if is_rounded else names[1]
    return found


def _scaled(tensor, value, scales, view):
    """The array of float weights or a float bias where the channels of layers have other scales in the model.

    scales: {FixNeuron or layer: those of its channels}.
    """
    layer, outputs = tensor.layer, scales.get(tensor.layer)
    if tensor.role == 'bias':
        return value if outputs is None else (value * outputs.reshape(np.shape(value))).astype(np.float32)
    if tensor.role != 'weight' or trait(view.op(layer)).kind != WEIGHTED:
        return value
    source = view.inputs(layer)[trait(view.op(layer)).data][0]
    while view.op(source) != 'FixNeuron' and view.inputs(source):
        source = view.inputs(source)[0]
    inputs = scales.get(source)
    return value if inputs is None and outputs is None else scaled_weights(view, layer, value, inputs, outputs)


def _run(graph_def, parts, feeds, count, gpu_memory_fraction):
    """Adds up the statistics of all batches; returns how many there were."""
    graph, batches = make_graph(graph_def), 0
    for part in parts:
        if part.fetches:
            skip_clustering(graph.get_tensor_by_name(part.fetches[0]).op)
    with large_constants.session(graph, session_config(gpu_memory_fraction)) as session:
        parts[0].add(_fetch(session, parts[0].fetches, {}))
        for feed in progress(feeds, count, 'Analysis') if count else ():
            parts[1].add(_fetch(session, parts[1].fetches, feed))
            batches += 1
    return batches


def _fetch(session, fetches, feed):
    try:
        return session.run(fetches, feed) if fetches else []
    except (tf.errors.OpError, ValueError) as error:  # the latter for feeds of another shape
        message = str(getattr(error, 'message', error)).splitlines()[0]
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Cannot run', 'The model and its float network do not run side by side{}: {}. See that '
            'the float graph is the one that the model was made from.'.format(node_of(message), message)) from error


def _error(tensor, sums, loss, histogram):
    return TensorError(
        tensor.name, tensor.layer, tensor.role, tensor.bits, tensor.position, sums.low, sums.high,
        sums.saturated / sums.elements, sums.zeroed / sums.elements, decibels(sums.error, sums.energy),
        decibels(sums.alone_error, sums.energy), histogram, loss)


def _suited(pairing, tables):
    """{name: the position with the least error that the hardware takes}; tables: {name: errors at all positions [256]}."""
    suited = {name: least_error(table) if table.any() else POSITION_ZERO for name, table in tables.items()}
    if pairing.plan is None:
        return suited
    observed = {}
    for record in pairing.plan.tensors:
        if record.name not in pairing.tensors:
            return suited
        observed[record.name] = (Observation(suited[record.name], tables[record.name]) if record.name in tables
                                 else Observation(pairing.tensors[record.name].position))
    plan = pairing.plan._replace(tensors=tuple(record._replace(method=1) for record in pairing.plan.tensors))
    try:
        return dict(suited, **decide(plan, observed, pairing.config))
    except errors.QuantizeError:  # no positions are within the limits
        return suited


def _scale_error(value, stored):
    """(|c - 1| - 1/8)^2, where c times the array `value` is what is nearest to `stored`; 0 up to 1/8.

    Weights that were fitted to their layer may have a scale of their own within that.
    """
    flat, other = np.ravel(value).astype(np.float64), np.ravel(stored).astype(np.float64)
    return max(abs(np.dot(flat, other) / np.dot(flat, flat) - 1) - _FITTED, 0.0)**2 if flat.any() else 0.0


def _loss(tensor, sums, table, suited, scale_error):
    """By how many dB the tensor has more error than at the position that suits it, and with the scale of the float one."""
    error = table[tensor.position + HISTOGRAM_ZERO] + scale_error * sums.energy
    least = max(table[suited + HISTOGRAM_ZERO], sums.energy * 4.0**-tensor.bits)
    return max(0.0, -decibels(error, least)) if error and least else 0.0
