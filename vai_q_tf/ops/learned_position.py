"""Learned positions: the gradients of thresholds, and their update, which the backward pass of the quantizing ops takes along.

A quantizing op whose position comes from `learned_position` gives, with its own gradient, that to the threshold. All such
gradients of one row meet in one update, on which the gradient waits that is handed on last, so whatever trains the network
updates the row once.
"""
import tensorflow as tf

from vai_q_tf import tf_internal
from vai_q_tf.ops import library

RATE = 0.01
_MARK, _UPDATE = 'VaiLearnedPosition', 'VaiLearnPosition'


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


def take_along(op, position, to_threshold, handed_on):
    """Makes the gradients that are handed on bring about the update of the threshold, if the position is learned.

    Args:
      op: the tf.Operation that quantizes, whose gradient function calls this.
      position: its input with the position.
      to_threshold: function of the bool tf.Tensor `learning` to the gradient to its threshold.
      handed_on: list of tf.Tensors, gradients to its other inputs.

    Returns:
      the gradients to hand on instead.
    """
    mark = _source(position)
    if mark.type != _MARK:
        return handed_on
    state, learning = mark.inputs[0], mark.inputs[3]
    gradient = to_threshold(learning)
    update, earlier = _new_update(op, mark, state, learning, gradient)
    waiting = tf_internal.waiting_ops(earlier) if earlier is not None else ()
    for waiter in waiting:
        tf_internal.set_control_inputs(waiter, [before for before in waiter.control_inputs if before is not earlier])
    # An optimizer changes a variable in the place that is read here, so the gradient waits, too, where the update does not.
    with tf.control_dependencies([gradient, update]):
        return [tf.identity(tensor) for tensor in handed_on]


def _new_update(op, mark, state, learning, gradient):
    """(the update with one more gradient, the one before with the others or None)."""
    same_row = [reader for reader in sorted(state.consumers(), key=tf_internal.creation_number)
                if reader.type in (_MARK, _UPDATE) and reader.get_attr('row') == mark.get_attr('row')]
    updates = [reader for reader in same_row if reader.type == _UPDATE and tf_internal.waiting_ops(reader)]
    earlier = updates[-1] if updates else None
    gradients = list(earlier.inputs)[2:] if earlier is not None else []
    if sum(other.op.inputs[1] is op.inputs[0] for other in gradients) >= mark.get_attr('networks'):
        earlier, gradients = None, []  # differentiated again: another training step
    with mark.graph.colocate_with(mark, ignore_existing=True), tf.control_dependencies(
            [reader for reader in same_row if reader.type == _MARK]):
        return learn_position(state, learning, gradients + [gradient], mark.get_attr('rows'), mark.get_attr('row'),
                              mark.get_attr('members')), earlier


def _source(tensor):
    """The op that makes a position, behind Identity ops."""
    op = tensor.op
    while op.type == 'Identity':
        op = op.inputs[0].op
    return op


for _op_type in (_MARK, 'VaiThresholdGrad', 'VaiScaledThresholdGrad'):
    library.register_gradient(_op_type, None)
