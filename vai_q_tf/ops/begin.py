"""The ops that tell, note and say where a training starts, as Python functions."""
import tensorflow.compat.v1 as tf

from vai_q_tf.ops import library


def training_begin(state, step, votes, averages, vectors, norm_names, vector_names, always=0, name=None):
    """Where a training starts: what is noted, or else told from the values of its parameters (`qat.recipe.evidence` has the
    reasons).

    A vector is untrained where its elements are equal; one of a single element where that is 0 or 1.

    Args:
      state: handle of the table [1, 256] that `note_begin` writes.
      step: the global step, a float32 scalar.
      votes: float32 tensor, the votes for positions; a training that has some goes on.
      averages: the moving mean and the moving variance [channels] of each batch norm, one after the other.
      vectors: the other vectors [channels].
      norm_names, vector_names: what messages call them.
      always: the number of the `Begin` to go by without looking; 0 to look.
      name: of the op.

    Returns:
      Scalars: `begin`, int32, the number of the `Begin`; `is_new`, whether nothing is noted; `is_other`, whether another one
      than `begin` is; `first_step`, float32, the step that is noted, `step` without; `untrained`, a string, the names of what
      is untrained, three at most.
    """
    averages, vectors = ([tf.cast(tensor, tf.float32) for tensor in tensors] for tensors in (averages, vectors))
    return library.load().vai_training_begin(
        state, step, votes, averages, vectors, norm_names, vector_names, always=always, name=name)


def note_begin(state, notes, begin, first_step, name=None):
    """An op that notes, where the bool `notes` is true, what `training_begin` is to give."""
    return library.load().vai_note_begin(state, notes, begin, first_step, name=name)


def say(when, lines, number=0, names='', name=None):
    """An op that prints lines[number] to stderr where the bool `when` is true, with `names` in place of its '{}'."""
    return library.load().vai_say(when, number, names, lines, name=name)
