"""The float network of a model, from the float file: the passes, with the settings that fit the model."""
from typing import Callable, Container, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, passes
from vai_q_tf.analysis.measure import Pairing
from vai_q_tf.analysis.model_tensors import ModelTensor
from vai_q_tf.analysis.pairs import pair_by_names, pair_with_itself, with_plan
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.decibels import decibels
from vai_q_tf.export import finalize
from vai_q_tf.frozen.load import runnable
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.folding.equalize_layers import equalize_layers, equalize_weights
from vai_q_tf.plan.annotate import annotate

# A weight tensor with fewer dB counts as one of another network.
_OTHER = 12.0


# The pass that equalizes layers.
EqualizePass = Callable[[tf.GraphDef, FrozenSet[str], QuantizeConfig], tf.GraphDef]
# (input nodes, output nodes)
Range = Tuple[List[str], List[str]]


class _Settings(NamedTuple):
    """How a float graph was optimised."""
    config: QuantizeConfig
    fold_constant: bool = True
    equalize: EqualizePass = equalize_layers


def find_pairing(float_graph: tf.GraphDef, model: tf.GraphDef, config: QuantizeConfig) -> Pairing:
    """The Pairing of a model with a float GraphDef, optimised with the settings that match the most tensors.

    The settings of the config come first. If they leave tensors unpaired or weights unlike, settings that change names or
    weights are tried one by one.

    Raises:
      QuantizeError: errors of `optimise` for the config; INVALID_INPUT if no tensor is paired.
    """
    best = _Trial(float_graph, model, _Settings(config))
    for change in _CHANGES if best.faults else ():
        settings = change(best.settings)
        if settings == best.settings:
            continue
        try:
            trial = _Trial(float_graph, model, settings)
        except errors.QuantizeError:
            continue
        if trial.faults < best.faults:
            best = trial
    if not best.pairing.float_tensors:
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Not its float graph', 'No tensor of the model has a float tensor of its name in the float '
            'graph; give the float graph that the model was made from, and the options that it was made with.')
    return best.pairing


class _Trial:
    """A Pairing, with the number of tensors that do not fit."""

    def __init__(self, float_graph: tf.GraphDef, model: tf.GraphDef, settings: _Settings) -> None:
        self.settings = settings
        graph = passes.optimise(float_graph, settings.config, settings.fold_constant, settings.equalize)
        graph = runnable(finalize.narrow_input_shapes(graph, settings.config))
        self.pairing = _planned(pair_by_names(graph, model), settings.config)
        self.faults = len(self.pairing.unpaired) + _count_unlike(self.pairing)


def _count_unlike(pairing: Pairing) -> int:
    """The number of weight tensors of the model that differ from those of the float network."""
    model, reference, count = GraphView(pairing.model), GraphView(pairing.reference), 0
    for name, tensor in pairing.float_tensors.items():
        own, value = model.value(pairing.tensors[name].source), reference.value(tensor)
        if pairing.tensors[name].role == 'weight' and own is not None and value is not None:
            count += decibels(np.square(value - own, dtype=np.float64).sum(), np.square(value, dtype=np.float64).sum()) < _OTHER
    return count


_Change = Callable[[_Settings], _Settings]


def _with_config(**fields: int) -> _Change:
    return lambda settings: settings._replace(config=settings.config.replace(**fields))


def _toggled(field: str) -> _Change:
    return lambda settings: _with_config(**{field: 1 - getattr(settings.config, field)})(settings)


def _equalized_by(equalize: EqualizePass) -> _Change:
    return lambda settings: _with_config(do_cle=1)(settings._replace(equalize=equalize))


_CHANGES = (
    _toggled('simulate_dpu'), _toggled('replace_sigmoid'), _toggled('replace_softmax'), _toggled('fold_reshape'),
    _toggled('scale_all_avgpool'), lambda settings: settings._replace(fold_constant=not settings.fold_constant),
    _equalized_by(equalize_weights), _equalized_by(equalize_layers), _with_config(do_cle=0), _toggled('replace_relu6'))


