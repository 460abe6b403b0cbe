"""The ops that give a batch to one of two parts of a graph, as Python functions, and their gradients. They copy nothing.

What computes on no examples costs next to nothing, and neither do its gradients. A tf.cond does the same and makes
TensorFlow's graph optimizer take minutes where there is one for each layer.
"""
from vai_q_tf.ops import library


def split_phases(value, first, name=None):
    """(all examples of `value`, none of them) where `first` is true, (none, all) elsewhere.

    Args:
      value: tensor of any type [examples, ...].
      first: bool scalar tensor.
      name: of the op.

    Returns:
      Two tensors [examples or 0, ...]; their static shapes leave the number of examples open.

    Raises:
      tf.errors.InvalidArgumentError: when run, if `value` is a scalar.
    """
    return library.load().vai_split_phases(value, first, name)


def join_phases(first_part, second_part, first, name=None):
    """`first_part` where `first` is true, `second_part` elsewhere. What `split_phases` split is whole again.

    The gradient to the other part has no examples, so that has to have none either.
    """
    return library.load().vai_join_phases(first_part, second_part, first, name)


def _split_gradient(op, to_first, to_second):
    return [join_phases(to_first, to_second, op.inputs[1]), None]


def _join_gradient(op, gradient):
    return list(split_phases(gradient, op.inputs[2])) + [None]


library.register_gradient('VaiSplitPhases', _split_gradient)
library.register_gradient('VaiJoinPhases', _join_gradient)
