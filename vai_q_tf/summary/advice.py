"""Likely causes of the errors of tensors, and their cures."""
from typing import Callable, Dict, NamedTuple, Sequence, Tuple

from vai_q_tf.analysis.results import TensorError

_LOST = 6.5  # dB: more than a position that is one off, 6.02
_MUCH = 20.0  # dB: the error is a tenth of the values
_SATURATED, _ZEROED, _UNEVEN = 0.01, 0.1, 0.25  # shares of the elements
_LEAST_BITS = 6  # with fewer, many weights become 0 in any case
UNEVEN = ('{zeroed:.0%} of the weights round to 0, because a few others, mostly in one channel, are far larger. Check whether '
          'those are right; --effort high and --do_cle 1 even out the channels.')


class _Rule(NamedTuple):
    """text: the cause and the cure for a tensor of that role that the rule applies to."""
    role: str
    applies: Callable[[TensorError], bool]
    text: str


def advice(tensors: Sequence[TensorError]) -> Tuple[str, ...]:
    """Sentences on the likely cause and the cure, one for each kind of cause, about the worst tensor with it.

    Causes that may explain others come first; an input with another range than in calibration explains all others.

    Args:
      tensors: the worst first.
    """
    for tensor in tensors:
        if _has_another_range(tensor):
            return ('{}: these data have another range ({:.3g} to {:.3g}) than those of calibration. Let both input functions '
                    'prepare them as for the training, and quantize again.'.format(tensor.layer, tensor.low, tensor.high),)
    worst: Dict[_Rule, TensorError] = {}
    for tensor in tensors:
        rule = next((rule for rule in _RULES if tensor.role == rule.role and rule.applies(tensor)), None)
        if rule:
            worst.setdefault(rule, tensor)
    return tuple('{}: {}'.format(worst[rule].layer, rule.text.format(zeroed=worst[rule].zeroed))
                 for rule in _RULES if rule in worst)


def _has_another_range(tensor: TensorError) -> bool:
    """Whether an input has values beyond the range of its position, or less than a quarter of it.

    Pixels lie on a grid themselves, so that a position that is one off can lose any number of dB.
    """
    greatest = max(-tensor.low, tensor.high) * 2.0 ** tensor.position
    return tensor.role == 'input' and tensor.loss_db > _LOST and (
        tensor.saturated >= _SATURATED or greatest < 2.0 ** (tensor.bits - 3))


def is_uneven(tensor: TensorError) -> bool:
    """Whether the tensor is weights, a few of which are so large that many others become 0."""
    return tensor.role == 'weight' and tensor.bits >= _LEAST_BITS and tensor.zeroed > _UNEVEN


_RULES = (
    _Rule('weight', lambda tensor: tensor.loss_db > _LOST and tensor.saturated < _SATURATED,
          'the weights differ from those of the float graph. Check that the model was made from this file, and that the '
          'calibration data were not all zeros.'),
    _Rule('weight', is_uneven, UNEVEN),
    _Rule('activation', lambda tensor: tensor.loss_db > _LOST and tensor.saturated >= _SATURATED,
          'the values are larger than in calibration. Use more, and more varied, calibration data; in training, let positions '
          'move for longer (freeze_position_step).'),
    _Rule('activation', lambda tensor: tensor.loss_db > _LOST and tensor.zeroed >= _ZEROED,
          'a rare large value sets the range. Try --effort standard, or --positions_by mse.'),
    _Rule('bias', lambda tensor: tensor.alone_db < _MUCH,
          'few dB are fine for a fitted bias, as the efforts standard and high make it. Look at its activation instead.'))
