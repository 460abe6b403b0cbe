"""The quantizing ops as Python functions, and their gradients."""
from typing import List, Optional, Tuple

import tensorflow as tf

from vai_q_tf.ops import library
from vai_q_tf.ops.learned_position import threshold_gradient
from vai_q_tf.ops.threshold_update import take_along


def fix_neuron(input: tf.Tensor, mode: int, phase: int, bit_width: int = 8, method: int = 1, output_dir: str = '',
               quantize_pos: int = 0, T: tf.DType = tf.float32, name: Optional[str] = None) -> tf.Tensor:
    """`input` rounded to `bit_width` bits at a power-of-two scale, float32 of the same shape.

    The gradient passes unchanged in phases 0 and 2, and inside the representable range in phase 1.

    Args:
      input: float32 tensor.
      mode: 0 weight or bias, 2 depthwise weight (halves away from zero); 1 activation (halves up).
      phase: 1 quantizes at `quantize_pos`; 0 and 2 search a position for this input.
      bit_width: from 1 to 24, including the sign.
      method: the method of the search, see `search_position`.
      output_dir: not used; the op writes no files.
      quantize_pos: the position of phase 1, in fractional bits.
      T: not used.
      name: of the op.
    """
    return library.load().fix_neuron(input, mode, phase, bit_width, method, output_dir, quantize_pos, T, name)


FixNeuron = fix_neuron  # scripts also call it by the name of the op


def vai_fix_neuron(input: tf.Tensor, position: tf.Tensor, bit_width: int = 8, mode: int = 1, narrow_range: bool = False,
                   gradient: str = 'clipped', name: Optional[str] = None) -> tf.Tensor:
    """`input` rounded to `bit_width` bits at `position`, float32 of the same shape.

    Args:
      input: float32 tensor.
      position: int32 scalar tensor, fractional bits, from -126 to 127; NO_OBSERVATION leaves all values unchanged,
        including non-finite and subnormal ones.
      bit_width: from 1 to 24, including the sign.
      mode: as in `fix_neuron`.
      narrow_range: excludes the smallest value, so that the range is -hi to hi. The op's attr is called `symmetric`.
      gradient: 'clipped' passes the gradient inside the representable range, 'straight_through' everywhere.
      name: of the op.

    Raises:
      tf.errors.InvalidArgumentError: when run, if the position is out of range.
    """
    return library.load().vai_fix_neuron(input, position, bit_width, mode, narrow_range, gradient, name)


def search_position(input: tf.Tensor, track: tf.Tensor = True, bit_width: int = 8, mode: int = 1, method: int = 1,
                    narrow_range: bool = False, tie: float = 1.0, name: Optional[str] = None) -> tf.Tensor:
    """The position for `input`, an int32 scalar of fractional bits; NO_OBSERVATION if `track` is false.

    fixed_point.search_position defines it.

    Args:
      input: float32 tensor.
      track: bool scalar tensor. If it is false the input is not read.
      bit_width: from 1 to 24, including the sign.
      mode: as in `fix_neuron`.
      method: 0 non-overflow, 1 min-diffs, 2 min-diffs with the relative error in mode 2.
      narrow_range: as in `vai_fix_neuron`.
      tie: float scalar of at least 1; a finer position may have up to `tie` times the least error. Not used by method 0.
      name: of the op.
    """
    return library.load().vai_search_position(
        input, track, library.given(tie, 1.0), bit_width, mode, method, narrow_range, name)


def position_errors(input: tf.Tensor, below: int, above: int, bit_width: int = 8, mode: int = 1, narrow_range: bool = False,
                    name: Optional[str] = None) -> Tuple[tf.Tensor, tf.Tensor]:
    """The squared quantization error at each position of a window: (first, errors), int32 and float64 [below + above + 1].

    errors[i] is the sum of (Q(input) - input)^2 at position first + i. fixed_point.position_errors defines both.

    Args:
      input: float32 tensor.
      below, above: how far the window reaches from the position of method 0; together less than WINDOW_MAX.
      bit_width: from 1 to 24, including the sign.
      mode: as in `fix_neuron`.
      narrow_range: as in `vai_fix_neuron`.
      name: of the op.
    """
    return library.load().vai_position_errors(input, below, above, bit_width, mode, narrow_range, name)


def _fix_neuron_gradient(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    if op.get_attr('phase') != 1:
        return gradient
    return library.load().vai_fix_neuron_grad(gradient, op.inputs[0], op.get_attr('quantize_pos'),
                                              bit_width=op.get_attr('bit_width'), symmetric=_has_narrow_range(op))


def _has_narrow_range(op: tf.Operation) -> bool:
    try:
        return op.get_attr('_symmetric')
    except ValueError:  # a private attribute, absent by default
        return False


def _vai_fix_neuron_gradient(op: tf.Operation, gradient: tf.Tensor) -> List[Optional[tf.Tensor]]:
    input, position = op.inputs
    bits, symmetric = op.get_attr('bit_width'), op.get_attr('symmetric')
    to_input = gradient
    if op.get_attr('gradient') != b'straight_through':
        to_input = library.load().vai_fix_neuron_grad(gradient, input, position, bit_width=bits, symmetric=symmetric)
    return take_along(op, position, lambda learning: threshold_gradient(
        gradient, input, position, learning, bits, op.get_attr('mode'), symmetric), [to_input]) + [None]


def _vai_fix_neuron_grad_gradient(op: tf.Operation, gradient: tf.Tensor) -> Tuple[tf.Tensor, None, None]:
    """The mask is linear in the incoming gradient and constant in the input."""
    return library.load().vai_fix_neuron_grad(gradient, op.inputs[1], op.inputs[2], bit_width=op.get_attr('bit_width'),
                                              symmetric=op.get_attr('symmetric')), None, None


library.register_gradient('FixNeuron', _fix_neuron_gradient)
library.register_gradient('VaiFixNeuron', _vai_fix_neuron_gradient)
library.register_gradient('VaiFixNeuronGrad', _vai_fix_neuron_grad_gradient)
for _op_type in ('VaiSearchPosition', 'VaiPositionErrors'):
    library.register_gradient(_op_type, None)
