"""The ops that detect and record where a training starts, as Python functions."""
from typing import NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf.ops import library


class Beginning(NamedTuple):
    """Where a training starts, scalar tensors.

    begin: int32, the number of the `Begin`.
    is_new: whether none was recorded before.
    is_other: whether a different one than `begin` was recorded.
    first_step: float32, the recorded step; the current one if there is none.
    untrained: string, the names of untrained parameters, at most three.
    """
    begin: tf.Tensor
    is_new: tf.Tensor
    is_other: tf.Tensor
    first_step: tf.Tensor
    untrained: tf.Tensor


def training_begin(state: tf.Tensor, step: tf.Tensor, votes: tf.Tensor, averages: Sequence[tf.Tensor],
                   vectors: Sequence[tf.Tensor], norm_names: Sequence[str], vector_names: Sequence[str],
                   fixed: Sequence[tf.Tensor] = (), always: int = 0, name: Optional[str] = None) -> Beginning:
    """The recorded start of a training, or else one inferred from the values of its parameters.

    A vector is untrained if its elements are equal; one of a single element, if that is 0 or 1. `qat.recipe.evidence` has the
    reasons.

    Args:
      state: handle of the table [1, 256] that `note_begin` writes.
      step: the global step, a float32 scalar; a negative one is unknown.
      votes: float32 tensor [rows, 256], the votes for positions. A training that has some is being continued. A recorded start
        does not count if some rows have none and the global step is still the recorded one: a part of the network ran.
      averages: the moving mean and the moving variance [channels] of each batch norm in turn.
      vectors: the other vectors [channels].
      norm_names, vector_names: their names in messages.
      fixed: vectors that this training does not change; they count only if they are trained.
      always: the number of the `Begin` to assume; 0 to infer it.
      name: of the op.
    """
    averages, vectors, fixed = ([tf.cast(tensor, tf.float32) for tensor in tensors] for tensors in (averages, vectors, fixed))
    return Beginning(*library.load().vai_training_begin(
        state, step, votes, averages, vectors, fixed, norm_names, vector_names, always=always, name=name))


def note_begin(state: tf.Tensor, notes: tf.Tensor, begin: tf.Tensor, first_step: tf.Tensor,
               name: Optional[str] = None) -> tf.Operation:
    """An op that records `begin` and `first_step` for `training_begin` if the bool `notes` is true."""
    return library.load().vai_note_begin(state, notes, begin, first_step, name=name)


def say(when: tf.Tensor, lines: Sequence[str], number: tf.Tensor = 0, names: tf.Tensor = '',
        name: Optional[str] = None) -> tf.Operation:
    """An op that prints lines[number] to stderr if the bool `when` is true, with `names` in place of its '{}'."""
    return library.load().vai_say(when, number, names, lines, name=name)
