"""Constants and limits of the DPU and its compiler, each with its source.

The sources are the *simulator*, AMD's published fixed-point models of the DPU, whose integer arithmetic the NumPy model in the
tests repeats; the *front-end*, the TensorFlow parser of the Vitis AI compiler 3.5, tested with graphs; the *guide*, the Vitis
AI user guide (UG1414) with the product guides of the DPU families; the *quantizer* of Vitis AI, whose models are the golden
tests. Positions count fractional bits.
"""
from typing import FrozenSet, NamedTuple

from vai_q_tf import errors

# Shift registers, in bits. The shift that cuts a result lies in 0 .. MAX_SHIFT, the one that aligns a bias in
# min(0, shift_cut - MAX_SHIFT) .. MAX_SHIFT; beyond that the compiler aborts. Source: simulator, quantizer.
MAX_SHIFT = 16

# An addition shifts each input to the lowest of their positions, by at most MAX_ADD_SHIFT_READ, and the sum to the position of
# the result, by at most MAX_ADD_SHIFT_WRITE either way; so does an activation function that is not fused with another op. A
# multiplication shifts the product, whose position is the sum of the positions of its inputs, by 0 .. MAX_MUL_SHIFT_WRITE.
# Source: simulator for the arithmetic; the quantizers of later versions of Vitis AI for the limits.
# The shifted inputs keep ADD_EXTRA_BITS bits below the lowest position. What is cut off changes the result only if
# its position is more than ADD_EXTRA_BITS - 1 above the lowest. Source: simulator.
MAX_ADD_SHIFT_READ = 15
ADD_EXTRA_BITS = 2
MAX_ADD_SHIFT_WRITE = 15
MAX_MUL_SHIFT_WRITE = 32

# Greatest difference between the positions of the input and the result of a pool. Source: simulator.
MAX_POOL_SHIFT = 7

# Families whose activations leave out the smallest integer, -2^(b-1). Source: quantizer.
NARROW_RANGE_FAMILIES = frozenset(('DPUCADF8H',))

# Leaky relu multiplies by 26 and shifts by 8, whatever the slope in the graph. Source: simulator.
LEAKY_RELU_SLOPE = 26 / 256
_FLOAT_LEAKY_RELU_SLOPE = 0.1  # the slope that the compiler maps to it

# The hard sigmoid relu6(x + 3) / 6 multiplies by 2731 and shifts by 14; HARD_SIGMOID_FACTOR is the ratio to an exact division
# by 6. Source: simulator. HARD_SIGMOID_POSITION and HARD_SIGMOID_INPUT_POSITION are the lowest positions of result and input.
# Source: quantizer. The shift from input to result is 0 .. MAX_HARD_SIGMOID_SHIFT. Source: the width of integers, untested.
HARD_SIGMOID_BITS = 14
HARD_SIGMOID_FACTOR = 6 * 2731 / 2.0**HARD_SIGMOID_BITS
MAX_HARD_SIGMOID_SHIFT = 31
HARD_SIGMOID_POSITION = 7
HARD_SIGMOID_INPUT_POSITION = 0

# Average pools multiply the sum by a fixed-point reciprocal of the window size: for these square windows by the listed one, for
# others of up to MAX_AVERAGE_POOL_EXTENT along an axis by the nearest k / 2^n. Source: simulator, quantizer.
AVERAGE_POOL_RECIPROCALS = {3: 7 / 64, 5: 10 / 256, 6: 7 / 256, 7: 21 / 1024, 14: 21 / 4096}
MAX_AVERAGE_POOL_EXTENT = 256
# A pool with this many elements in its window (height * width) or more has to be split. Source: quantizer.
TOO_LARGE_POOL = 512

# Softmax in bfloat16, next to the DPU: sums in SOFTMAX_LANES lanes, a polynomial for e^x between 0 and ln 2 (highest power
# first), and an approximate reciprocal whose bits are RECIPROCAL_SEED minus those of the number, before a first step with
# RECIPROCAL_STEP. Source: quantizer.
SOFTMAX_LANES = 16
SOFTMAX_POLYNOMIAL = (0.21875, 0.486328125, 1.0, 1.0)
RECIPROCAL_SEED = 0x7EB5
RECIPROCAL_STEP = (1.9395974, 1.436142)

