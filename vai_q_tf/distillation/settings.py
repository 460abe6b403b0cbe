"""Distillation: settings of the loss term by which the float network teaches the quantized one."""
import math
import os
from typing import Any, Callable, NamedTuple, Optional, Union

from vai_q_tf import errors
from vai_q_tf.configuration.config_checks import config_error

_Checkpoint = Union[str, 'os.PathLike[str]']


class _Settings(NamedTuple):
    float_checkpoint: Optional[_Checkpoint]
    temperature: float
    weight: float
    output_node: Optional[str]


class Distillation(_Settings):
    """Lets the float network teach the quantized one: `weight * temperature**2 * KL(teacher || student)` joins the loss.

    Teacher and student are softmax(logits / temperature): the student of the quantized network in training, the teacher of the
    float network at inference, with the weights of the checkpoint, on the same batch. The term is averaged over the batch.

    Attributes:
      float_checkpoint: prefix or directory of a checkpoint of the float network. None, the default, if a wrapper of a model
        function or an Estimator has one, which is then taken.
      temperature: above 1 small probabilities count more; by default 2. The factor temperature**2 preserves the scale of the
        gradients.
      weight: weight of the term relative to the loss, by default 0.5.
      output_node: the output node of the config whose logits [batch, classes] are compared; None: the first one.

    Raises:
      QuantizeError: INVALID_CONFIG for a value out of range.
      TypeError: a checkpoint or a node that is not a string.
    """
    __slots__ = ()

    def __new__(cls, float_checkpoint: Optional[_Checkpoint] = None, temperature: float = 2.0, weight: float = 0.5,
                output_node: Optional[str] = None) -> 'Distillation':
        if float_checkpoint is not None and not isinstance(float_checkpoint, (str, os.PathLike)):
            raise _not_text('float_checkpoint', float_checkpoint)
        if output_node is not None and not isinstance(output_node, str):
            raise _not_text('output_node', output_node)
        return super().__new__(
            cls, float_checkpoint, _number('temperature', temperature, lambda number: number > 0, 'a number above 0'),
            _number('weight', weight, lambda number: number >= 0, 'a number that is not negative'), output_node)

    def with_checkpoint(self, checkpoint: Optional[_Checkpoint] = None) -> 'Distillation':
        """These settings, with `checkpoint` if they have none; raises a QuantizeError if there is no checkpoint at all."""
        checkpoint = self.float_checkpoint if self.float_checkpoint is not None else checkpoint
        if checkpoint is None:
            raise errors.QuantizeError(
                errors.INVALID_CONFIG, 'Invalid parameter',
                'Distillation has no float checkpoint for its teacher. Give it one: Distillation(\'float/model.ckpt-2000\').')
        return Distillation(checkpoint, self.temperature, self.weight, self.output_node)


def require_distillation(value: Any) -> Optional[Distillation]:
    """The Distillation of an argument `distillation`; True means the default settings, without a checkpoint."""
    if value is None or value is False:
        return None
    if value is True:
        return Distillation()
    if not isinstance(value, Distillation):
        raise TypeError('distillation must be a vai_q_tensorflow.Distillation, got {}: {!r}'.format(
            type(value).__name__, value))
    return value


def _number(field: str, value: Any, accepts: Callable[[float], bool], expected: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or not accepts(number):
        raise config_error(field, value, expected)
    return number


def _not_text(field: str, value: Any) -> TypeError:
    return TypeError('Distillation: {} must be a string, got {}: {!r}'.format(field, type(value).__name__, value))
