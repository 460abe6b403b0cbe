"""The evaluation rewrite: a float evaluation graph becomes the quantized network, with positions from a checkpoint."""
from vai_q_tf.qat import distribution, graph_record, rewrite
from vai_q_tf.qat.moving_positions import MovingPositions, read_variables
from vai_q_tf.qat.norms import fold, standalone_norm


def create_evaluation_graph(graph, config):
    """Rewrites the float evaluation graph in place.

    Batch norms are folded on their moving statistics. The positions are part of what a Saver made after this call restores
    from a checkpoint of quantization-aware training; running the graph without them is an error that names the tensor.

    Returns:
      The QuantPlan that was applied.

    Raises:
      QuantizeError: before anything is changed; see `rewrite.plan_rewrite`.
    """
    return distribution.for_all_replicas(_create, graph, config)


def _create(graph, config, prefixes):
    plans, _ = rewrite.plan_rewrite(graph, config, prefixes)
    apply_evaluation_plan(graph, plans, config, distribution.rows_of_copies(plans, prefixes))
    return plans[0]


def apply_evaluation_plan(graph, plans, config, rows):
    """Rewrites the live `graph` by plans that are known already, one for each copy of the network.

    rows: {name of a quantized tensor: the name that its position is kept by}.
    """
    with graph.as_default():
        positions = MovingPositions(rows, read_variables(graph, plans[0]), plan=plans[0], config=config)
        quantize = rewrite.Quantizer(graph, plans, config, positions)
        for plan in plans:
            rewrite.apply_plan(graph, plan, quantize, lambda norm, plan=plan: fold_norm(graph, plan, norm, quantize))
        graph_record.note_evaluation(graph, plans[0])


def fold_norm(graph, plan, norm, quantize):
    """Brings a batch norm of the plan into the form that it has in the evaluation network, on its moving statistics."""
    if norm.compute:
        return fold.fold_moving(graph, norm, quantize)
    return standalone_norm.replace_by_moving(graph, norm, rewrite.quantized_data(graph, plan, norm), quantize)
