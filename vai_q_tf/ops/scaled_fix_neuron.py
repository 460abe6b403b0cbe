"""The ops on a tensor with one scale a channel, Q(input * scale) * rescale, as Python functions, and their gradients.

They compute what tf.multiply, vai_fix_neuron and tf.multiply compute, in one pass and without the products in memory.
Element i of the flat input belongs to channel (i // inner) % C: `inner` is 1 where channels are the last axis, and the
number of elements after the channel axis elsewhere.
"""
import tensorflow as tf

from vai_q_tf.ops import library
from vai_q_tf.ops.learned_position import scaled_threshold_gradient
from vai_q_tf.ops.threshold_update import take_along


def scaled_fix_neuron(input, scale, rescale, position, bit_width=8, mode=0, inner=1, narrow_range=False,
                      gradient='clipped', name=None):
    """Q(input * scale) * rescale, float32 of the shape of `input`; all three products are plain float32.

    fixed_point.scaled_quantize defines it, and fixed_point.scaled_gradient the gradient to `input`. The gradient to
    `scale` is the sum of that to the product times `input`. `rescale` has none: it is a constant to the gradient.

    Args:
      input: float32 tensor; the number of its elements is a multiple of C * inner.
      scale, rescale: float32 tensors [C].
      position: int32 scalar tensor, fractional bits, from -126 to 127; NO_OBSERVATION gives input * scale * rescale.
      bit_width: from 1 to 24, the sign included.
      mode: 0 weight or bias, 2 depthwise weight (halves away from zero); 1 activation (halves up).
      inner: Python int, how many consecutive elements share a channel.
      narrow_range: as in `vai_fix_neuron`.
      gradient: 'clipped' passes the gradient where input * scale is representable, 'straight_through' everywhere.
      name: of the op.

    Raises:
      tf.errors.InvalidArgumentError: when run, if the position is out of range or the shapes do not fit.
    """
    return library.load().vai_scaled_fix_neuron(input, scale, rescale, position, bit_width, mode, inner, narrow_range,
                                                gradient, name)


def scaled_search_position(input, scale, track=True, bit_width=8, mode=0, method=1, inner=1, narrow_range=False,
                           tie=1.0, name=None):
    """The position for input * scale, an int32 scalar of fractional bits; NO_OBSERVATION where `track` is false.

    The position that `search_position` finds for that product. `input`, `scale` and `inner` are as in
    `scaled_fix_neuron`, the rest as in `search_position`.
    """
    return library.load().vai_scaled_search_position(
        input, scale, track, library.given(tie, 1.0), bit_width, mode, method, inner, narrow_range, name)


def _of_channels(op, tensor):
    """`tensor` as [.., channels, inner]."""
    return tf.reshape(tensor, [-1, tf.size(op.inputs[1]), op.get_attr('inner')])


def _scaled_fix_neuron_gradient(op, gradient):
    input, scale, rescale, position = op.inputs

    def passed(factor):
        """gradient * factor where the gradient passes."""
        if op.get_attr('gradient') == b'straight_through':
            return tf.reshape(_of_channels(op, gradient) * factor[:, tf.newaxis], tf.shape(input))
        return library.load().vai_scaled_fix_neuron_grad(
            gradient, input, scale, factor, position, bit_width=op.get_attr('bit_width'), inner=op.get_attr('inner'),
            symmetric=op.get_attr('symmetric'))

    to_scale = tf.reduce_sum(_of_channels(op, passed(rescale) * input), axis=[0, 2])

    def to_threshold(learning):
        return scaled_threshold_gradient(
            gradient, input, scale, rescale, position, learning, op.get_attr('bit_width'), op.get_attr('mode'),
            op.get_attr('inner'), op.get_attr('symmetric'))

    return take_along(op, position, to_threshold, [passed(scale * rescale), to_scale]) + [None, None]


library.register_gradient('VaiScaledFixNeuron', _scaled_fix_neuron_gradient)
for _op_type in ('VaiScaledFixNeuronGrad', 'VaiScaledSearchPosition'):
    library.register_gradient(_op_type, None)
