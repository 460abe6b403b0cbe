"""The ops on a tensor with one scale per channel, Q(input * scale) * rescale, as Python functions, and their gradients.

They compute tf.multiply, vai_fix_neuron and tf.multiply in one pass, without storing the products.
Element i of the flat input belongs to channel (i // inner) % C: `inner` is the number of elements after the channel axis,
1 if channels are the last axis.
"""
from typing import List, Optional

import tensorflow as tf

from vai_q_tf.ops import library
from vai_q_tf.ops.learned_position import scaled_threshold_gradient
from vai_q_tf.ops.phases import split_phases
from vai_q_tf.ops.threshold_update import take_along


def scaled_fix_neuron(input: tf.Tensor, scale: tf.Tensor, rescale: tf.Tensor, position: tf.Tensor, bit_width: int = 8,
                      mode: int = 0, inner: int = 1, narrow_range: bool = False, gradient: str = 'clipped',
                      constant: Optional[tf.Tensor] = None, name: Optional[str] = None) -> tf.Tensor:
    """Q(input * scale) * rescale, float32 of the shape of `input`; both products are rounded to float32.

    fixed_point.scaled_quantize defines it, and fixed_point.scaled_gradient the gradient to `input`. The gradient to
    `scale` is the sum over each channel of the gradient to input * scale, times `input`. `rescale` has no gradient: it counts
    as a constant.

    Args:
      input: float32 tensor; the number of its elements is a multiple of C * inner.
      scale, rescale: float32 tensors [C].
      position: int32 scalar tensor, fractional bits, from -126 to 127; NO_OBSERVATION gives input * scale * rescale.
      bit_width: from 1 to 24, including the sign.
      mode: 0 weight or bias, 2 depthwise weight (halves away from zero); 1 activation (halves up).
      inner: the number of consecutive elements of a channel.
      narrow_range: as in `vai_fix_neuron`.
      gradient: 'clipped' passes the gradient where input * scale is representable, 'straight_through' everywhere.
      constant: bool scalar tensor; if it is true, the gradient to `scale` is zeros and costs nothing. None: false.
      name: of the op.

    Raises:
      tf.errors.InvalidArgumentError: when run, if the position is out of range or the shapes do not fit.
    """
    return library.load().vai_scaled_fix_neuron(
        input, scale, rescale, library.given(constant), position, bit_width, mode, inner, narrow_range, gradient, name)


def scaled_search_position(input: tf.Tensor, scale: tf.Tensor, track: tf.Tensor = True, bit_width: int = 8, mode: int = 0,
                           method: int = 1, inner: int = 1, narrow_range: bool = False, tie: float = 1.0,
                           name: Optional[str] = None) -> tf.Tensor:
    """`search_position` for input * scale; `input`, `scale` and `inner` are as in `scaled_fix_neuron`."""
    return library.load().vai_scaled_search_position(
        input, scale, track, library.given(tie, 1.0), bit_width, mode, method, inner, narrow_range, name)


def _of_channels(op: tf.Operation, tensor: tf.Tensor) -> tf.Tensor:
    """`tensor` as [.., channels, inner]."""
    return tf.reshape(tensor, [-1, tf.size(op.inputs[1]), op.get_attr('inner')])


def _passed(op: tf.Operation, gradient: tf.Tensor, input: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """gradient * factor where the gradient passes."""
    if op.get_attr('gradient') == b'straight_through':
        return tf.reshape(_of_channels(op, gradient) * factor[:, tf.newaxis], tf.shape(input))
    return library.load().vai_scaled_fix_neuron_grad(
        gradient, input, op.inputs[1], factor, op.inputs[-1], bit_width=op.get_attr('bit_width'), inner=op.get_attr('inner'),
        symmetric=op.get_attr('symmetric'))


def _scaled_fix_neuron_gradient(op: tf.Operation, gradient: tf.Tensor) -> List[Optional[tf.Tensor]]:
    input, scale, rescale, *constant, position = op.inputs
    # Without elements if `scale` is a constant.
    counted, weights = [split_phases(tensor, constant[0])[1] if constant else tensor for tensor in (gradient, input)]
    to_scale = tf.reduce_sum(_of_channels(op, _passed(op, counted, weights, rescale) * weights), axis=[0, 2])

    def to_threshold(learning: tf.Tensor) -> tf.Tensor:
        return scaled_threshold_gradient(
            gradient, input, scale, rescale, position, learning, op.get_attr('bit_width'), op.get_attr('mode'),
            op.get_attr('inner'), op.get_attr('symmetric'))

    return take_along(op, position, to_threshold, [_passed(op, gradient, input, scale * rescale), to_scale]) + [
        None for _ in op.inputs[2:]]


library.register_gradient('VaiScaledFixNeuron', _scaled_fix_neuron_gradient)
for _op_type in ('VaiScaledFixNeuronGrad', 'VaiScaledSearchPosition'):
    library.register_gradient(_op_type, None)
