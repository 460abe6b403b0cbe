"""The op that tells where a training starts, as a Python function."""
import tensorflow.compat.v1 as tf

from vai_q_tf.ops import library


def find_begin(votes, averages, vectors, norm_names, vector_names, name=None):
    """Where a training starts, told from the values of its parameters (`qat.recipe.evidence` has the reasons).

    A vector is untrained where its elements are equal; one of a single element where that is 0 or 1.

    Args:
      votes: float32 tensor, the votes for positions; a training that has some goes on.
      averages: the moving mean and the moving variance [channels] of each batch norm, one after the other.
      vectors: the other vectors [channels].
      norm_names, vector_names: what messages call them.
      name: of the op.

    Returns:
      Two scalars: int32, the number of the `Begin`; string, the names of what is untrained, three at most.
    """
    averages, vectors = ([tf.cast(tensor, tf.float32) for tensor in tensors] for tensors in (averages, vectors))
    found = library.load().vai_find_begin(votes, averages, vectors, norm_names, vector_names, name=name)
    return found.begin, found.untrained
