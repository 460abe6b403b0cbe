"""measure: how far a model is from its float network, given the float tensor of each quantized one."""
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops
from vai_q_tf.analysis.model_tensors import ModelTensor, scaled_weights
from vai_q_tf.analysis.results import Analysis, TensorError, worst_first
from vai_q_tf.analysis.side_by_side import SideBySide, side_by_side
from vai_q_tf.analysis.statistics import Measured, Operands, Statistics, Sums
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.decibels import decibels
from vai_q_tf.fixed_point import POSITION_ZERO
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.make_graph import make_graph, node_of
from vai_q_tf.graph.fetchable import fetchable_tensors
from vai_q_tf.graph.sessions import session_config, skip_clustering
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.positions.final_positions import Observation, decide, least_error
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.position_histogram import HISTOGRAM_ZERO
from vai_q_tf.terminal.progress import progress
from vai_q_tf.types import Feed

_NOT_FINITE = 'the float tensor is NaN or infinite, or too large to be squared'
_EMPTY = 'it has no elements'
_COMPARED = 1 << 16  # elements of a constant that decide whether it is stored quantized
_FITTED = 1 / 8
_NO_DATA = 'no input_fn is given'


class Pairing(NamedTuple):
    """A model and its float network.

    tensors: {name: ModelTensor} in the order of the network. float_tensors: {name: tensor of the reference}, only of those.
    unpaired: {name: reason} of the other tensors. plan, config: they decide the positions that the hardware supports; None if
    unknown.
    """
    model: tf.GraphDef
    reference: tf.GraphDef
    tensors: Dict[str, ModelTensor]
    float_tensors: Dict[str, str]
    unpaired: Dict[str, str]
    plan: Optional[QuantPlan] = None
    config: Optional[QuantizeConfig] = None


def measure(pairing: Pairing, feeds: Iterable[Feed], count: int, names: Tuple[str, str], *, histograms: bool = True,
            gpu_memory_fraction: Optional[float] = None) -> Analysis:
    """The Analysis of a Pairing.

    Runs three networks on each batch, see `side_by_side`.

    Args:
      feeds: batches of {tensor name: array}; none: weights and biases only. count: their number.
      names: (model, reference) for the Analysis.
      histograms: whether to count histograms. gpu_memory_fraction: see `session_config`.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH if a network does not run; errors of `feeds`.
    """
    ops.load_library()
    model, reference = GraphView(pairing.model), GraphView(pairing.reference)
    unpaired = dict(pairing.unpaired, **_not_fetchable(pairing, model, reference))
    paired = [tensor for name, tensor in pairing.tensors.items() if name not in unpaired]
    moving = [tensor for tensor in paired if not tensor.is_static]
    static = [tensor for tensor in paired if tensor.is_static]
    sides = side_by_side(pairing.model, pairing.reference, pairing.float_tensors,
                         {tensor.name: tensor.scales for tensor in moving})
    constants = _constants(pairing, model, reference, static, sides)
    parts = (Statistics(static, constants.sides, sides.prefix + '/static', histograms),
             Statistics(moving, {name: Operands(value, name, sides.alone_of[name], value)
                                 for name, value in sides.float_of.items()}, sides.prefix + '/moving', histograms))
    graph_def = editor.subgraph(sides.graph, [*sides.graph.node, *constants.nodes, *parts[0].nodes, *parts[1].nodes])
    graph_def.library.function.extend(parts[0].functions + parts[1].functions)
    batches = _run(graph_def, parts, feeds, count, gpu_memory_fraction)
    results = {measured.tensor.name: measured for part in parts for measured in part.results()}
    unpaired.update((name, _NOT_FINITE) for name, measured in results.items() if not _is_finite(measured.sums))
    unpaired.update((tensor.name, _EMPTY if batches or tensor.is_static else _NO_DATA)
                    for tensor in paired if tensor.name not in results)
    best = _best_positions(pairing, {name: measured.errors for name, measured in results.items()})
    found = [_tensor_error(measured, _loss(measured, best[name], constants.scale_errors.get(name, 0.0)))
             for name, measured in results.items() if name not in unpaired]
    depth = tuple(tensor.name for tensor in moving if tensor.name not in unpaired)
    return Analysis(*names, batches, tuple(worst_first(found)), depth, unpaired)


def _is_finite(sums: Sums) -> bool:
    return bool(np.isfinite([sums.energy, sums.error, sums.alone_error, sums.low, sums.high]).all())


def _not_fetchable(pairing: Pairing, model: GraphView, reference: GraphView) -> Dict[str, str]:
    """{name: reason} of the paired tensors that cannot be measured."""
    (fetchable, why), (float_fetchable, why_float) = map(fetchable_tensors, (model, reference))
    own, other, found = set(fetchable), set(float_fetchable), {}
    for name, float_tensor in pairing.float_tensors.items():
        tensor = pairing.tensors[name]
        if _own_value(tensor, model) is not None and reference.value(float_tensor) is not None:
            continue  # both are constants
        if name not in own:
            found[name] = why.get(name, 'it cannot be fetched')
        elif float_tensor not in other:
            found[name] = 'the float tensor cannot be fetched: {}'.format(why_float.get(node_name(float_tensor), 'unknown'))
    return found


