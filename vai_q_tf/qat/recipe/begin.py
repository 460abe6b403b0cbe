"""Where a training starts from, found at its first step and kept in checkpoints: float weights, or those of initializers."""
import enum
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import live_editor
from vai_q_tf.qat.positions.position_saveable import START
from vai_q_tf.qat.positions.state_table import table


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
      started: the Started. names: of what looks untrained, a string scalar.
      handle: that of the table that keeps it.

    Args:
      found: the Evidence. always: the Begin to go by without looking; None to look.
      votes: tf.Tensor, the votes for positions. step: the global step, a float32 scalar; 0 where there is none.
    """

    def __init__(self, graph, found, always, votes, step):
        with tf.name_scope(None):
            self.handle = table(START, 1)
        norms, vectors = ((), ()) if always else found
        averages = [live_editor.tensor(graph, name) for _, *pair in norms for name in pair]
        op = ops.training_begin(
            self.handle, step, votes, averages, [live_editor.tensor(graph, name) for _, name in vectors],
            [name for name, *_ in norms], [name for name, _ in vectors], always=int(always or 0))
        self.started = Started(op.begin, op.is_new, op.is_other, op.first_step)
        self.names = op.untrained

    def note(self, when):
        """An op that keeps what was found, where the bool tensor `when` is true."""
        return ops.note_begin(self.handle, when, self.started.mode, self.started.first_step)
