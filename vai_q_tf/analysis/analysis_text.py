"""An Analysis as text, for people and for programs."""
from vai_q_tf.terminal.json_text import json_text
from vai_q_tf.terminal.table import table
from vai_q_tf.wording import percent, some_of

_SHOWN = 20
_REASONS = 5


def to_text(analysis, everything=False):
    """The text, of several lines: what was compared, the table of the worst tensors, and what was left out.

    everything: whether all tensors are in the table.
    """
    rows = analysis.tensors if everything else analysis.tensors[:_SHOWN]
    lines = ['{}: {} quantized tensors against {}{}.'.format(
        analysis.model, len(analysis.tensors), analysis.reference,
        ', on {} batch{}'.format(analysis.batches, 'es' * (analysis.batches > 1)) if analysis.batches else
        '. Without input_fn: weights and biases only')]
    by_name = {error.name: error for error in analysis.tensors}
    if analysis.depth:
        lines.append('At the end of the network ({}) {} dB are left.'.format(
            analysis.depth[-1], _number(by_name[analysis.depth[-1]].db)))
    if rows:
        lines += ['', 'Signal to noise in dB, the worst first. Alone: of what the layer adds, all: with all that is quantized '
                  'before it, lost: to a better position.']
        lines += table([('alone', 'all', 'lost', 'bits', 'position', 'range', 'saturated', 'zeroed', 'role', 'layer')] + [
            (_number(error.alone_db), _number(error.db), _number(error.loss_db), str(error.bits), str(error.position),
             '{:.3g} to {:.3g}'.format(error.low, error.high), _share(error.saturated), _share(error.zeroed), error.role,
             error.layer) for error in rows])
    if len(rows) < len(analysis.tensors):
        lines.append('{} more are in the report.'.format(len(analysis.tensors) - len(rows)))
    reasons = {}
    for name, reason in analysis.unpaired.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in list(reasons.items())[:_REASONS]:
        lines.append('Not compared: {}: {}.'.format(some_of(names, 1), reason))
    if len(reasons) > _REASONS:
        lines.append('Not compared for other reasons: {} more.'.format(
            sum(map(len, list(reasons.values())[_REASONS:]))))
    return '\n'.join(lines)


def to_json(analysis):
    """The Analysis as a JSON text with the names of its fields; null stands for inf, and for no histogram."""
    return json_text(analysis)


def _number(value):
    return '{:.1f}'.format(round(value, 1) + 0.0)  # no -0.0


def _share(value):
    return percent(value) if value else ''
