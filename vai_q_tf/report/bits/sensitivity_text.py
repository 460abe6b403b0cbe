"""A Sensitivity as text and as JSON."""
from vai_q_tf.report.bits.results import Choice, Sensitivity, WeightChoice
from vai_q_tf.terminal.json_text import json_text
from vai_q_tf.terminal.table import table


def to_text(sensitivity: Sensitivity) -> str:
    """The dB of the network, the table of tensors, and the chosen bits with their --nodes_bit, in several lines."""
    lines = ['The outputs have {} dB with all {} tensors quantized, on {} batches.'.format(
        _number(sensitivity.db), len(sensitivity.tensors), sensitivity.batches), '']
    lines += table([('dB alone', 'Gain', 'Bits', 'Position', 'Role', 'Tensor')] + [
        (_number(cost.db), _number(cost.gain), str(cost.bits), str(cost.position), cost.role, cost.name)
        for cost in sensitivity.tensors])
    choice = sensitivity.choice
    if choice:
        lines += ['', _outcome(sensitivity, choice)]
        lines += ['--nodes_bit ' + ','.join(choice.nodes_bit)] if choice.nodes_bit and choice.bits and _holds(choice) else []
    return '\n'.join(lines)


def to_json(sensitivity: Sensitivity) -> str:
    """The Sensitivity as JSON, with its field names as keys; inf is null, and so is no choice.

    `nodes_bit` of the choice is one string in the format of --nodes_bit.
    """
    fields = sensitivity._asdict()
    if sensitivity.choice:
        fields['choice'] = dict(sensitivity.choice._asdict(), nodes_bit=','.join(sensitivity.choice.nodes_bit),
                                bits=dict(sensitivity.choice.bits))
    return json_text(fields)


def _outcome(sensitivity: Sensitivity, choice: Choice) -> str:
    db = _number(choice.db)
    if isinstance(choice, WeightChoice):
        return ('With {:.2f} bits for a weight on average, instead of {:.2f}, the outputs have {} dB; with {} bits for all '
                'weights, {} dB.'.format(choice.weight_bits, sensitivity.weight_bits, db, choice.uniform_bits,
                                         _number(choice.uniform_db)))
    if not choice.reached:
        return '{:g} dB cannot be reached: with {} of {} tensors at 16 bits the outputs have {} dB.'.format(
            choice.target_db, len(choice.bits), len(sensitivity.tensors), db)
    if not choice.bits:
        return 'No tensor has to stay at 16 bits for {:g} dB.'.format(choice.target_db)
    return 'For {:g} dB {} tensors have to stay at 16 bits; with them the outputs have {} dB.'.format(
        choice.target_db, len(choice.bits), db)


def _holds(choice: Choice) -> bool:
    return isinstance(choice, WeightChoice) or choice.reached


def _number(value: float) -> str:
    return '{:.2f}'.format(round(value, 2) + 0.0)  # no -0.00
