"""analyze_networks: the Analysis of a model that was just made, for routes that have it and its float network in memory."""
from vai_q_tf.analysis.measure import measure
from vai_q_tf.analysis.pairs import pair_by_plan


def analyze_networks(float_graph, model, plan, config, feeds, *, names=('the quantized model', 'the float network'),
                     histograms=True, gpu_memory_fraction=None):
    """The Analysis of a model, tensor by tensor, worst first.

    It runs the float network, the model, and the model with each layer alone, on each batch once.

    Args:
      float_graph: the GraphDef that was annotated, after the passes, see `runnable`.
      model: the GraphDef that `finalize` made of it, or what came of that in later steps, see `runnable`.
      plan: the QuantPlan. A FixNeuron of the model that it does not have is `unpaired`.
      config: the QuantizeConfig, which tells what positions the hardware takes.
      feeds: list of {tensor name: array}, one a batch; an empty one: weights and biases only.
      names: (model, reference) for the Analysis, such as the paths of the files.
      histograms: whether there are any in it; they take a third of the time.
      gpu_memory_fraction: see `session_config`.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH where the networks do not run side by side.
    """
    return measure(pair_by_plan(float_graph, model, plan, config), feeds, len(feeds), names, histograms=histograms,
                   gpu_memory_fraction=gpu_memory_fraction)
