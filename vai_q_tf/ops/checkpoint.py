"""The ops that read checkpoints, as Python functions. None has a gradient."""
from vai_q_tf.ops import library


def checkpoint_has(prefix, tensor_name, name=None):
    """Whether the checkpoint `prefix` (V2 format) holds a tensor named `tensor_name`, a bool scalar.

    False if there is no such checkpoint. `prefix` and `tensor_name` are string scalars, read when the op runs.
    """
    return library.load().vai_checkpoint_has(prefix, tensor_name, name)


def restore_tensors(prefix, defaults, name=None):
    """Tensors of the checkpoint `prefix` (V2 format), with zeros or empty strings in place of those that it lacks.

    Args:
      prefix: string scalar, read when the op runs.
      defaults: {name of a tensor: (its dtype, tf.float32 or tf.string; the shape of its default)}.
      name: of the op.

    Returns:
      A list of tensors in the order of `defaults`. There are none in a checkpoint that does not exist.
    """
    dtypes, shapes = zip(*defaults.values())
    return library.load().vai_restore_tensors(prefix, list(defaults), dtypes, shapes, name)


def match_rows(tensors, variables, structures, earlier, saved, name=None):
    """The votes that the rows of a table take over from the table of a checkpoint.

    A row takes over those of the first row of the checkpoint that has its name and structure; else its structure; else its
    name; else one of its earlier names, the first that counts; else its variable. An empty string is that of no row.

    Args:
      tensors, variables: string [rows], the names of the quantized tensors, and of the variables that they are made of.
      structures: string [rows]; None where nobody noted them.
      earlier: string [rows, names]; None as well.
      saved: names, variables and structures of the checkpoint, string [its rows], and its votes, float32 [its rows, 256].
        Structures [0] are those that nobody noted. A checkpoint with variables [0] has no rows, whatever else it has.
      name: of the op.

    Returns:
      float32 [rows, 256], zeros where no row matches; bool scalar, whether the checkpoint has rows and no vote yet.

    Raises:
      tf.errors.InvalidArgumentError: when run, if shapes do not fit or a vote of the checkpoint is not finite.
    """
    found = library.load().vai_match_rows(
        tensors, variables, library.given(structures), library.given(earlier), *saved, name=name)
    return found.votes, found.before_training


for _op_type in ('VaiCheckpointHas', 'VaiRestoreTensors', 'VaiMatchRows'):
    library.register_gradient(_op_type, None)
