"""An Analysis as text for people and as JSON for programs."""
from typing import Dict, Iterable, List, Mapping

from vai_q_tf.analysis.results import Analysis, TensorError
from vai_q_tf.terminal.json_text import json_text
from vai_q_tf.terminal.table import table
from vai_q_tf.wording import percent, some_of

_SHOWN = 20
_REASONS = 5


def to_text(analysis: Analysis, everything: bool = False) -> str:
    """Several lines: the networks, the table of the worst tensors, and what was left out.

    everything: whether the table has all tensors.
    """
    rows = analysis.tensors if everything else analysis.tensors[:_SHOWN]
    lines = [_first_line(analysis)]
    if analysis.depth:
        last = next(error for error in analysis.tensors if error.name == analysis.depth[-1])
        lines.append('The last tensor of the network ({}) has {} dB.'.format(last.name, _number(last.db)))
    if rows:
        lines += ['', 'Signal to noise in dB. Layers, worst first; the tensors of a layer together. Alone: error of the layer '
                  'itself, all: with everything before it quantized, lost: to a better position.'] + _table(rows)
    if len(rows) < len(analysis.tensors):
        lines.append('{} more: pass --verbose, or see analyze.json.'.format(len(analysis.tensors) - len(rows)))
    return '\n'.join(lines + _left_out(analysis.unpaired))


def _first_line(analysis: Analysis) -> str:
    if analysis.batches:
        batches = ', on {} batch{}'.format(analysis.batches, 'es' * (analysis.batches > 1))
    else:
        batches = '. Without input_fn: weights and biases only'
    return '{}: {} quantized tensors against {}{}.'.format(
        analysis.model, len(analysis.tensors), analysis.reference, batches)


def _table(errors: Iterable[TensorError]) -> List[str]:
    return table([('alone', 'all', 'lost', 'bits', 'position', 'range', 'saturated', 'zeroed', 'role', 'layer')] + [
        (_number(error.alone_db), _number(error.db), _number(error.loss_db), str(error.bits), str(error.position),
         '{:.3g} to {:.3g}'.format(error.low, error.high), _share(error.saturated), _share(error.zeroed), error.role,
         error.layer) for error in errors])


def _left_out(unpaired: Mapping[str, str]) -> List[str]:
    """A line for each reason, and one for the number of further tensors."""
    reasons: Dict[str, List[str]] = {}
    for name, reason in unpaired.items():
        reasons.setdefault(reason, []).append(name)
    lines = ['Not compared: {}: {}.'.format(some_of(names, 1), reason) for reason, names in list(reasons.items())[:_REASONS]]
    if len(reasons) > _REASONS:
        lines.append('Not compared for other reasons: {} more.'.format(
            sum(map(len, list(reasons.values())[_REASONS:]))))
    return lines


def to_json(analysis: Analysis) -> str:
    """The Analysis as JSON with the names of its fields; null for inf, and for no histogram."""
    return json_text(analysis)


def _number(value: float) -> str:
    return '{:.1f}'.format(round(value, 1) + 0.0)  # no -0.0


def _share(value: float) -> str:
    return percent(value) if value else ''