def pair_without(model: tf.GraphDef, config: QuantizeConfig) -> Pairing:
    """The Pairing of a model with itself without its FixNeurons.

    config: if it names no range, the range is that of the FixNeurons.
    """
    pairing = pair_with_itself(model)
    ranges = find_range(pairing.reference, model, pairing.tensors)
    if ranges and not (config.input_nodes and config.output_nodes):
        config = config.replace(input_nodes=ranges[0][0], output_nodes=ranges[0][1], input_shapes=[])
    return _planned(pairing, config)


def _planned(pairing: Pairing, config: QuantizeConfig) -> Pairing:
    """The Pairing with the plan of its reference, if that can be annotated."""
    try:
        return with_plan(pairing, annotate(GraphView(pairing.reference), config), config)
    except errors.QuantizeError:
        return pairing


def find_range(float_graph: tf.GraphDef, model: tf.GraphDef, tensors: Mapping[str, ModelTensor]) -> List[Range]:
    """The ranges that the model may have been made with, the likeliest first.

    Inputs are those of the first FixNeurons. Outputs are those of the last FixNeurons, or else the ends of the model.
    """
    view, names = GraphView(model), {node.name for node in float_graph.node}
    inputs = _input_nodes(view, names, tensors)
    found: List[Range] = []
    for outputs in (_last_quantized(view, names, tensors), _ends(view, names)):
        chosen = list(dict.fromkeys(inputs)), list(dict.fromkeys(outputs))
        if all(chosen) and chosen not in found:
            found.append(chosen)
    return found


def _input_nodes(view: GraphView, names: Container[str], tensors: Mapping[str, ModelTensor]) -> List[str]:
    """The nodes of the quantized inputs, or the placeholders if there are none; [] if one has no node in the float graph."""
    inputs = [_nearest(view, tensor.source, names, _producers) for tensor in tensors.values() if tensor.role == 'input']
    inputs = inputs or [name for name in view.names if view.op(name) == 'Placeholder' and name in names]
    return [name for name in inputs if name] if None not in inputs else []


def _last_quantized(view: GraphView, names: Container[str], tensors: Mapping[str, ModelTensor]) -> List[str]:
    """The nodes of the last FixNeurons, upstream of them if possible, else downstream."""
    moving = [name for name, tensor in tensors.items() if not tensor.is_static]
    before = {node_name(operand) for name in view.upstream(
        [node_name(operand) for name in moving for operand in view.inputs(name)]) for operand in view.inputs(name)}
    nearest = (_nearest(view, tensors[name].source, names, _producers) if node_name(tensors[name].source) in names
               else _nearest(view, name, names, _readers) for name in moving if name not in before)
    return [name for name in nearest if name]


def _ends(view: GraphView, names: Container[str]) -> List[str]:
    """The nodes that nothing reads."""
    return [name for name in view.names if name in names and not any(
        view.consumers(tensor) for tensor in _outputs(view, name)) and view.op(name) not in ('Const', 'NoOp')]


def _outputs(view: GraphView, name: str) -> List[str]:
    return [name] + ['{}:{}'.format(name, index) for index in range(1, len(view.output_types(name)))]


def _producers(view: GraphView, name: str) -> List[str]:
    return [node_name(tensor) for tensor in view.inputs(name)]


def _readers(view: GraphView, name: str) -> List[str]:
    return [reader for tensor in _outputs(view, name) for reader, _ in view.consumers(tensor)]


def _nearest(view: GraphView, tensor: str, names: Container[str],
             following: Callable[[GraphView, str], Iterable[str]]) -> Optional[str]:
    """The first node of `names` from the node of a tensor on; None if there is none."""
    waiting, seen = [node_name(tensor)], set()
    while waiting:
        name = waiting.pop(0)
        if name in names:
            return name
        if name not in seen:
            seen.add(name)
            waiting.extend(following(view, name))
    return None
