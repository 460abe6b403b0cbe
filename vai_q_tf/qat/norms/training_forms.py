"""Gives each batch norm of a training graph its training form, which depends on how the optimised graph computes it."""
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.folding.fold_batch_norms import Fold, fold_of
from vai_q_tf.patterns.batch_norm import TrainingNorm
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.qat.live.live_network import LiveNetwork, Reroute
from vai_q_tf.qat.norms import folded_norm, standalone_norm, statistics


class TrainingForm(NamedTuple):
    """The training form of a batch norm.

    add: adds its ops.
    quantizes: names of the quantized tensors that `add` creates.
    """
    add: Callable[[], List[Reroute]]
    quantizes: Tuple[str, ...] = ()


def on_moving_averages(network: LiveNetwork, graph_range: GraphRange,
                       use_batch: Optional[tf.Tensor] = None) -> Dict[str, TrainingForm]:
    """{node of the optimised graph at which it is added: TrainingForm} of batch norms that normalise as at inference.

    Only their moving averages are still fed by a float convolution.

    Args:
      network: the LiveNetwork. graph_range: the GraphRange of the live float graph.
      use_batch: scalar bool tensor, whether the moving averages still change; None: always.
    """
    forms = {}
    for norm in network.form.norms:
        place = node_name(network.place_of(node_name(norm.output)) or '')
        if place:
            forms[place] = _evaluation_form(network, graph_range, norm, place, use_batch)
    return forms


def on_batch(network: LiveNetwork, graph_range: GraphRange, use_batch: Optional[tf.Tensor] = None) -> Dict[str, TrainingForm]:
    """{node of the optimised graph at which it is added: TrainingForm} of batch norms that normalise with batch statistics.

    Args:
      network: the LiveNetwork. graph_range: the GraphRange of the live float graph.
      use_batch: scalar bool tensor, false once the moving averages are to be used; None: never.
    """
    norms = {node_name(norm.output): norm for norm in network.form.norms}
    forms: Dict[str, TrainingForm] = {}
    folded: Set[str] = set()
    for product in network.view.names:
        fold = fold_of(network.view.node(product))
        inside = [norms[node] for node in fold.nodes if node in norms] if fold else []
        if fold and inside:
            folded.update(norm.output for norm in inside)
            forms[product] = _folded_form(network, graph_range, product, fold, inside, use_batch)
    for node, norm in norms.items():
        if norm.output in folded:
            continue
        if standalone_norm.is_in_parts(network, norm):
            forms[node] = _evaluation_form(network, graph_range, norm, node, use_batch)
        else:
            forms[node] = _standalone_form(network, graph_range, norm, use_batch)
    return forms


def _folded_form(network: LiveNetwork, graph_range: GraphRange, product: str, fold: Fold, norms: Sequence[TrainingNorm],
                 use_batch: Optional[tf.Tensor]) -> TrainingForm:
    def add() -> List[Reroute]:
        reroutes = folded_norm.add_on_batch(network, product, fold, norms, use_batch)
        return reroutes + [held for norm in norms for held in _hold(network, norm, graph_range, reroutes, use_batch)]
    return TrainingForm(add, folded_norm.quantizes(network, product))


def _standalone_form(network: LiveNetwork, graph_range: GraphRange, norm: TrainingNorm,
                     use_batch: Optional[tf.Tensor]) -> TrainingForm:
    def add() -> List[Reroute]:
        reroutes = standalone_norm.add_on_batch(network, norm, graph_range, use_batch)
        return reroutes + _hold(network, norm, graph_range, reroutes, use_batch)
    return TrainingForm(add, standalone_norm.quantizes(network, norm))


def _hold(network: LiveNetwork, norm: TrainingNorm, graph_range: GraphRange, reroutes: Sequence[Reroute],
          use_batch: Optional[tf.Tensor]) -> List[Reroute]:
    # A fused norm that reads the folded offset computes its statistics after reading it.
    is_after_folding = bool(norm.node) and any(
        node == network.live_name(norm.node) for readers, _ in reroutes for node, _ in readers)
    return statistics.hold_moving_averages(network, norm, graph_range, is_after_folding, use_batch)


def _evaluation_form(network: LiveNetwork, graph_range: GraphRange, norm: TrainingNorm, place: str,
                     use_batch: Optional[tf.Tensor]) -> TrainingForm:
    """The result waits for the updates of moving averages that ops of the norm wait for, as those ops are not in it."""
    def add() -> List[Reroute]:
        reroutes = statistics.hold_moving_averages(network, norm, graph_range, False, use_batch)
        updates = statistics.awaited(network, norm)
        if updates:
            value = network.value(place)
            with live_editor.with_placement_of(network.graph, value, grouped=True), tf.control_dependencies(updates):
                network.results[place] = tf.identity(value)
        return reroutes
    return TrainingForm(add)
