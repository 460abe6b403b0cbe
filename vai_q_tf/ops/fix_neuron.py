"""The ops as Python functions, and their gradients."""
import tensorflow as tf

from vai_q_tf.ops import library
from vai_q_tf.ops.learned_position import threshold_gradient
from vai_q_tf.ops.threshold_update import take_along


def fix_neuron(input, mode, phase, bit_width=8, method=1, output_dir='', quantize_pos=0, T=tf.float32, name=None):
    """`input` rounded to `bit_width` bits at a power-of-two scale, float32 of the same shape.

    Args:
      input: float32 tensor.
      mode: 0 weight or bias, 2 depthwise weight (halves away from zero); 1 activation (halves up).
      phase: 1 quantizes at `quantize_pos`; 0 and 2 at the position found for this very input.
      bit_width: from 1 to 24, the sign included.
      method: how phases 0 and 2 search, see `search_position`.
      output_dir: not used; the op keeps no files.
      quantize_pos: the position of phase 1, in fractional bits.
      T: not used.
      name: of the op.

    The gradient passes unchanged in phases 0 and 2, and inside the representable range in phase 1.
    """
    return library.load().fix_neuron(input, mode, phase, bit_width, method, output_dir, quantize_pos, T, name)


FixNeuron = fix_neuron  # the name of the op, by which scripts call it, too


def vai_fix_neuron(input, position, bit_width=8, mode=1, narrow_range=False, gradient='clipped', name=None):
    """`input` rounded to `bit_width` bits at `position`, float32 of the same shape.

    Args:
      input: float32 tensor.
      position: int32 scalar tensor, fractional bits, from -126 to 127; NO_OBSERVATION leaves the values as they are,
        non-finite and subnormal ones too.
      bit_width: from 1 to 24, the sign included.
      mode: as in `fix_neuron`.
      narrow_range: leaves out the smallest value, so that the range is -hi to hi. The op's attr is called `symmetric`.
      gradient: 'clipped' passes the gradient inside the representable range, 'straight_through' everywhere.
      name: of the op.

    Raises:
      tf.errors.InvalidArgumentError: when run, if the position is out of range.
    """
    return library.load().vai_fix_neuron(input, position, bit_width, mode, narrow_range, gradient, name)


def search_position(input, track=True, bit_width=8, mode=1, method=1, narrow_range=False, tie=1.0, name=None):
    """The position for `input`, an int32 scalar of fractional bits; NO_OBSERVATION where `track` is false.

    fixed_point.search_position defines it.

    Args:
      input: float32 tensor.
      track: bool scalar tensor. Where it is false the input is not read.
      bit_width: from 1 to 24, the sign included.
      mode: as in `fix_neuron`.
      method: 0 non-overflow, 1 min-diffs, 2 min-diffs with the relative error in mode 2.
      narrow_range: as in `vai_fix_neuron`.
      tie: float scalar of at least 1, how many times the least error a finer position may have. Not used in method 0.
      name: of the op.
    """
    return library.load().vai_search_position(
        input, track, library.given(tie, 1.0), bit_width, mode, method, narrow_range, name)


def position_errors(input, below, above, bit_width=8, mode=1, narrow_range=False, name=None):
    """What `input` loses at each position of a window: (first, errors), int32 scalar and float64 [below + above + 1].

    errors[i] is the sum of (Q(input) - input)^2 at position first + i. fixed_point.position_errors defines both.

    Args:
      input: float32 tensor.
      below, above: Python ints, how far the window reaches from the position of method 0; together less than WINDOW_MAX.
      bit_width: from 1 to 24, the sign included.
      mode: as in `fix_neuron`.
      narrow_range: as in `vai_fix_neuron`.
      name: of the op.
    """
    return library.load().vai_position_errors(input, below, above, bit_width, mode, narrow_range, name)


def _fix_neuron_gradient(op, gradient):
    if op.get_attr('phase') != 1:
        return gradient
    return library.load().vai_fix_neuron_grad(gradient, op.inputs[0], op.get_attr('quantize_pos'),
                                              bit_width=op.get_attr('bit_width'), symmetric=_has_narrow_range(op))


def _has_narrow_range(op):
    try:
        return op.get_attr('_symmetric')
    except ValueError:  # a private attribute, absent by default
        return False


def _vai_fix_neuron_gradient(op, gradient):
    input, position = op.inputs
    bits, symmetric = op.get_attr('bit_width'), op.get_attr('symmetric')
    to_input = gradient
    if op.get_attr('gradient') != b'straight_through':
        to_input = library.load().vai_fix_neuron_grad(gradient, input, position, bit_width=bits, symmetric=symmetric)
    return take_along(op, position, lambda learning: threshold_gradient(
        gradient, input, position, learning, bits, op.get_attr('mode'), symmetric), [to_input]) + [None]


def _vai_fix_neuron_grad_gradient(op, gradient):
    """The mask is linear in the incoming gradient and constant in the input."""
    return library.load().vai_fix_neuron_grad(gradient, op.inputs[1], op.inputs[2], bit_width=op.get_attr('bit_width'),
                                              symmetric=op.get_attr('symmetric')), None, None


library.register_gradient('FixNeuron', _fix_neuron_gradient)
library.register_gradient('VaiFixNeuron', _vai_fix_neuron_gradient)
library.register_gradient('VaiFixNeuronGrad', _vai_fix_neuron_grad_gradient)
for _op_type in ('VaiSearchPosition', 'VaiPositionErrors'):
    library.register_gradient(_op_type, None)
