"""The evaluation rewrite: a float evaluation graph becomes the quantized network, with positions from a checkpoint."""
from vai_q_tf.qat import fold, rewrite, standalone_norm
from vai_q_tf.qat.positions import MovingPositions


def create_evaluation_graph(graph, config):
    """Rewrites the float evaluation graph in place.

    Batch norms are folded on their moving statistics. The positions are part of what a Saver made after this call restores
    from a checkpoint of quantization-aware training; running the graph without them is an error that names the tensor.

    Returns:
      The QuantPlan that was applied.

    Raises:
      QuantizeError: before anything is changed; see `rewrite.plan_rewrite`.
    """
    plan, _ = rewrite.plan_rewrite(graph, config)
    apply_evaluation_plan(graph, plan, config)
    return plan


def apply_evaluation_plan(graph, plan, config):
    """Rewrites the live `graph` by a plan that is known already."""
    with graph.as_default():
        positions = MovingPositions([record.name for record in plan.tensors])
        quantize = rewrite.Quantizer(graph, plan, config, positions)
        rewrite.apply_plan(graph, plan, quantize, lambda norm: fold_norm(graph, plan, norm, quantize),
                           rewrite.EVALUATION_PLAN)


def fold_norm(graph, plan, norm, quantize):
    """Brings a batch norm of the plan into the form that it has in the evaluation network, on its moving statistics."""
    if norm.compute:
        return fold.fold_moving(graph, norm, quantize)
    return standalone_norm.replace_by_moving(graph, norm, rewrite.quantized_data(graph, plan, norm), quantize)
