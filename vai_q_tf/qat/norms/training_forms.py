"""Gives the batch norms of a training graph their training form, each by what became of it in the optimised graph."""
from vai_q_tf.passes.folding.fold_batch_norms import fold_of
from vai_q_tf.qat.norms import folded_norm, standalone_norm, statistics


def training_forms(network, quantizer, graph_range, on_batch, use_batch=None):
    """Gives all batch norms of a LiveNetwork that use the statistics of the batch their training form.

    Args:
      on_batch: whether they go on normalising with them; else they become what they are in the evaluation network, and only
        their moving averages are fed by a float convolution that stays.
      use_batch: scalar bool tensor, false once the moving statistics are to be used; None: never.

    Returns:
      [(inputs to re-point, tf.Tensor)].
    """
    inputs, folded = [], set()
    norms = statistics.names_of_norms(network.form.norms)
    if on_batch:
        for name in network.view.names:
            fold = fold_of(network.view.node(name))
            inside = [norms[node] for node in fold.nodes if node in norms] if fold else ()
            if inside:
                folded.update(norm.output for norm in inside)
                inputs += folded_norm.on_batch(network, quantizer, name, fold, inside, use_batch)
        for norm in network.form.norms:
            if norm.output not in folded:
                inputs += standalone_norm.on_batch(network, quantizer, norm, graph_range, use_batch)
    else:
        for record in network.plan.tensors:
            network.quantized(record)  # makes what reads the moving averages
    early = {node for node, _ in (one for readers, _ in inputs for one in readers)}
    for norm in network.form.norms:
        waits = on_batch and bool(norm.node) and network.live_name(norm.node) in early
        inputs += statistics.hold_moving_averages(network, norm, graph_range, waits, use_batch if on_batch else None)
    return inputs
