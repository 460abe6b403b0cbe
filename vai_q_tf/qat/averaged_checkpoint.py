"""averaged_checkpoint: a checkpoint of the averaged weights, for any function that takes a checkpoint."""
import os
from typing import Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.sessions import cpu_only
from vai_q_tf.qat import checkpoints
from vai_q_tf.qat.averages.averaged_reader import AveragedReader


def averaged_checkpoint(checkpoint: Union[str, 'os.PathLike[str]'],
                        directory: Union[None, str, 'os.PathLike[str]'] = None) -> str:
    """Writes a checkpoint in which the averaged weights of a training replace the last ones.

    Everything else is unchanged: positions, moving averages of batch norms, the global step, and the name.

    Args:
      checkpoint: prefix or directory of a checkpoint of a training with `average_step`.
      directory: the directory to write to, with a file `checkpoint` that makes it the latest one there; None: `averaged` next
        to the checkpoint.

    Returns:
      Its prefix.

    Raises:
      QuantizeError: INVALID_INPUT if there is no checkpoint, or the directory is its own; MISSING_QUANTIZE_INFO if it has no
        averages; INVALID_CONFIG if the directory cannot be written.
    """
    prefix = checkpoints.find_checkpoint(checkpoint)
    own = os.path.dirname(prefix)
    directory = os.path.join(own, 'averaged') if directory is None else os.fspath(directory)
    if os.path.realpath(directory) == os.path.realpath(own):
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Invalid parameter',
            'directory {!r} is that of the checkpoint, which would be overwritten. Give another one.'.format(directory))
    reader = AveragedReader(prefix)
    written = os.path.join(directory, os.path.basename(prefix))
    reader.check(reader.dtypes())
    try:
        tf.io.gfile.makedirs(directory)
        with tf.Graph().as_default(), tf.Session(config=cpu_only()) as session:
            session.run(_copy(prefix, written, reader))
            tf.train.update_checkpoint_state(directory, written, [written])
    except tf.errors.OpError as error:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot write', 'The checkpoint {!r}: {}.'.format(
            written, error.message.splitlines()[0])) from error
    return written


def _copy(prefix: str, written: str, reader: AveragedReader) -> tf.Operation:
    """An op that copies a checkpoint as its AveragedReader shows it."""
    dtypes = reader.dtypes()
    names = sorted(dtypes)
    keys = [reader.key(name) for name in names]
    values = tf.raw_ops.RestoreV2(prefix=prefix, tensor_names=keys, shape_and_slices=[''] * len(names),
                                  dtypes=[dtypes[key] for key in keys])
    return tf.raw_ops.SaveV2(prefix=written, tensor_names=names, shape_and_slices=[''] * len(names),
                             tensors=[tf.cast(value, dtypes[name]) for name, value in zip(names, values)])
