"""Whether a training starts from float weights or from initial values: found in its first step, kept in checkpoints."""
import enum
from typing import NamedTuple, Optional

import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import live_editor
from vai_q_tf.qat.positions.position_saveable import START
from vai_q_tf.qat.positions.state_table import table
from vai_q_tf.qat.recipe.evidence import Evidence


class Begin(enum.IntEnum):
    """Where a training starts from; the table has 0 before its first step. kernels/begin_op.cc has the same numbers.

    FLOAT: trained weights.
    PARTLY: trained weights, some of which have initial values, as in transfer learning, or give no evidence.
    SCRATCH: initial values.
    STATISTICS: trained weights, but moving averages with initial values.
    CONTINUED: a quantized training that noted nothing, by the recipe 'manual' or in a version without recipes.
    """
    FLOAT = 1
    PARTLY = 2
    SCRATCH = 3
    STATISTICS = 4
    CONTINUED = 5


class Started(NamedTuple):
    """Scalar tensors of a training graph, as they were before the step at hand.

    mode: int32, the Begin in force.
    is_new: bool, whether this is the first step, or all runs before it left out a part of the network.
    is_other: bool, whether a resumed training has a recipe that assumes another Begin than the noted one.
    first_step: float32, the global step at which the training began.
    """
    mode: tf.Tensor
    is_new: tf.Tensor
    is_other: tf.Tensor
    first_step: tf.Tensor


class TrainingBegin:
    """Adds the ops that find how a training starts, and the table that keeps it, to the default graph.

    Args:
      graph: the live graph with the vectors.
      found: the Evidence.
      always: the Begin to assume; None derives it from the Evidence.
      votes: the votes for positions, a tf.Tensor.
      step: the global step, a float32 scalar; -1 if there is none.

    Attributes:
      started: the Started.
      names: names of the vectors that look untrained, a string scalar.
      handle: the handle of the table.
    """

    def __init__(self, graph: tf.Graph, found: Evidence, always: Optional[Begin], votes: tf.Tensor, step: tf.Tensor) -> None:
        with tf.name_scope(None):
            self.handle = table(START, 1)
        norms, vectors, fixed = Evidence((), (), ()) if always else found
        averages = [live_editor.tensor(graph, name) for _, *pair in norms for name in pair]
        op = ops.training_begin(
            self.handle, step, votes, averages, [live_editor.tensor(graph, name) for _, name in vectors],
            [name for name, *_ in norms], [name for name, _ in vectors], [live_editor.tensor(graph, name) for name in fixed],
            always=int(always or 0))
        self.started = Started(op.begin, op.is_new, op.is_other, op.first_step)
        self.names = op.untrained

    def note(self, when: tf.Tensor) -> tf.Operation:
        """An op that keeps how the training started if the bool tensor `when` is true."""
        return ops.note_begin(self.handle, when, self.started.mode, self.started.first_step)
