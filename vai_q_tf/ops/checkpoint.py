"""The ops that read checkpoints, as Python functions. None of them has a gradient."""
from typing import List, Mapping, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.ops import library


def checkpoint_has(prefix: tf.Tensor, tensor_name: tf.Tensor, name: Optional[str] = None) -> tf.Tensor:
    """Whether the checkpoint `prefix` (V2 format) holds a tensor named `tensor_name`, a bool scalar.

    False if there is no such checkpoint. `prefix` and `tensor_name` are string scalars, read when the op runs.
    """
    return library.load().vai_checkpoint_has(prefix, tensor_name, name)


def restore_tensors(prefix: tf.Tensor, defaults: Mapping[str, Tuple[tf.DType, Sequence[int]]],
                    name: Optional[str] = None) -> List[tf.Tensor]:
    """Tensors of the checkpoint `prefix` (V2 format); zeros or empty strings for those that it lacks.

    Args:
      prefix: string scalar, read when the op runs. A checkpoint that does not exist lacks all tensors.
      defaults: {tensor name: (tf.float32 or tf.string, shape of the default)}.
      name: of the op.

    Returns:
      The tensors in the order of `defaults`.
    """
    dtypes, shapes = zip(*defaults.values())
    return library.load().vai_restore_tensors(prefix, list(defaults), dtypes, shapes, name)


def match_rows(tensors: tf.Tensor, variables: tf.Tensor, structures: Optional[tf.Tensor], earlier: Optional[tf.Tensor],
               saved: Sequence[tf.Tensor], name: Optional[str] = None) -> Tuple[tf.Tensor, tf.Tensor]:
    """The votes that the rows of a table take over from the table of a checkpoint.

    A row takes over the votes of the first row of the checkpoint with its name and structure; else with its structure; else
    with its name; else with one of its earlier names, the first that is found; else with its variable. Empty strings match
    nothing.

    Args:
      tensors: string [rows], the names of the quantized tensors.
      variables: string [rows], the variables that they are computed from.
      structures: string [rows]; None if they were not recorded.
      earlier: string [rows, names]; None if they were not recorded.
      saved: names, variables and structures of the checkpoint, string [its rows], and its votes, float32 [its rows, 256].
        Structures that were not recorded have the shape [0]. A checkpoint with variables of shape [0] has no rows.
      name: of the op.

    Returns:
      float32 [rows, 256], zeros for rows without a match; bool scalar, whether the checkpoint has rows, but no votes.

    Raises:
      tf.errors.InvalidArgumentError: when run, if shapes do not fit or a vote of the checkpoint is not finite.
    """
    found = library.load().vai_match_rows(
        tensors, variables, library.given(structures), library.given(earlier), *saved, name=name)
    return found.votes, found.before_training


for _op_type in ('VaiCheckpointHas', 'VaiRestoreTensors', 'VaiMatchRows'):
    library.register_gradient(_op_type, None)
