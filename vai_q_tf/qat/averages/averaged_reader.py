"""Reads a checkpoint with averaged weights in place of the last ones."""
import numpy as np

from vai_q_tf import errors
from vai_q_tf.qat.averages.average_saveable import STEPS_KEY, average_key, averaged_variable
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader


def has_averages(reader: CheckpointReader) -> bool:
    """Whether a checkpoint has averaged weights."""
    if not reader.has_tensor(STEPS_KEY):
        return False
    steps = reader.get_tensor(STEPS_KEY)
    if steps.shape != (2,) or steps.dtype != np.int64:
        raise reader.damaged('{!r} has the type {} and the shape {}'.format(STEPS_KEY, steps.dtype, list(steps.shape)))
    return bool(steps[0] > 0)


class AveragedReader(CheckpointReader):
    """A CheckpointReader that returns the mean of each averaged variable.

    Args:
      prefix: prefix of a checkpoint.

    Raises:
      QuantizeError: same as CheckpointReader; MISSING_QUANTIZE_INFO if the checkpoint has no averages, or an average of a
        variable that it lacks.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        if not has_averages(self):
            raise errors.QuantizeError(
                errors.MISSING_QUANTIZE_INFO, 'No averages',
                'The checkpoint {!r} has no averaged weights: {}'.format(
                    prefix, 'it is from before the first step that counts; train beyond average_step.'
                    if self.has_tensor(STEPS_KEY) else
                    'it was saved by a training without average_step in its QuantizeConfig, or by a tf.train.Saver without the '
                    'objects of the collection tf.GraphKeys.SAVEABLE_OBJECTS.'))
        lost = sorted({averaged_variable(key) for key in self.dtypes()} - {''} - self.dtypes().keys())
        if lost:
            raise errors.QuantizeError(
                errors.MISSING_QUANTIZE_INFO, 'Variables renamed',
                'The checkpoint {!r} has the average of {!r} and no variable of this name: a tf.train.Saver with '
                'other names saved it. Save with one that names variables as the graph does.'.format(prefix, lost[0]))

    def key(self, name: str) -> str:
        """The key in the checkpoint of the value that `get_tensor` returns for `name`."""
        return average_key(name) if self.has_tensor(average_key(name)) else name

    def get_tensor(self, name: str) -> np.ndarray:
        """The mean of an averaged variable, in the type of the variable; the value of any other tensor."""
        value = super().get_tensor(self.key(name))
        return value if self.key(name) == name else value.astype(self.dtypes()[name].as_numpy_dtype)
