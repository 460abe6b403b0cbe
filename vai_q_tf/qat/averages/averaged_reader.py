"""Reads a checkpoint with averaged weights in place of the last ones."""
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.qat.averages.average_saveable import STEPS_KEY, average_key, averaged_variable


def has_averages(reader):
    """Whether a checkpoint (a reader of tf.train.load_checkpoint) has averaged weights."""
    return reader.has_tensor(STEPS_KEY) and bool(reader.get_tensor(STEPS_KEY)[0] > 0)


class AveragedReader:
    """What tf.train.load_checkpoint gives, but each averaged variable has its mean.

    Args:
      checkpoint: prefix of a checkpoint.

    Raises:
      QuantizeError: MISSING_QUANTIZE_INFO where the checkpoint has no averages, or some of variables that it has not.
    """

    def __init__(self, checkpoint):
        self._reader = tf.train.load_checkpoint(checkpoint)
        if not has_averages(self._reader):
            raise errors.QuantizeError(
                errors.MISSING_QUANTIZE_INFO, 'No averages',
                'The checkpoint {!r} has no averaged weights: {}'.format(
                    checkpoint, 'it is from before the first step that counts; train beyond average_step.'
                    if self._reader.has_tensor(STEPS_KEY) else
                    'it was saved by a training without average_step in its QuantizeConfig, or by a tf.train.Saver without the '
                    'objects of the collection tf.GraphKeys.SAVEABLE_OBJECTS.'))
        lost = sorted({averaged_variable(key) for key in self.dtypes()} - {''} - self.dtypes().keys())
        if lost:
            raise errors.QuantizeError(
                errors.MISSING_QUANTIZE_INFO, 'Variables renamed',
                'The checkpoint {!r} has the average of {!r} and no variable of this name: a tf.train.Saver with '
                'other names saved it. Save with one that names variables as the graph does.'.format(checkpoint, lost[0]))

    def key(self, name):
        """What the value of `name` is called in the checkpoint."""
        return average_key(name) if self._reader.has_tensor(average_key(name)) else name

    def has_tensor(self, name):
        """Whether the checkpoint has a tensor."""
        return self._reader.has_tensor(name)

    def get_tensor(self, name):
        """The mean of a variable that was averaged, the value of what else the checkpoint has, as NumPy arrays."""
        value = self._reader.get_tensor(self.key(name))
        return value if self.key(name) == name else value.astype(self.dtypes()[name].as_numpy_dtype)

    def dtypes(self):
        """{name of a tensor: its tf.DType}."""
        return self._reader.get_variable_to_dtype_map()
