"""Inputs of a live graph that have to read other tensors, once the ops of the optimised network are there.

Tests: tests/qat/live/test_live_network.py.
"""
from typing import Dict, Iterator, List, NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import normalise
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.qat.live.live_network import LiveNetwork, Reroute


class Rewiring(NamedTuple):
    """The Reroutes to a network, and {name of a tf.Tensor of the float graph: the tf.Tensor that is read instead}."""
    reroutes: List[Reroute]
    replaced: Dict[str, tf.Tensor]


def find_rewiring(network: LiveNetwork, graph_range: GraphRange) -> Rewiring:
    """The Rewiring of the live graph to a LiveNetwork; adds the ops of the network that do not exist yet.

    All readers of a tensor of the float network, inside and outside the range, read the tensor that replaces it, quantized if
    that is. Readers that need the unquantized tensor, such as the addition of a bias, are not rerouted.

    graph_range: the GraphRange of the live float graph.
    """
    rewiring = Rewiring([], {})
    records = {record.tensor: record for record in network.plan.tensors if not network.is_static(record.tensor)}
    for tensor in _tensors(network):
        place = network.place_of(tensor)
        if place is None or network.is_static(place):
            continue
        default = network.quantized(records[place]) if place in records else network.value(place)
        _rewire(network, graph_range, tensor, default, rewiring)
    return rewiring


def _tensors(network: LiveNetwork) -> Iterator[str]:
    """The tensors of the float network, parameters aside, that the live graph computes, in graph order."""
    clean = network.clean
    static = static_nodes(clean, in_branches=True)
    norms = {normalise(norm.output) for norm in network.form.norms}
    for name in clean.names:
        if name not in static and (name not in network.form.changed or name in norms):
            for index in range(len(clean.output_types(name)) or 1):
                tensor = '{}:{}'.format(name, index) if index else name
                if clean.consumers(tensor) or (not index and name in network.plan.output_nodes):
                    yield tensor


def _rewire(network: LiveNetwork, graph_range: GraphRange, tensor: str, default: tf.Tensor, rewiring: Rewiring) -> None:
    """Adds the Reroutes of the readers of one tensor; most of them read `default` instead."""
    live = network.live(tensor)
    name = normalise(live.name)
    exceptions = {}  # live node -> the tensor that it reads instead of `default`
    for reader, index in network.clean.consumers(tensor):
        if reader in network.kept and network.read(reader, index) is not default:
            exceptions[network.live_name(reader)] = network.read(reader, index)
    if default is not live:
        rewiring.reroutes.append(Reroute(graph_range.consumers(name, exceptions), default))
        if tensor not in network.plan.input_nodes:  # a program that feeds an input or builds on it wants the float tensor
            rewiring.replaced[live.name] = default
    for value in {id(value): value for value in exceptions.values() if value is not live}.values():
        others = [reader for reader, _ in graph_range.readers(name) if exceptions.get(reader) is not value]
        rewiring.reroutes.append(Reroute(graph_range.consumers(name, others), value))