def _own_value(tensor: ModelTensor, model: GraphView) -> Optional[np.ndarray]:
    """The constant that the FixNeuron of a static tensor quantizes; None if it is not a constant."""
    return model.value(tensor.source) if tensor.is_static else None


class _Constants(NamedTuple):
    """The tensors that depend on no data. sides: {name: Operands}. scale_errors: {name of weights: `_scale_error`}."""
    nodes: List[tf.NodeDef]
    sides: Dict[str, Operands]
    scale_errors: Dict[str, float]


def _constants(pairing: Pairing, model: GraphView, reference: GraphView, tensors: Iterable[ModelTensor],
               sides: SideBySide) -> _Constants:
    found = _Constants([], {}, {})
    scales = {name: np.array(other.scales) for other in pairing.tensors.values() if other.scales
              for name in (other.name, other.layer)}
    for number, tensor in enumerate(tensors):
        value, stored = reference.value(pairing.float_tensors[tensor.name]), _own_value(tensor, model)
        if value is None or stored is None:
            float_tensor = sides.float_of[tensor.name]
            found.sides[tensor.name] = Operands(float_tensor, tensor.name, tensor.name, float_tensor)
            continue
        # Separate nodes, because those of the networks may be in a branch.
        names = ['{}/constants/{}/{}'.format(sides.prefix, number, name) for name in ('float', 'model', 'quantized')]
        value = _scaled(tensor, value, scales, model) if scales else value
        quantized = editor.copy(model.node(tensor.name), names[2], [names[1]])
        found.nodes.extend([editor.constant(names[0], tf.float32, value),
                            editor.constant(names[1], tf.float32, stored), quantized])
        some = stored.flat[:_COMPARED]
        is_rounded = np.array_equal(tensor.quantize(some), some)
        if tensor.role == 'weight':
            found.scale_errors[tensor.name] = _scale_error(value, stored)
        # Positions are judged by the value before rounding, which may be fitted to the layer, unless only the result is stored.
        found.sides[tensor.name] = Operands(names[0], names[2], names[2], names[0] if is_rounded else names[1])
    return found


def _scaled(tensor: ModelTensor, value: np.ndarray, scales: Mapping[str, np.ndarray], view: GraphView) -> np.ndarray:
    """Float weights or a float bias for the channel scales of the model.

    scales: {FixNeuron or layer: one scale per channel}.
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


def _run(graph_def: tf.GraphDef, parts: Tuple[Statistics, Statistics], feeds: Iterable[Feed], count: int,
         gpu_memory_fraction: Optional[float]) -> int:
    """Adds up the statistics of static and moving tensors over all batches; returns the number of batches."""
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


def _fetch(session: tf.Session, fetches: List[str], feed: Feed) -> List[np.ndarray]:
    try:
        return session.run(fetches, feed) if fetches else []
    except (tf.errors.OpError, ValueError) as error:  # ValueError: feeds of another shape
        message = str(getattr(error, 'message', error)).splitlines()[0]
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Cannot run', 'The model and its float network do not run side by side{}: {}. See that '
            'the float graph is the one that the model was made from.'.format(node_of(message), message)) from error


def _tensor_error(measured: Measured, loss: float) -> TensorError:
    tensor, sums = measured.tensor, measured.sums
    return TensorError(
        tensor.name, tensor.layer, tensor.role, tensor.bits, tensor.position, sums.low, sums.high,
        sums.saturated / sums.elements, sums.zeroed / sums.elements, decibels(sums.error, sums.energy),
        decibels(sums.alone_error, sums.energy), measured.histogram, loss)


def _best_positions(pairing: Pairing, tables: Mapping[str, np.ndarray]) -> Dict[str, int]:
    """{name: the position with the least error that the hardware supports}; tables: {name: errors at all positions [256]}."""
    best = {name: least_error(table) if table.any() else POSITION_ZERO for name, table in tables.items()}
    if pairing.plan is None or pairing.config is None:
        return best
    observed = {}
    for record in pairing.plan.tensors:
        if record.name not in pairing.tensors:
            return best
        observed[record.name] = (Observation(best[record.name], tables[record.name]) if record.name in tables
                                 else Observation(pairing.tensors[record.name].position))
    plan = pairing.plan._replace(tensors=tuple(record._replace(method=1) for record in pairing.plan.tensors))
    try:
        return dict(best, **decide(plan, observed, pairing.config))
    except errors.QuantizeError:  # no positions are within the limits
        return best


def _scale_error(value: np.ndarray, stored: np.ndarray) -> float:
    """(|c - 1| - 1/8)^2 for the c with which c * `value` is nearest to `stored`; 0 up to 1/8.

    Weights that were fitted to their layer may differ in scale within these limits.
    """
    flat, other = np.ravel(value).astype(np.float64), np.ravel(stored).astype(np.float64)
    return max(abs(np.dot(flat, other) / np.dot(flat, flat) - 1) - _FITTED, 0.0)**2 if flat.any() else 0.0


def _loss(measured: Measured, best: int, scale_error: float) -> float:
    """How many dB the error exceeds that at the best position and with the scale of the float tensor."""
    energy = measured.sums.energy
    error = measured.errors[measured.tensor.position + HISTOGRAM_ZERO] + scale_error * energy
    least = max(measured.errors[best + HISTOGRAM_ZERO], energy * 4.0**-measured.tensor.bits)
    return max(0.0, -decibels(error, least)) if error and least else 0.0
