"""How long a training is: the global steps between which it lies, told by whoever knows them, for schedules in shares.

Most trainings know it outside of the graph only: a StopAtStepHook, which an Estimator makes of `steps` and `max_steps`, the
arguments of `slim.learning.train` and of `fit`. What they know goes into a small table of the graph when the session is there,
before the first step. A checkpoint does not have it: a training that goes on may be longer.

`max_steps` counts from where the training began, which the graph knows by itself. `steps`, and the epochs of a `fit`, are those
of one call, so a loop of such calls has shares of each.
"""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import fixed_point, ops, tf_internal
from vai_q_tf.qat.positions.state_table import table

_TABLE = 'vai_q_tf/positions/length'
_VALUE = _TABLE + '/value'
_WRITE = _TABLE + '/write'


def add_length():
    """Adds to the default graph what `note_length` tells: (last step, where it counts from), float32 scalars, 0 before."""
    tf_internal.follow_last_steps(note_length)
    with tf.name_scope(None):
        handle = table(_TABLE, 1)
        value = tf.placeholder(tf.float32, [1, fixed_point.HISTOGRAM_BINS], _VALUE)
        ops.write_positions(handle, value, rows=1, name=_WRITE)
    noted = ops.read_positions(handle, rows=1)[0]
    return noted[0], noted[1]


def note_length(session, last_step, since=0):
    """Tells the graph of a session at which global step its training ends; a graph that does not ask is left alone.

    Args:
      since: the global step from which on shares count, where that is after the training began.
    """
    try:
        write = session.graph.get_operation_by_name(_WRITE)
    except KeyError:
        return
    value = np.zeros([1, fixed_point.HISTOGRAM_BINS], np.float32)
    value[0, :2] = last_step, since
    session.run(write, {_VALUE + ':0': value})
