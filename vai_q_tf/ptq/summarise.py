"""The summary of a quantization: on stderr, in its file, and as a QuantizeSummary."""
import functools
import os
import sys
from typing import Iterator, Optional, Sequence, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files
from vai_q_tf.analysis.analyze_networks import analyze_networks
from vai_q_tf.analysis.results import Analysis
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.write_file import CONFIG_FILE
from vai_q_tf.coverage.summary import coverage
from vai_q_tf.frozen.load import Path, runnable
from vai_q_tf.frozen.run_config import import_name
from vai_q_tf.graph.view import GraphView
from vai_q_tf.html_report.contents import ReportContents
from vai_q_tf.html_report.page import REPORT_FILE, report_or_log
from vai_q_tf.lint.lint import Finding
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor
from vai_q_tf.ptq.effort.improve import Improved, Network
from vai_q_tf.summary.data_checks import clipped_weights, input_warnings, odd_positions
from vai_q_tf.summary.next_steps import next_steps
from vai_q_tf.summary.results import AidSummary, InputSummary, QuantizeSummary
from vai_q_tf.summary.text import MOST_WORST, SUMMARY_FILE, to_json, to_text
from vai_q_tf.terminal.colours import coloured
from vai_q_tf.terminal.verbosity import note
from vai_q_tf.types import Feed, InputFn

_EXAMPLES = 4


def warn_of_inputs(improved: Improved, plan: QuantPlan) -> None:
    """Logs warnings about suspicious calibration data."""
    for record in plan.tensors:
        if record.name in improved.inputs:
            for text in input_warnings(_input_summary(improved, record), improved.inputs[record.name].deviations):
                tf.logging.warning('%s', text)


def _input_summary(improved: Improved, record: QuantTensor) -> InputSummary:
    found, position = improved.inputs[record.name], improved.positions[record.name]
    return InputSummary(record.tensor, found.low, found.high, record.bits, position, found.saturated(position))


def summarise(improved: Improved, network: Network, findings: Sequence[Finding], differences: Sequence[Finding],
              warnings: Sequence[str], analysis: Optional[Analysis]) -> QuantizeSummary:
    """The QuantizeSummary without files and next steps.

    network: the Network that was chosen. findings, differences: of `lint`. warnings: logged messages.
    """
    plan = network.plan
    inputs = tuple(_input_summary(improved, record) for record in plan.tensors if record.name in improved.inputs)
    warnings = [*dict.fromkeys(warnings), *filter(None, _position_warnings(improved, network))]
    # Fitted constants differ from the float ones on purpose.
    fitted = {record.name for record in plan.tensors if record.tensor in improved.values}
    worst = [tensor for tensor in analysis.tensors if tensor.name not in fitted] if analysis else []
    return QuantizeSummary(
        (), coverage(network.graph, plan), inputs, tuple(worst[:MOST_WORST]),
        tuple(AidSummary(row.aid, row.before, row.after, row.kept, row.rejected) for row in improved.rows),
        tuple(findings), tuple(differences), tuple(warnings), (), improved.effort,
        improved.fitted, improved.data is not None and improved.data.unseen is not improved.data.fitted, improved.obstacle)


def _position_warnings(improved: Improved, network: Network) -> Iterator[str]:
    """Sentences on positions, which may be ''."""
    view = GraphView(network.graph)
    constants = network.plan._replace(tensors=tuple(
        tensor for tensor in network.plan.tensors if view.op(tensor.tensor) == 'Const'))
    yield odd_positions(network.plan, improved.positions)
    yield clipped_weights(constants, improved.positions,
                          lambda name: improved.values[name] if name in improved.values else view.value(name))


def with_paths(summary: QuantizeSummary, config: QuantizeConfig, model: str, float_graph: Union[tf.GraphDef, Path],
               input_fn: Union[str, InputFn]) -> QuantizeSummary:
    """The QuantizeSummary with files and next steps.

    model: the name of its file in the output_dir of the config. float_graph, input_fn: as in `quantize_frozen`.
    """
    summary = summary._replace(files=tuple((what, os.path.join(config.output_dir, name)) for what, name in (
        ('model', model), ('config', CONFIG_FILE), ('summary', SUMMARY_FILE))))
    return summary._replace(next_steps=next_steps(
        summary, float_graph if isinstance(float_graph, str) else '',
        input_fn if isinstance(input_fn, str) else import_name(input_fn)))


def with_report(summary: QuantizeSummary, directory: str, config: QuantizeConfig, model: tf.GraphDef, network: Network,
                analysis: Optional[Analysis]) -> QuantizeSummary:
    """Writes the HTML report of the quantized GraphDef; the QuantizeSummary with its file. Logs an error if that fails."""
    def contents() -> ReportContents:
        return ReportContents('Quantization report', model, network.plan, network.graph, summary, analysis)
    if not report_or_log(directory, REPORT_FILE, contents):
        return summary
    return summary._replace(files=summary.files + (('report', os.path.join(config.output_dir, REPORT_FILE)),))


def measure_errors(float_graph: tf.GraphDef, model: tf.GraphDef, plan: QuantPlan, config: QuantizeConfig, batch: Feed,
                   gpu_memory_fraction: Optional[float], histograms: bool) -> Optional[Analysis]:
    """The Analysis of a model; None if the networks do not run side by side.

    batch: {tensor name: array}; only its first examples are used, unless the networks need a larger batch.
    """
    for feed in _cut(batch), batch:
        try:
            return analyze_networks(runnable(float_graph), runnable(model), plan, config, [feed], histograms=histograms,
                                    gpu_memory_fraction=gpu_memory_fraction)
        except (errors.QuantizeError, tf.errors.OpError, ValueError) as error:
            tf.logging.info('The summary has no worst tensors: %s', error)
    return None


def _cut(batch: Feed) -> Feed:
    """The first examples of a batch; the whole batch if its arrays differ in their number."""
    counts = {np.shape(value)[:1] for value in batch.values()}
    return {name: value[:_EXAMPLES] for name, value in batch.items()} if len(counts) == 1 and () not in counts else batch


def remove(directory: str) -> None:
    """Removes an old summary and report, before the model is replaced."""
    for name in (SUMMARY_FILE, REPORT_FILE):
        path = os.path.join(directory, name)
        if os.path.lexists(path):
            os.unlink(path)


def write(directory: str, summary: QuantizeSummary) -> None:
    """Writes a QuantizeSummary to its file and to stderr."""
    files.write(directory, SUMMARY_FILE, to_json(summary).encode())
    note(to_text(summary, functools.partial(coloured, stream=sys.stderr)))
