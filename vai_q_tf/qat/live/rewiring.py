"""What in a live graph has to read other tensors, once the ops of the optimised network are there."""
from typing import Dict, List, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import normalise
from vai_q_tf.passes.common.parameters import static_nodes


class Rewiring(NamedTuple):
    """inputs: [((live node, input index) of each input that is to be re-pointed, the tf.Tensor that it is to read)].

    replaced: {name of a tf.Tensor of the float graph: the tf.Tensor that is read in its place}.
    """
    inputs: List[Tuple[List[Tuple[str, int]], tf.Tensor]]
    replaced: Dict[str, tf.Tensor]


def find_rewiring(network, graph_range):
    """The Rewiring of the live graph to a LiveNetwork, whose ops are made on the way.

    All that reads a tensor of the float network, inside and outside of the range, reads what has its place, quantized if it is.
    What goes on with the unquantized tensor, such as the addition of a bias, is left alone.

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


def _tensors(network):
    """The computed tensors of the float network that the live graph computes, in graph order."""
    clean = network.clean
    static = static_nodes(clean, in_branches=True)
    norms = {normalise(norm.output) for norm in network.form.norms}
    for name in clean.names:
        if name not in static and (name not in network.form.changed or name in norms):
            for index in range(len(clean.output_types(name)) or 1):
                tensor = '{}:{}'.format(name, index) if index else name
                if clean.consumers(tensor) or (not index and name in network.plan.output_nodes):
                    yield tensor


def _rewire(network, graph_range, tensor, default, rewiring):
    live = network.live(tensor)
    name = normalise(live.name)
    apart = {}  # live node -> what it reads instead
    for reader, index in network.clean.consumers(tensor):
        if reader in network.kept and network.read(reader, index) is not default:
            apart[network.live_name(reader)] = network.read(reader, index)
    if default is not live:
        rewiring.inputs.append((graph_range.consumers(name, apart), default))
        if tensor not in network.plan.input_nodes:  # what a program feeds, or builds on, is what goes in
            rewiring.replaced[live.name] = default
    for value in {id(value): value for value in apart.values() if value is not live}.values():
        others = [reader for reader, _ in graph_range.readers(name) if apart.get(reader) is not value]
        wanted = [(reader, index) for reader, index in graph_range.consumers(name, others)]
        rewiring.inputs.append((wanted, value))


