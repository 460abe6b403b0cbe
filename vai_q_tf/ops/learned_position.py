"""Learned positions as ops: the gradient of a threshold, and the update of a row of votes by it."""
from typing import Optional, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf.ops import library

RATE = 0.01


def learned_position(state: tf.Tensor, elected: tf.Tensor, legal: tf.Tensor, learning: tf.Tensor, rows: int, row: int,
                     members: Sequence[int] = (), networks: int = 1, name: Optional[str] = None) -> tf.Tensor:
    """The position of a tensor whose threshold is learned, an int32 scalar: `elected` while it learns, else the legal one.

    Args:
      state: as in `moving_position`.
      elected: int32 scalar, the position that its row elects; if it is NO_OBSERVATION, so is the result.
      legal: the result of `legal_positions`.
      learning: bool scalar tensor, whether the backward pass of this run updates the row.
      rows, row: as in `moving_position`.
      members: other rows, which an update makes equal to this one.
      networks: the number of copies of the network, hence the most calls of tf.gradients that contribute to one update.
      name: of the op.
    """
    return library.load().vai_learned_position(
        state, elected, legal, learning, rows=rows, row=row, members=list(members), networks=networks, name=name)


def learn_position(state: tf.Tensor, learning: tf.Tensor, to_threshold: Sequence[tf.Tensor], rows: int, row: int,
                   members: Sequence[int] = (), rate: float = RATE, name: Optional[str] = None) -> tf.Operation:
    """An op that updates row `row` by the sum of the gradients to its threshold; position_histogram.learn defines it.

    Args:
      learning: bool scalar tensor; if it is false nothing changes.
      to_threshold: float64 scalar tensors, summed in their order.
      rate: the most that a step moves the position before rounding.
      state, rows, row, members, name: as in `learned_position`.
    """
    return library.load().vai_learn_position(
        state, learning, to_threshold, rows=rows, row=row, members=list(members), rate=rate, name=name)


def threshold_gradient(gradient: tf.Tensor, input: tf.Tensor, position: tf.Tensor, learning: tf.Tensor = True,
                       bit_width: int = 8, mode: int = 1, narrow_range: bool = False, name: Optional[str] = None) -> tf.Tensor:
    """The gradient with respect to the log2 of the threshold of `position`, a float64 scalar; 0 if `learning` is false.

    fixed_point.threshold_gradient defines it.

    Args:
      gradient: float32 tensor, the gradient with respect to the quantized `input`.
      learning: bool scalar tensor.
      input, position, bit_width, mode, narrow_range, name: as in `vai_fix_neuron`; the result is 0 at NO_OBSERVATION.
    """
    return library.load().vai_threshold_grad(gradient, input, position, learning, bit_width, mode, narrow_range, name)


def scaled_threshold_gradient(gradient: tf.Tensor, input: tf.Tensor, scale: tf.Tensor, factor: tf.Tensor,
                              position: tf.Tensor, learning: tf.Tensor = True, bit_width: int = 8, mode: int = 0,
                              inner: int = 1, narrow_range: bool = False, name: Optional[str] = None) -> tf.Tensor:
    """`threshold_gradient` of gradient * factor and input * scale; `inner` is as in `scaled_fix_neuron`."""
    return library.load().vai_scaled_threshold_grad(gradient, input, scale, factor, position, learning, bit_width, mode, inner,
                                                    narrow_range, name)


for _op_type in ('VaiLearnedPosition', 'VaiThresholdGrad', 'VaiScaledThresholdGrad'):
    library.register_gradient(_op_type, None)
