"""The contents of a report."""
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.analysis.results import Analysis
from vai_q_tf.html_report.outside import Ends
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.summary.results import QuantizeSummary

# (step, loss) of a training.
Points = Sequence[Tuple[int, float]]


class ReportContents(NamedTuple):
    """What a report shows; sections without content are left out.

    title: of the page. model: the quantized GraphDef. plan: its QuantPlan; None: the FixNeurons of the model say what is
    quantized. float_graph: the annotated GraphDef. history: (step, name of a tensor, position), see `PositionChange`.
    losses: {tag: ((step, loss), ...)}. files: (description, path), if there is no summary.
    ends, reasons: the input and output nodes, and {op: why it stays float} by the float graph, if there is no plan; None if
    unknown. step: last step of the training.
    """
    title: str
    model: tf.GraphDef
    plan: Optional[QuantPlan] = None
    float_graph: Optional[tf.GraphDef] = None
    summary: Optional[QuantizeSummary] = None
    analysis: Optional[Analysis] = None
    history: Sequence[Tuple[int, str, int]] = ()
    losses: Dict[str, Points] = {}
    files: Tuple[Tuple[str, str], ...] = ()
    ends: Optional[Ends] = None
    reasons: Optional[Dict[str, str]] = None
    step: int = 0
