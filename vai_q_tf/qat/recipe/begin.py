"""Where a training starts from, found at its first step and kept in checkpoints: float weights, or those of initializers."""
import enum
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import fixed_point, ops
from vai_q_tf.graph import live_editor
from vai_q_tf.qat.positions.position_saveable import START
from vai_q_tf.qat.positions.state_table import table

_MODE, _FIRST_STEP = range(2)  # columns of the table


class Begin(enum.IntEnum):
    """Where a training starts from; 0 while nobody looked. kernels/begin_op.cc has the numbers, too.

    FLOAT: trained weights. PARTLY: weights of which some are as initializers make them, as in transfer learning, or that do
    not tell. SCRATCH: those of initializers. STATISTICS: weights, but moving averages as initializers make them. CONTINUED: a
    quantized training that did not look, with the recipe 'manual' or before there was another one.
    """
    FLOAT = 1
    PARTLY = 2
    SCRATCH = 3
    STATISTICS = 4
    CONTINUED = 5


class Started(NamedTuple):
    """Scalar tensors of a training graph, each as it was before the step at hand.

    mode: int32, the Begin that holds. is_new: bool, whether this is the first step. is_other: bool, whether a training goes on
    by a Begin that is set, and that is not the one that it was. first_step: float32, the global step at which the training
    began.
    """
    mode: tf.Tensor
    is_new: tf.Tensor
    is_other: tf.Tensor
    first_step: tf.Tensor


class TrainingBegin:
    """The state, in the default graph, and what is found at the first step.

    Attributes:
      handle: that of its table. started: the Started. names: of what looks untrained, a string scalar.

    Args:
      found: the Evidence. always: the Begin to go by without looking; None to look.
      votes: tf.Tensor, the votes for positions. step: the global step, a float32 scalar; 0 where there is none.
    """

    def __init__(self, graph, found, always, votes, step):
        with tf.name_scope(None):
            self.handle = table(START, 1)
        noted = ops.read_positions(self.handle, rows=1)[0]
        is_new = tf.equal(noted[_MODE], 0)
        known = tf.cast(noted[_MODE], tf.int32)
        if always is None:
            mode, self.names = tf.cond(is_new, lambda: _look(graph, found, votes), lambda: (known, tf.constant('')))
        else:
            mode, self.names = tf.constant(int(always)), tf.constant('')
        is_other = tf.logical_not(is_new) & tf.not_equal(mode, known)
        self.started = Started(mode, is_new, is_other, tf.raw_ops.Select(condition=is_new, x=step, y=noted[_FIRST_STEP]))

    def note(self):
        """An op that keeps what was found."""
        values = {_MODE: tf.cast(self.started.mode, tf.float32), _FIRST_STEP: self.started.first_step}
        row = tf.stack([values[column] for column in sorted(values)])
        filled = tf.pad(row[tf.newaxis], [[0, 0], [0, fixed_point.HISTOGRAM_BINS - len(values)]])
        return ops.write_positions(self.handle, filled, rows=1)


def _look(graph, found, votes):
    """(the number of the Begin, names that the message about it has), scalar tensors."""
    averages = [live_editor.tensor(graph, name) for _, *pair in found.norms for name in pair]
    vectors = [live_editor.tensor(graph, name) for _, name in found.vectors]
    return ops.find_begin(
        votes, averages, vectors, [name for name, *_ in found.norms], [name for name, _ in found.vectors])
