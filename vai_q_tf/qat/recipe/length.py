"""The length of a training, for schedules in shares of it.

Most trainings know their length only outside the graph: in a StopAtStepHook, which an Estimator creates from `steps` and
`max_steps`, or in the arguments of `slim.learning.train` and `fit`. It is written into a small table of the graph once the
session exists, before the first step. Checkpoints do not have it, because a resumed training may be longer.

`max_steps` counts from the start of the training, which the graph knows. `steps`, and the epochs of `fit`, are those of one
call, so in a loop of such calls shares are those of each call.
"""
from typing import Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops, position_histogram, tf_internal
from vai_q_tf.qat.positions.state_table import table

_TABLE = 'vai_q_tf/positions/length'
_VALUE = _TABLE + '/value'
_WRITE = _TABLE + '/write'


def add_length() -> Tuple[tf.Tensor, tf.Tensor]:
    """Adds the arguments of `note_length` to the default graph: (last_step, since), float32 scalars, 0 before that call."""
    with tf.name_scope(None):
        handle = table(_TABLE, 1)
        value = tf.placeholder(tf.float32, [1, position_histogram.HISTOGRAM_BINS], _VALUE)
        ops.write_positions(handle, value, rows=1, name=_WRITE)
    noted = ops.read_positions(handle, rows=1)[0]
    return noted[0], noted[1]


def note_length(session: tf.Session, last_step: int, since: int = 0) -> None:
    """Writes the length of a training into the graph of a session, if that has a schedule in shares.

    Args:
      session: the tf.Session.
      last_step: the global step at which the training ends.
      since: the global step from which shares count, if that is after the training began.
    """
    try:
        write = session.graph.get_operation_by_name(_WRITE)
    except KeyError:
        return
    value = np.zeros([1, position_histogram.HISTOGRAM_BINS], np.float32)
    value[0, :2] = last_step, since
    session.run(write, {_VALUE + ':0': value})


# On import, since a process may train a MetaGraph that another one rewrote.
tf_internal.follow_last_steps(note_length)
