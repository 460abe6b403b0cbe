"""Phases: what a training does with its positions and batch norms in the step at hand."""
from typing import NamedTuple, Optional

import tensorflow.compat.v1 as tf


class Phases(NamedTuple):
    """Scalar bool tensors about the step at hand, and handles of tables.

    track: whether positions may move.
    calibrating: whether values stay unquantized while positions are searched; None: never.
    use_batch: whether batch norms use the statistics of the batch; None: always.
    start: the table that notes where the training started from; None: nothing notes it.
    voting: whether tensors without a learned position may vote; None: same as track.
    untracked: in an evaluation graph, the table that notes that a checkpoint has no votes yet; None in a training graph.
    """
    track: tf.Tensor
    calibrating: Optional[tf.Tensor] = None
    use_batch: Optional[tf.Tensor] = None
    start: Optional[tf.Tensor] = None
    voting: Optional[tf.Tensor] = None
    untracked: Optional[tf.Tensor] = None
