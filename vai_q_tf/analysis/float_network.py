"""From a float file to the float network that a model was made of: the passes, with the settings that fit the model."""
from typing import NamedTuple

import numpy as np

from vai_q_tf import errors, passes
from vai_q_tf.analysis.measure import Pairing
from vai_q_tf.analysis.pairs import pair_by_names, pair_with_itself, with_plan
from vai_q_tf.decibels import decibels
from vai_q_tf.export import finalize
from vai_q_tf.frozen.load import runnable
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.folding.equalize_layers import equalize_layers, equalize_weights
from vai_q_tf.plan.annotate import annotate

# A weight tensor with fewer dB is taken not to be that of the float network.
_OTHER = 12.0


class _Settings(NamedTuple):
    """How a float graph was optimised."""
    config: object
    fold_constant: bool = True
    equalize: object = equalize_layers


def find_pairing(float_graph, model, config) -> Pairing:
    """The Pairing of a model with a float GraphDef, optimised by those settings with which the most tensors are alike.

    First as the config says; only where that leaves tensors without a partner, or weights unlike, with other settings, one
    after another, that change names or weights.

    Raises:
      QuantizeError: what `optimise` raises for the config; INVALID_INPUT where no tensor has a partner.
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
    """A Pairing with how many tensors do not fit."""

    def __init__(self, float_graph, model, settings):
        self.settings = settings
        graph = passes.optimise(float_graph, settings.config, settings.fold_constant, settings.equalize)
        graph = runnable(finalize.narrow_input_shapes(graph, settings.config))
        self.pairing = _planned(pair_by_names(graph, model), settings.config)
        self.faults = len(self.pairing.unpaired) + _count_unlike(self.pairing)


def _count_unlike(pairing):
    """How many weight tensors of the model are not those of the float network."""
    model, reference, count = GraphView(pairing.model), GraphView(pairing.reference), 0
    for name, tensor in pairing.float_tensors.items():
        own, value = model.value(pairing.tensors[name].source), reference.value(tensor)
        if pairing.tensors[name].role == 'weight' and own is not None and value is not None:
            count += decibels(np.square(value - own, dtype=np.float64).sum(), np.square(value, dtype=np.float64).sum()) < _OTHER
    return count


def _toggled(field):
    return lambda settings: settings._replace(config=settings.config.replace(**{field: 1 - getattr(settings.config, field)}))


_CHANGES = (
    _toggled('simulate_dpu'), _toggled('replace_sigmoid'), _toggled('replace_softmax'), _toggled('fold_reshape'),
    _toggled('scale_all_avgpool'), lambda settings: settings._replace(fold_constant=not settings.fold_constant),
    lambda settings: settings._replace(equalize=equalize_weights, config=settings.config.replace(do_cle=1)),
    lambda settings: settings._replace(equalize=equalize_layers, config=settings.config.replace(do_cle=1)),
    lambda settings: settings._replace(config=settings.config.replace(do_cle=0)), _toggled('replace_relu6'))


def pair_without(model, config):
    """The Pairing of a model with itself without its FixNeurons.

    config: a QuantizeConfig; where it names no range, the model tells.
    """
    pairing = pair_with_itself(model)
    ranges = find_range(pairing.reference, model, pairing.tensors)
    if ranges and not (config.input_nodes and config.output_nodes):
        config = config.replace(input_nodes=ranges[0][0], output_nodes=ranges[0][1], input_shapes=[])
    return _planned(pairing, config)


def _planned(pairing, config):
    """The Pairing with the plan of its reference, if that has one."""
    try:
        return with_plan(pairing, annotate(GraphView(pairing.reference), config), config)
    except errors.QuantizeError:
        return pairing


def find_range(float_graph, model, tensors):
    """[(input nodes, output nodes)] that the model may have been made with, the likeliest first.

    Inputs are what the first FixNeurons read, outputs what the last ones read; or else the ends of the model.

    Args:
      float_graph, model: GraphDefs. tensors: {name: ModelTensor}.
    """
    view, names = GraphView(model), {node.name for node in float_graph.node}
    inputs = [_nearest(view, tensor.source, names, _producers) for tensor in tensors.values() if tensor.role == 'input']
    inputs = inputs or [name for name in view.names if view.op(name) == 'Placeholder' and name in names]
    moving = [name for name, tensor in tensors.items() if not tensor.is_static]
    before = {node_name(operand) for name in view.upstream(
        [node_name(operand) for name in moving for operand in view.inputs(name)]) for operand in view.inputs(name)}
    last = [name for name in moving if name not in before]
    outputs = [_nearest(view, tensors[name].source, names, _producers) if node_name(tensors[name].source) in names
               else _nearest(view, name, names, _readers) for name in last]
    ends = [name for name in view.names if name in names and not any(
        view.consumers(tensor) for tensor in _outputs(view, name)) and view.op(name) not in ('Const', 'NoOp')]
    found = []
    for ending in (outputs, ends):
        chosen = list(dict.fromkeys(inputs)), list(dict.fromkeys(filter(None, ending)))
        if all(chosen) and None not in chosen[0] and chosen not in found:
            found.append(chosen)
    return found


def _outputs(view, name):
    return [name] + ['{}:{}'.format(name, index) for index in range(1, len(view.output_types(name)))]


def _producers(view, name):
    return [node_name(tensor) for tensor in view.inputs(name)]


def _readers(view, name):
    return [reader for tensor in _outputs(view, name) for reader, _ in view.consumers(tensor)]


def _nearest(view, tensor, names, following):
    """The first node of `names` from the node of a tensor on; None where there is none."""
    waiting, seen = [node_name(tensor)], set()
    while waiting:
        name = waiting.pop(0)
        if name in names:
            return name
        if name not in seen:
            seen.add(name)
            waiting.extend(following(view, name))
    return None
