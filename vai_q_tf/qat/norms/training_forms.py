"""Gives the batch norms of a training graph their training form, each by what became of it in the optimised graph."""
from typing import Callable, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.folding.fold_batch_norms import fold_of
from vai_q_tf.qat.norms import folded_norm, standalone_norm, statistics


class TrainingForm(NamedTuple):
    """make: function that makes the ops, and returns [(inputs to re-point, tf.Tensor)].

    quantizes: names of the quantized tensors that it makes itself.
    """
    make: Callable
    quantizes: Tuple[str, ...] = ()


def training_forms(network, graph_range, on_batch, use_batch=None):
    """{node of the optimised graph where it is to be made: TrainingForm} of the batch norms that use batch statistics.

    Args:
      network: the LiveNetwork. graph_range: the GraphRange of the live float graph.
      on_batch: whether they go on normalising with them; else they become what they are in the evaluation network, and only
        their moving averages are fed by a float convolution that stays.
      use_batch: scalar bool tensor, false once the moving statistics are to be used; None: never.
    """
    norms = {node_name(norm.output): norm for norm in network.form.norms}
    if not on_batch:
        return {node: _evaluation_form(network, graph_range, norm, node, use_batch)
                for node, norm in zip(map(_place(network), norms), norms.values()) if node}
    forms, folded = {}, set()
    for product in network.view.names:
        fold = fold_of(network.view.node(product))
        inside = [norms[node] for node in fold.nodes if node in norms] if fold else []
        if inside:
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


def _place(network):
    return lambda node: node_name(network.place_of(node) or '')


def _folded_form(network, graph_range, product, fold, norms, use_batch):
    def make():
        inputs = folded_norm.on_batch(network, product, fold, norms, use_batch)
        return sum([_held(network, norm, graph_range, inputs, True, use_batch) for norm in norms], inputs)
    return TrainingForm(make, folded_norm.quantizes(network, product))


def _standalone_form(network, graph_range, norm, use_batch):
    def make():
        inputs = standalone_norm.on_batch(network, norm, graph_range, use_batch)
        return inputs + _held(network, norm, graph_range, inputs, True, use_batch)
    return TrainingForm(make, standalone_norm.quantizes(network, norm))


def _evaluation_form(network, graph_range, norm, place, use_batch):
    """What waits for updates of moving averages within the norm is not in the evaluation form, so the result waits for them."""
    def make():
        inputs = _held(network, norm, graph_range, [], use_batch=use_batch)
        updates = statistics.awaited(network, norm)
        if updates:
            value = network.value(place)
            with live_editor.with_placement_of(network.graph, value, grouped=True), tf.control_dependencies(updates):
                network.results[place] = tf.identity(value)
        return inputs
    return TrainingForm(make)


def _held(network, norm, graph_range, inputs, on_batch=False, use_batch=None):
    # The statistics of a fused one that reads the folded offset are made after all that it reads.
    early = on_batch and bool(norm.node) and any(
        node == network.live_name(norm.node) for readers, _ in inputs for node, _ in readers)
    return statistics.hold_moving_averages(network, norm, graph_range, early, use_batch)
