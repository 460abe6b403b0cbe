"""A QuantizeSummary as text and as JSON."""
import textwrap
from typing import Callable, Dict, List, Sequence, Tuple

from tabulate import tabulate

from vai_q_tf.analysis.results import TensorError
from vai_q_tf.coverage.summary import Coverage
from vai_q_tf.lint.lint import Finding
from vai_q_tf.summary.results import InputSummary, QuantizeSummary
from vai_q_tf.terminal.json_text import json_text
from vai_q_tf.wording import percent, some_of

SUMMARY_FILE = 'quantize_summary.json'
MOST_WORST = 3
_LISTED = 4  # lines of a kind
_WIDTH = 128
_NOTHING = 'lint finds nothing that the DPU compiler would refuse.'


def in_one_line(coverage: Coverage, findings: Sequence[Finding]) -> str:
    """The Coverage, and the number of nodes that the DPU compiler refuses, in one line."""
    refused = 'the DPU compiler would refuse {} of them'.format(len(findings)) if findings else (
        'lint finds nothing that the DPU compiler would refuse')
    return '{}; {}'.format(coverage, refused)


def to_text(summary: QuantizeSummary, paint: Callable[[str, str], str] = lambda text, kind: text) -> str:
    """The summary in about 25 lines; paint: a function that colours a text of a kind, see `coloured`."""
    rows = [('Float', _floats(summary.coverage)), ('Inputs', [_input(each) for each in summary.inputs]),
            ('Outputs', _aids(summary)), ('Worst', _worst(summary.worst)), ('DPU', _dpu(summary)),
            ('Warnings', _first(summary.warnings)), ('Files', _aligned(summary.files)), ('Next', list(summary.next_steps))]
    lines = [paint('Summary:', 'title') + ' {}.'.format(summary.coverage)]
    for label, texts in rows:
        for number, text in enumerate(texts):
            shown = '' if number else label
            head = paint(shown, 'warning' if label == 'Warnings' else 'title') if shown else ''
            lines.append('  ' + head + ' ' * (10 - len(shown)) + text)
    return '\n'.join(lines)


def to_json(summary: QuantizeSummary) -> str:
    """The summary as JSON, with its field names as keys; inf is null."""
    fields = summary._asdict()
    fields['files'] = dict(summary.files)
    fields['coverage'] = dict(summary.coverage._asdict(), left_float=summary.coverage.left_float, floats=[
        {'reason': reason, 'nodes': names} for reason, names in summary.coverage.floats])
    fields['worst'] = [{key: value for key, value in tensor._asdict().items() if key != 'histogram'}
                       for tensor in summary.worst]
    return json_text(dict(fields, db=summary.db))


def _floats(coverage: Coverage) -> List[str]:
    return _first(['{} ({}): {}'.format(len(names), reason, some_of(names)) for reason, names in coverage.floats])


def _input(one: InputSummary) -> str:
    return '{}: {:.4g} to {:.4g}, {} bits at position {}, {} out of range'.format(
        one.name, one.low, one.high, one.bits, one.position, percent(one.saturated))


def _aids(summary: QuantizeSummary) -> List[str]:
    lines = []
    if summary.aids:
        lines.append('Signal to quantization noise, in dB, on {}:'.format(
            'calibration data that nothing was fitted on' if summary.unseen else 'the calibration data'))
        lines += tabulate(
            [(aid.name, _decibels(aid.before_db), _decibels(aid.after_db), 'kept' if aid.kept else aid.reason)
             for aid in summary.aids],
            headers=('Aid', 'without', 'with', ''), disable_numparse=True,
            colalign=('left', 'right', 'right', 'left')).splitlines()
    if summary.fitted:
        lines.append('The weights and biases of the model are fitted; they are no longer those of the float graph.')
    return [line.rstrip() for line in lines]


def _worst(tensors: Sequence[TensorError]) -> List[str]:
    if not tensors:
        return []
    return tabulate(
        [(tensor.name, tensor.bits, tensor.position, _decibels(tensor.alone_db), _decibels(tensor.db),
          _decibels(tensor.loss_db), percent(tensor.saturated), percent(tensor.zeroed)) for tensor in tensors[:MOST_WORST]],
        headers=('Tensor', 'bits', 'position', 'dB alone', 'all', 'lost', 'saturated', 'zeroed'), disable_numparse=True,
        colalign=('left',) + ('right',) * 7).splitlines()


def _dpu(summary: QuantizeSummary) -> List[str]:
    lines = [] if summary.findings else [_NOTHING]
    for what, findings in (('refused', summary.findings), ('other numbers', summary.differences)):
        by_rule: Dict[str, List[str]] = {}
        for finding in findings:
            by_rule.setdefault(finding.rule, []).append(finding.node or 'the graph')
        lines += ['{}: {} {}: {}'.format(what, len(names), rule, some_of(names)) for rule, names in by_rule.items()]
    return _first(lines)


def _aligned(pairs: Sequence[Tuple[str, str]]) -> List[str]:
    width = max([len(name) for name, _ in pairs], default=0)
    return ['{}  {}'.format(name.ljust(width), path) for name, path in pairs]


def _first(lines: Sequence[str]) -> List[str]:
    """The first lines, each cut to the width of a page, and the number of others."""
    shown = [textwrap.shorten(line, _WIDTH, placeholder=' ...') for line in lines[:_LISTED]]
    return shown + ['and {} more'.format(len(lines) - _LISTED)] * (len(lines) > _LISTED)


def _decibels(value: float) -> str:
    return '{:.1f}'.format(value)
