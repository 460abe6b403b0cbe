"""Learned positions as ops: the gradient of a threshold, and the update of a row of votes by it."""
from vai_q_tf.ops import library

RATE = 0.01


def learned_position(state, elected, legal, learning, rows, row, members=(), networks=1, name=None):
    """The position of a tensor whose threshold is learned, an int32 scalar: `elected` while it learns, else the legal one.

    Args:
      state: as in `moving_position`.
      elected: int32 scalar, the position that its row elects; NO_OBSERVATION is the result where it is that.
      legal: what `legal_positions` gives.
      learning: bool scalar tensor, whether the backward pass of this run updates the row.
      rows, row: Python ints, how many tensors share the variable, and which of them this is.
      members: Python ints, other rows, which an update makes equal to this one.
      networks: Python int, how many copies of the network there are, and so calls of tf.gradients that may make one update.
      name: of the op.
    """
    return library.load().vai_learned_position(
        state, elected, legal, learning, rows=rows, row=row, members=list(members), networks=networks, name=name)


def learn_position(state, learning, to_threshold, rows, row, members=(), rate=RATE, name=None):
    """An op that updates row `row` by the sum of the gradients to its threshold; fixed_point.learn defines it.

    Args:
      learning: bool scalar tensor; where it is false nothing changes.
      to_threshold: list of float64 scalar tensors, summed in their order.
      rate: Python float, how far a step moves the position before rounding, at most.
      state, rows, row, members, name: as in `learned_position`.
    """
    return library.load().vai_learn_position(
        state, learning, to_threshold, rows=rows, row=row, members=list(members), rate=rate, name=name)


def threshold_gradient(gradient, input, position, learning=True, bit_width=8, mode=1, narrow_range=False, name=None):
    """The gradient to the log2 of the threshold of `position`, a float64 scalar; 0 where `learning` is false.

    fixed_point.threshold_gradient defines it.

    Args:
      gradient: float32 tensor, that to the quantized `input`.
      input, position, bit_width, mode, narrow_range, name: as in `vai_fix_neuron`; 0 at NO_OBSERVATION, too.
      learning: bool scalar tensor.
    """
    return library.load().vai_threshold_grad(gradient, input, position, learning, bit_width, mode, narrow_range, name)


def scaled_threshold_gradient(gradient, input, scale, factor, position, learning=True, bit_width=8, mode=0, inner=1,
                              narrow_range=False, name=None):
    """`threshold_gradient` of gradient * factor and input * scale; `inner` is as in `scaled_fix_neuron`."""
    return library.load().vai_scaled_threshold_grad(gradient, input, scale, factor, position, learning, bit_width, mode, inner,
                                                    narrow_range, name)


for _op_type in ('VaiLearnedPosition', 'VaiThresholdGrad', 'VaiScaledThresholdGrad'):
    library.register_gradient(_op_type, None)
