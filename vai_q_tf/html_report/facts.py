"""What a report says besides the errors of tensors: from the summary of the run, or from the model and its plan."""
import math
from typing import NamedTuple, Sequence, Tuple

from vai_q_tf.coverage.summary import HEAVY, coverage
from vai_q_tf.html_report.figures import db_text
from vai_q_tf.html_report.tables import number_text
from vai_q_tf.lint.lint import differences, lint
from vai_q_tf.wording import percent

Rows = Sequence[Tuple[str, ...]]


class Facts(NamedTuple):
    """headline: a sentence on how much is quantized. heavy: the same of convolutions and matmuls, as 'n of m'.

    floats: (op, type, reason). has_reasons: whether these have reasons. findings, differences: (op, rule, message).
    inputs, aids, losses: rows of their tables. files: (what it is, path).
    """
    headline: str
    heavy: str
    floats: Rows
    has_reasons: bool
    findings: Rows
    differences: Rows
    inputs: Rows
    aids: Rows
    losses: Rows
    files: Rows


def find_facts(contents, network):
    """The Facts of ReportContents; network: the Network of their model."""
    summary, found = contents.summary, None
    if summary:
        found = summary.coverage
    elif contents.plan and contents.float_graph:
        found = coverage(contents.float_graph, contents.plan)
    if found:
        types = {node.name: node.op for graph in (contents.model, contents.float_graph) if graph for node in graph.node}
        floats = [(name, types.get(name, ''), reason) for reason, names in found.floats for name in names]
        headline, weighted, quantized = '{}.'.format(found), found.weighted, found.quantized
    else:
        floats = [(box.name, box.ops[-1], box.reason or contents.reasons.get(box.name, ''))
                  for box in network.boxes if box.is_float and box.end != 'input']
        weighted, quantized = network.weighted, network.quantized
        headline = '{} of {} {} are quantized, {} of {} ops stay float.'.format(
            len(quantized), len(weighted), HEAVY, len(floats), sum(len(box.nodes) for box in network.boxes))
    refused, others = ((summary.findings, summary.differences) if summary else
                       (lint(contents.model), differences(contents.model)))
    return Facts(
        headline, '{} of {}'.format(len(quantized), len(weighted)), floats, all(reason for _, _, reason in floats),
        _findings(refused), _findings(others),
        [(record.name, number_text(record.low), number_text(record.high), str(record.bits), str(record.position),
          percent(record.saturated)) for record in summary.inputs] if summary else [],
        [_aid(record) for record in summary.aids] if summary else [],
        [_loss(tag, points) for tag, points in sorted(contents.losses.items()) if points],
        summary.files if summary else contents.files)


def _findings(found):
    return [(finding.node or 'the graph', finding.rule, finding.message) for finding in found]


def _aid(record):
    gain = record.after_db - record.before_db
    return (record.name, db_text(record.before_db), db_text(record.after_db),
            '{:+.1f} dB'.format(gain).replace('-', '−') if math.isfinite(gain) else '',
            'kept' if record.kept else 'not kept{}'.format(': ' + record.reason if record.reason else ''))


def _loss(tag, points):
    (first, start), (last, end) = points[0], points[-1]
    least = min((value for _, value in points if not math.isnan(value)), default=math.nan)
    return (tag, str(first), number_text(start), str(last), number_text(end), number_text(least))
