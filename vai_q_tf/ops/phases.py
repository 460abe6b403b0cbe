"""The ops that route a batch to one of two parts of a graph, as Python functions, and their gradients. They copy nothing.

A part without examples costs next to nothing, and neither do its gradients. A tf.cond has the same effect, but with one for
each layer TensorFlow's graph optimizer takes minutes.
"""
from typing import List, Optional, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.ops import library


def split_phases(value: tf.Tensor, first: tf.Tensor, name: Optional[str] = None) -> Tuple[tf.Tensor, tf.Tensor]:
    """(all examples of `value`, no examples) if `first` is true, else (no examples, all examples).

    Args:
      value: tensor of any type [examples, ...].
      first: bool scalar tensor.
      name: of the op.

    Returns:
      Two tensors [examples or 0, ...]; the number of examples is not in their static shapes.

    Raises:
      tf.errors.InvalidArgumentError: when run, if `value` is a scalar.
    """
    return library.load().vai_split_phases(value, first, name)


def join_phases(first_part: tf.Tensor, second_part: tf.Tensor, first: tf.Tensor, name: Optional[str] = None) -> tf.Tensor:
    """`first_part` if `first` is true, else `second_part`: the inverse of `split_phases`.

    The gradient to the other part has no examples, so the other part must not have any either.
    """
    return library.load().vai_join_phases(first_part, second_part, first, name)


def _split_gradient(op: tf.Operation, to_first: tf.Tensor, to_second: tf.Tensor) -> List[Optional[tf.Tensor]]:
    return [join_phases(to_first, to_second, op.inputs[1]), None]


def _join_gradient(op: tf.Operation, gradient: tf.Tensor) -> List[Optional[tf.Tensor]]:
    return list(split_phases(gradient, op.inputs[2])) + [None]


library.register_gradient('VaiSplitPhases', _split_gradient)
library.register_gradient('VaiJoinPhases', _join_gradient)
