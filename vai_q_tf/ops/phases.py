"""The ops that choose between the two phases of a training, as Python functions, and their gradients.

`split_phases` routes a batch to one of two parts of a graph, `join_phases` forwards the part that has it. They copy nothing.
A part without examples costs next to nothing, and neither do its gradients. A tf.cond has the same effect, but with one for
each layer TensorFlow's graph optimizer takes minutes. Each op of TensorFlow has a price in time, however small its tensors, so
`select_phase` selects several values at once, and `folding_scales` is the whole arithmetic on the scales of a layer.
"""
from typing import List, NamedTuple, Optional, Sequence, Tuple

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


def select_phase(first_values: Sequence[tf.Tensor], second_values: Sequence[tf.Tensor], first: tf.Tensor,
                 name: Optional[str] = None) -> List[tf.Tensor]:
    """`first_values` if `first` is true, else `second_values`: tensors of one type, in pairs of one shape. None is copied."""
    return library.load().vai_select_phase(first_values, second_values, first, name)


class FoldingScales(NamedTuple):
    """The results of `folding_scales`."""
    weights: tf.Tensor
    rescale: tf.Tensor
    factors: List[tf.Tensor]


def folding_scales(scale: tf.Tensor, typical: tf.Tensor, first: Optional[tf.Tensor] = None, factors: Sequence[tf.Tensor] = (),
                   name: Optional[str] = None) -> FoldingScales:
    """By what weights are multiplied before they are quantized, and after.

    If `first` is true, all results are constants to the gradient. `weights` is `scale`, where a magnitude below 1e-20 becomes
    the largest one, or `typical` if all are below, and `rescale` is 1 / `weights`. Otherwise `weights` is `scale`, and
    `rescale` is ones.

    Args:
      scale, typical: float32 tensors [C].
      first: bool scalar tensor; None: true.
      factors: float32 tensors that are returned as they are; only the gradient differs.
      name: of the op.
    """
    weights, rescale, passed = library.load().vai_folding_scales(scale, typical, library.given(first), list(factors), name)
    return FoldingScales(weights, rescale, passed)


def _split_gradient(op: tf.Operation, to_first: tf.Tensor, to_second: tf.Tensor) -> List[Optional[tf.Tensor]]:
    return [join_phases(to_first, to_second, op.inputs[1]), None]


def _join_gradient(op: tf.Operation, gradient: tf.Tensor) -> List[Optional[tf.Tensor]]:
    return list(split_phases(gradient, op.inputs[2])) + [None]


def _select_gradient(op: tf.Operation, *gradients: tf.Tensor) -> List[Optional[tf.Tensor]]:
    first, zeros = op.inputs[-1], [tf.zeros_like(gradient) for gradient in gradients]
    return [*select_phase(gradients, zeros, first), *select_phase(zeros, gradients, first), None]


def _folding_scales_gradient(op: tf.Operation, to_weights: tf.Tensor, _: tf.Tensor,
                             *to_factors: tf.Tensor) -> List[Optional[tf.Tensor]]:
    if not op.get_attr('M'):
        return [None for _ in op.inputs]
    gradients = [to_weights, *to_factors]
    to_scale, *passed = select_phase([tf.zeros_like(gradient) for gradient in gradients], gradients, op.inputs[2])
    return [to_scale, None, None, *passed]


library.register_gradient('VaiSplitPhases', _split_gradient)
library.register_gradient('VaiJoinPhases', _join_gradient)
library.register_gradient('VaiSelectPhase', _select_gradient)
library.register_gradient('VaiFoldingScales', _folding_scales_gradient)