# Op types that the front-end translates: the guide's table of supported operations, and the ops that evaluation graphs contain
# for them. It forwards all others as opaque ops of known shape. Source: front-end.
COMPILER_OPS = frozenset((
    'Add', 'AddV2', 'AvgPool', 'BatchToSpaceND', 'BiasAdd', 'ConcatV2', 'Const', 'Conv2D', 'Conv2DBackpropInput',
    'DepthToSpace', 'DepthwiseConv2dNative', 'ExpandDims', 'FixNeuron', 'LeakyRelu', 'MatMul', 'Max', 'MaxPool',
    'Maximum', 'Mean', 'Mul', 'Pad', 'Placeholder', 'Relu', 'Relu6', 'Reshape', 'ResizeBilinear',
    'ResizeNearestNeighbor', 'Sigmoid', 'Softmax', 'SpaceToBatchND', 'Split', 'Squeeze', 'StridedSlice', 'Transpose',
    'Unpack'))


def is_leaky_slope(slope: float) -> bool:
    """Whether the DPU computes a leaky relu of this slope: 0.1, which the compiler accepts, or its value on the DPU."""
    return min(abs(slope - _FLOAT_LEAKY_RELU_SLOPE), abs(slope - LEAKY_RELU_SLOPE)) < 1e-5


def has_narrow_range(arch_type: str) -> bool:
    """Whether the activations of an arch_type leave out the smallest integer."""
    return arch_type in NARROW_RANGE_FAMILIES


class Target(NamedTuple):
    """A DPU family: the op types that it computes, and a note on configurations that differ."""
    name: str
    ops: FrozenSet[str]
    note: str = ''


# Op types by family. The compiler also limits sizes (kernels, strides, channels). Ops such as Reshape run on the DPU if they
# only rename memory. Source: guide.
_ALL = frozenset((
    'Add', 'AddN', 'AddV2', 'AvgPool', 'BatchToSpaceND', 'BiasAdd', 'Concat', 'ConcatV2', 'Conv2D', 'Conv2DBackpropInput',
    'DepthToSpace', 'ExpandDims', 'FusedBatchNorm', 'FusedBatchNormV2', 'FusedBatchNormV3', 'Identity', 'MatMul', 'MaxPool',
    'Mean', 'Pad', 'Placeholder', 'Relu', 'Reshape', 'ResizeNearestNeighbor', 'SpaceToBatchND', 'Squeeze'))
_DEPTHWISE = frozenset(('DepthwiseConv2dNative', 'ResizeBilinear'))  # resizing is a depthwise transposed convolution
_HARD = frozenset(('Mul', 'Relu6', 'LeakyRelu', 'Maximum'))  # hard sigmoid, hard swish, and leaky relu as a Maximum
_DWC = 'depthwise convolution needs a configuration with the DWC option'

TARGETS = {target.name: target for target in (
    Target('DPUCZDX8G', _ALL | _DEPTHWISE | _HARD),
    Target('DPUCAHX8H', _ALL | _DEPTHWISE | {'Relu6', 'LeakyRelu', 'Maximum'}, _DWC),
    Target('DPUCAHX8L', _ALL | {'DepthwiseConv2dNative', 'Relu6'}),
    Target('DPUCADF8H', _ALL | {'Relu6', 'LeakyRelu', 'Maximum'}),
    Target('DPUCVDX8G', _ALL | _DEPTHWISE | _HARD | {'Conv3D'}),
    Target('DPUCVDX8H', _ALL | _DEPTHWISE | _HARD, _DWC),
    Target('DPUCV2DX8G', _ALL | _DEPTHWISE | _HARD),
)}


def find_target(name: str) -> Target:
    """The Target of a family, or of one of its configurations such as 'DPUCZDX8G_ISA1_B4096'.

    Raises:
      QuantizeError: INVALID_CONFIG, unknown family.
    """
    target = TARGETS.get(name.strip().partition('_')[0].upper())
    if target is None:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Unknown target', 'target_type is {!r}; choose one of {}.'.format(
            name, ', '.join(sorted(TARGETS))))
    return target
