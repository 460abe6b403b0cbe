"""The report next to the files of a checkpoint of quantization-aware training."""
import os
from typing import Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.analysis.analyze import analyze
from vai_q_tf.frozen.load import load_graph
from vai_q_tf.html_report.contents import ReportContents
from vai_q_tf.html_report.page import report_or_log
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.qat.deploy import FrozenFiles
from vai_q_tf.qat.reading.history import read_history
from vai_q_tf.qat.reading.losses import read_losses

NAME = 'quantize_report_{}.html'


def report_training(written: FrozenFiles, network: Tuple[tf.GraphDef, QuantPlan], checkpoint: str, history_dir: str) -> None:
    """Writes the report of FrozenFiles next to them; an error is logged.

    Args:
      written: the FrozenFiles.
      network: (the float GraphDef of the plan, the QuantPlan).
      checkpoint: prefix of the checkpoint, in whose directory the event files are.
      history_dir: directory of the history of positions; if it has none, that of the checkpoint.
    """
    directory, model = os.path.split(written.eval_model)
    suffix = model[len('quantize_eval_model_'):-len('.pb')]
    report_or_log(directory, NAME.format(suffix), lambda: _contents(written, network, checkpoint, history_dir, suffix))


def _contents(written: FrozenFiles, network: Tuple[tf.GraphDef, QuantPlan], checkpoint: str, history_dir: str,
              suffix: str) -> ReportContents:
    float_graph, plan = network
    training = os.path.dirname(checkpoint)
    step, averaged = suffix.rpartition('_')[0], suffix.startswith('averaged_')
    step = step[len('averaged_'):] if averaged else step  # or the name of a checkpoint that has no step
    return ReportContents(
        'Quantized model of step {}{}'.format(step, ', averaged weights' if averaged else ''),
        load_graph(written.eval_model, with_shapes=True), plan, float_graph, analysis=analyze(written.eval_model),
        history=read_history(history_dir) or read_history(training), losses=read_losses(training),
        files=(('model', written.eval_model), ('evaluation graph', written.eval_graph), ('checkpoint', checkpoint)),
        step=int(step) if step.isdigit() else 0)
