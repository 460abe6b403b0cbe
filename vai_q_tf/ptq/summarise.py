"""What a quantization has to say when it is done."""
import functools
import os
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files
from vai_q_tf.analysis.analyze_networks import analyze_networks
from vai_q_tf.configuration.write_file import CONFIG_FILE
from vai_q_tf.coverage.summary import coverage
from vai_q_tf.frozen.load import runnable
from vai_q_tf.frozen.run_config import import_name
from vai_q_tf.html_report.page import REPORT_FILE
from vai_q_tf.summary.data_checks import input_warnings, odd_positions
from vai_q_tf.summary.next_steps import next_steps
from vai_q_tf.summary.results import AidSummary, InputSummary, QuantizeSummary
from vai_q_tf.summary.text import MOST_WORST, SUMMARY_FILE, to_json, to_text
from vai_q_tf.terminal.colours import coloured
from vai_q_tf.terminal.verbosity import note

_EXAMPLES = 4


def warn_of_inputs(improved, plan):
    """Logs what looks wrong about the calibration data."""
    for record in plan.tensors:
        if record.name in improved.inputs:
            for text in input_warnings(_input_summary(improved, record), improved.inputs[record.name].deviations):
                tf.logging.warning('%s', text)


def _input_summary(improved, record):
    found, position = improved.inputs[record.name], improved.positions[record.name]
    return InputSummary(record.tensor, found.low, found.high, record.bits, position, found.saturated(position))


def summarise(improved, float_graph, plan, findings, differences, warnings, analysis=None):
    """The QuantizeSummary of what was Improved, without files and next steps.

    float_graph, plan: the Network that was taken. findings, differences: of `lint`. warnings: what was logged. analysis:
    the Analysis, None where there is none.
    """
    inputs = tuple(_input_summary(improved, record) for record in plan.tensors if record.name in improved.inputs)
    odd = odd_positions(plan, improved.positions)
    fitted = {record.name for record in plan.tensors if record.tensor in improved.values}  # meant to differ from the float ones
    worst = [tensor for tensor in analysis.tensors if tensor.name not in fitted] if analysis else []
    return QuantizeSummary(
        (), coverage(float_graph, plan), inputs, tuple(worst[:MOST_WORST]),
        tuple(AidSummary(row.aid, row.before, row.after, row.kept, row.rejected) for row in improved.rows),
        tuple(findings), tuple(differences), tuple(dict.fromkeys(warnings)) + ((odd,) if odd else ()), (), improved.effort,
        improved.fitted, improved.data is not None and improved.data.unseen is not improved.data.fitted)


def with_paths(summary, config, model, float_graph, input_fn):
    """The QuantizeSummary with files and next steps.

    model: name of the file in the output_dir of the config. float_graph: the path of the graph, or what else it is. input_fn:
    what gives the data, or its name.
    """
    summary = summary._replace(files=tuple((what, os.path.join(config.output_dir, name)) for what, name in (
        ('model', model), ('config', CONFIG_FILE), ('summary', SUMMARY_FILE))))
    return summary._replace(next_steps=next_steps(
        summary, float_graph if isinstance(float_graph, str) else '',
        input_fn if isinstance(input_fn, str) else import_name(input_fn)))


def measure_errors(float_graph, model, plan, config, batch, gpu_memory_fraction, histograms):
    """The Analysis of a model; None where the networks do not run side by side.

    batch: what is fed, {tensor name: array}; its first examples are enough, where the networks take so few.
    """
    for feed in _cut(batch), batch:
        try:
            return analyze_networks(runnable(float_graph), runnable(model), plan, config, [feed], histograms=histograms,
                                    gpu_memory_fraction=gpu_memory_fraction)
        except (errors.QuantizeError, tf.errors.OpError, ValueError) as error:
            tf.logging.info('The summary has no worst tensors: %s', error)
    return None


def _cut(batch):
    """The first examples of a batch; all of it where its arrays have not as many."""
    counts = {np.shape(value)[:1] for value in batch.values()}
    return {name: value[:_EXAMPLES] for name, value in batch.items()} if len(counts) == 1 and () not in counts else batch


def remove(directory):
    """Removes the summary and the report, which are about to become those of another model."""
    for name in (SUMMARY_FILE, REPORT_FILE):
        path = os.path.join(directory, name)
        if os.path.lexists(path):
            os.unlink(path)


def write(directory, summary):
    """Writes a QuantizeSummary as a file, and says it."""
    files.write(directory, SUMMARY_FILE, to_json(summary).encode())
    note(to_text(summary, functools.partial(coloured, stream=sys.stderr)))
