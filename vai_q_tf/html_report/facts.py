"""The facts of a report besides the errors of tensors, from the summary of the run, or from the model and its plan."""
import math
from typing import Iterable, NamedTuple, Sequence, Tuple

from vai_q_tf.coverage.summary import HEAVY, Coverage, coverage
from vai_q_tf.html_report.contents import Points, ReportContents
from vai_q_tf.html_report.figures import db_text
from vai_q_tf.html_report.network import OUTSIDE, Network
from vai_q_tf.html_report.tables import number_text
from vai_q_tf.lint.lint import Finding, differences, lint
from vai_q_tf.summary.results import AidSummary
from vai_q_tf.wording import percent

Rows = Sequence[Tuple[str, ...]]

_NO_FLOAT_GRAPH = 'The model alone does not reveal all reasons. To see them, pass the float graph with --float_graph.'
_OTHER_OPTIONS = ('Ops without a reason would be quantized with the options of this command. To see their reasons, pass the '
                  'options that the model was quantized with, such as --ignore_nodes.')


class Facts(NamedTuple):
    """The texts of a report.

    headline: a sentence on how much is quantized. heavy: 'n of m' convolutions and matmuls.
    floats: (op, type, reason). hint: a sentence on missing reasons, or ''. outside: 'op (type)' of the float ops outside the
    range. findings, differences: (op, rule, message).
    inputs, aids, losses: rows of their tables. files: (description, path).
    """
    headline: str
    heavy: str
    floats: Rows
    hint: str
    outside: Sequence[str]
    findings: Rows
    differences: Rows
    inputs: Rows
    aids: Rows
    losses: Rows
    files: Sequence[Tuple[str, str]]


def find_facts(contents: ReportContents, network: Network) -> Facts:
    """The Facts of ReportContents; network: the Network of their model."""
    summary, extent = contents.summary, _extent(contents, network)
    refused, others = ((summary.findings, summary.differences) if summary else
                       (lint(contents.model), differences(contents.model)))
    return Facts(
        extent.headline, '{} of {}'.format(extent.quantized, extent.weighted), extent.floats,
        _hint(contents, extent.floats), ['{} ({})'.format(box.name, box.ops[-1]) for box in network.boxes
                                         if box.reason == OUTSIDE and box.end != 'input'],
        _findings(refused), _findings(others),
        [(record.name, number_text(record.low), number_text(record.high), str(record.bits), str(record.position),
          percent(record.saturated)) for record in summary.inputs] if summary else [],
        [_aid(record) for record in summary.aids] if summary else [],
        [_loss(tag, points) for tag, points in sorted(contents.losses.items()) if points],
        summary.files if summary else contents.files)


class _Extent(NamedTuple):
    """How much of a network is quantized; weighted, quantized: numbers of convolutions and matmuls."""
    headline: str
    weighted: int
    quantized: int
    floats: Rows


def _extent(contents: ReportContents, network: Network) -> _Extent:
    if contents.summary:
        return _of_coverage(contents, contents.summary.coverage)
    if contents.plan and contents.float_graph:
        return _of_coverage(contents, coverage(contents.float_graph, contents.plan))
    inside = [box for box in network.boxes if box.reason != OUTSIDE]
    floats = [(box.name, box.ops[-1], box.reason) for box in inside if box.is_float and box.end != 'input']
    headline = '{} of {} {} are quantized, {} of {} ops stay float.'.format(
        len(network.quantized), len(network.weighted), HEAVY, len(floats), sum(len(box.nodes) for box in inside))
    return _Extent(headline, len(network.weighted), len(network.quantized), floats)


def _hint(contents: ReportContents, floats: Rows) -> str:
    if all(reason for _, _, reason in floats):
        return ''
    return _NO_FLOAT_GRAPH if contents.reasons is None else _OTHER_OPTIONS


def _of_coverage(contents: ReportContents, found: Coverage) -> _Extent:
    types = {node.name: node.op for graph in (contents.model, contents.float_graph) if graph for node in graph.node}
    floats = [(name, types.get(name, ''), reason) for reason, names in found.floats for name in names]
    return _Extent('{}.'.format(found), len(found.weighted), len(found.quantized), floats)


def _findings(found: Iterable[Finding]) -> Rows:
    return [(finding.node or 'the graph', finding.rule, finding.message) for finding in found]


def _aid(record: AidSummary) -> Tuple[str, ...]:
    gain = record.after_db - record.before_db
    return (record.name, db_text(record.before_db), db_text(record.after_db),
            '{:+.1f} dB'.format(gain).replace('-', '−') if math.isfinite(gain) else '',
            'kept' if record.kept else 'not kept{}'.format(': ' + record.reason if record.reason else ''))


def _loss(tag: str, points: Points) -> Tuple[str, ...]:
    (first, start), (last, end) = points[0], points[-1]
    least = min((value for _, value in points if not math.isnan(value)), default=math.nan)
    return (tag, str(first), number_text(start), str(last), number_text(end), number_text(least))
