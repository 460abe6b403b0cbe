"""What a report is made of."""
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.analysis.results import Analysis
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.summary.results import QuantizeSummary


class ReportContents(NamedTuple):
    """What a report shows; a section appears where there is something to say.

    title: of the page. model: the quantized GraphDef. plan: what made it; without it, what is quantized is told by the
    FixNeurons of the model. float_graph: the GraphDef that the plan is about. history: (step, name of a tensor, position) from
    step to step, as `PositionChange`. losses: {tag: ((step, loss), ...)}. files: (what it is, path) where there is no summary.
    reasons: {op: why it stays float} where there is no plan. step: up to which the model was trained.
    """
    title: str
    model: tf.GraphDef
    plan: Optional[QuantPlan] = None
    float_graph: Optional[tf.GraphDef] = None
    summary: Optional[QuantizeSummary] = None
    analysis: Optional[Analysis] = None
    history: Sequence[Tuple[int, str, int]] = ()
    losses: Dict[str, Sequence[Tuple[int, float]]] = {}
    files: Tuple[Tuple[str, str], ...] = ()
    reasons: Dict[str, str] = {}
    step: int = 0
