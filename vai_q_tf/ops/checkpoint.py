"""The ops that read checkpoints, as Python functions. None of them has a gradient."""
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

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


class Matched(NamedTuple):
    """What the rows of a table take over from the table of a checkpoint.

    votes: float32 [rows, 256], zeros for rows without a match.
    before_training: bool scalar, whether the checkpoint has rows, but no votes.
    other: string scalar, the rows for which the checkpoint has votes of other bits or none, if that is why there are no votes.
    """
    votes: tf.Tensor
    before_training: tf.Tensor
    other: tf.Tensor


def match_rows(tensors: tf.Tensor, variables: tf.Tensor, structures: Optional[tf.Tensor], earlier: Optional[tf.Tensor],
               bits: tf.Tensor, saved: Sequence[tf.Tensor], begins_anew: bool, name: Optional[str] = None) -> Matched:
    """The votes that the rows of a table take over from the table of a checkpoint.

    A row takes over the votes of the first row of the checkpoint with its name and structure; else with its structure; else
    with its name; else with one of its earlier names, the first that is found; else with its variable. Empty strings match
    nothing. Votes are for positions of a bit width, so none are taken over if a row has other bits in the checkpoint; with
    `begins_anew` also if a row has no match in a checkpoint that knows its bits.

    Args:
      tensors: string [rows], the names of the quantized tensors.
      variables: string [rows], the variables that they are computed from.
      structures: string [rows]; None if they were not recorded.
      earlier: string [rows, names]; None if they were not recorded.
      bits: float32 [rows], the bit widths; 0 for one that is not known.
      saved: names, variables and structures of the checkpoint, string [its rows], its votes, float32 [its rows, 256], and its
        bits, float32 [its rows]. Structures and bits that were not recorded have the shape [0]. A checkpoint with variables of
        shape [0] has no rows.
      begins_anew: whether votes of other bits are dropped; if not, they are an error.
      name: of the op.

    Raises:
      tf.errors.InvalidArgumentError: when run, if shapes do not fit, a vote of the checkpoint is not finite, or votes of other
        bits are an error.
    """
    *texts_and_votes, saved_bits = saved
    return Matched(*library.load().vai_match_rows(
        tensors, variables, library.given(structures), library.given(earlier), *texts_and_votes, bits, saved_bits,
        begins_anew=begins_anew, name=name))


for _op_type in ('VaiCheckpointHas', 'VaiRestoreTensors', 'VaiMatchRows'):
    library.register_gradient(_op_type, None)
