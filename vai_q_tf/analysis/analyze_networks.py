"""The Analysis of a model that was just made, for callers that hold it and its float network in memory."""
from typing import Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.analysis.measure import measure
from vai_q_tf.analysis.pairs import pair_by_plan
from vai_q_tf.analysis.results import Analysis
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.types import Feed


def analyze_networks(float_graph: tf.GraphDef, model: tf.GraphDef, plan: QuantPlan, config: QuantizeConfig,
                     feeds: Sequence[Feed], *, names: Tuple[str, str] = ('the quantized model', 'the float network'),
                     histograms: bool = True, gpu_memory_fraction: Optional[float] = None) -> Analysis:
    """The Analysis of a model, tensor by tensor, worst first.

    Runs the float network, the model, and the model with each layer alone, once on each batch.

    Args:
      float_graph: the annotated GraphDef, after the passes; runnable.
      model: the GraphDef that `finalize` made of it, perhaps with later changes; runnable.
      plan: the QuantPlan. FixNeurons of the model that are not in it are `unpaired`.
      config: the QuantizeConfig, which decides the positions that the hardware supports.
      feeds: batches of {tensor name: array}; none: weights and biases only.
      names: (model, reference) for the Analysis, such as paths.
      histograms: whether to count histograms, a third of the time.
      gpu_memory_fraction: see `session_config`.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH if the networks do not run side by side.
    """
    return measure(pair_by_plan(float_graph, model, plan, config), feeds, len(feeds), names, histograms=histograms,
                   gpu_memory_fraction=gpu_memory_fraction)
