"""The hardware: every constant and limit of the DPU and of its compiler that decisions rest on, each with its source.

Four sources are named: the *simulator*, AMD's published fixed-point models of the DPU, whose integer arithmetic the NumPy
model of the tests repeats; the *front-end*, the TensorFlow parser of the Vitis AI compiler 3.5, tried with graphs; the *guide*,
the Vitis AI user guide (UG1414) with the product guides of the DPU families; the *original*, the quantizer of Vitis AI, whose
models the golden tests hold. Positions count fractional bits.
"""
from typing import FrozenSet, NamedTuple

from vai_q_tf import errors

# Shift registers, in bits. The shift that cuts a result lies in 0 .. MAX_SHIFT, the one that aligns a bias in
# min(0, shift_cut - MAX_SHIFT) .. MAX_SHIFT; the compiler aborts beyond. Source: simulator, original.
MAX_SHIFT = 16

# An addition shifts each input to the lowest position of them, by at most MAX_ADD_SHIFT_READ, and the sum to that of the
# result, by at most MAX_ADD_SHIFT_WRITE either way; so does an activation function that is not computed with another op. A
# multiplication shifts the product, whose position is the sum of those of its inputs, by 0 .. MAX_MUL_SHIFT_WRITE. Source:
# simulator for what is shifted; the quantizers of later versions of Vitis AI for the limits.
MAX_ADD_SHIFT_READ = 15
MAX_ADD_SHIFT_WRITE = 15
MAX_MUL_SHIFT_WRITE = 32

# The positions of the input and the result of a pool differ by at most this. Source: simulator.
MAX_POOL_SHIFT = 7

# Families whose activations leave out the smallest integer, -2^(b-1). Source: original.
NARROW_RANGE_FAMILIES = frozenset(('DPUCADF8H',))

# Leaky relu multiplies by 26 and shifts by 8, whatever the slope of the graph is. Source: simulator.
LEAKY_RELU_SLOPE = 26 / 256
_FLOAT_LEAKY_RELU_SLOPE = 0.1  # what the compiler takes for it

# The hard sigmoid relu6(x + 3) / 6 multiplies by 2731 and shifts by 14; this is what that is to a division by 6. Source:
# simulator. Its result and its input have these positions at least. Source: original. The shift that makes the one of the other
# is 0 .. MAX_HARD_SIGMOID_SHIFT. Source: the width of integers, not tried.
HARD_SIGMOID_BITS = 14
HARD_SIGMOID_FACTOR = 6 * 2731 / 2.0**HARD_SIGMOID_BITS
MAX_HARD_SIGMOID_SHIFT = 31
HARD_SIGMOID_POSITION = 7
HARD_SIGMOID_INPUT_POSITION = 0

# Average pools multiply the sum by a fixed-point reciprocal of the window size. These square windows have one of their own;
# the others the nearest k / 2^n, up to this extent along an axis. Source: simulator, original.
AVERAGE_POOL_RECIPROCALS = {3: 7 / 64, 5: 10 / 256, 6: 7 / 256, 7: 21 / 1024, 14: 21 / 4096}
MAX_AVERAGE_POOL_EXTENT = 256
# A pool of this many elements (height * width of the window) or more has to be split. Source: original.
TOO_LARGE_POOL = 512

# Softmax in bfloat16, beside the DPU: sums in this many lanes, a polynomial for 2^x between 0 and 1 (highest power first), and
# an approximate reciprocal, whose bits are about the seed minus the bits of the number. Source: original.
SOFTMAX_LANES = 16
SOFTMAX_POLYNOMIAL = (0.21875, 0.486328125, 1.0, 1.0)
RECIPROCAL_SEED = 0x7EB5
RECIPROCAL_STEP = (1.9395974, 1.436142)

# What the front-end translates by op type: the guide's table of supported operations, and the ops that evaluation graphs
# made from them contain. Everything else goes through as an opaque op of known shape. Source: front-end.
COMPILER_OPS = frozenset((
    'Add', 'AddV2', 'AvgPool', 'BatchToSpaceND', 'BiasAdd', 'ConcatV2', 'Const', 'Conv2D', 'Conv2DBackpropInput',
    'DepthToSpace', 'DepthwiseConv2dNative', 'ExpandDims', 'FixNeuron', 'LeakyRelu', 'MatMul', 'Max', 'MaxPool',
    'Maximum', 'Mean', 'Mul', 'Pad', 'Placeholder', 'Relu', 'Relu6', 'Reshape', 'ResizeBilinear',
    'ResizeNearestNeighbor', 'Sigmoid', 'Softmax', 'SpaceToBatchND', 'Split', 'Squeeze', 'StridedSlice', 'Transpose',
    'Unpack'))


def is_leaky_slope(slope):
    """Whether the DPU's leaky relu is the one with this slope: 0.1, as the compiler takes it, or what that is on the DPU."""
    return min(abs(slope - _FLOAT_LEAKY_RELU_SLOPE), abs(slope - LEAKY_RELU_SLOPE)) < 1e-5


def has_narrow_range(arch_type):
    """Whether activations of an arch_type leave out the smallest integer."""
    return arch_type in NARROW_RANGE_FAMILIES


class Target(NamedTuple):
    """A DPU family. ops: the op types that it computes. note: what holds for some of its configurations only."""
    name: str
    ops: FrozenSet[str]
    note: str = ''


# Op types by family. Sizes are limited too (kernels, strides, channels); the compiler has the last word on those. Ops of
# pre- and post-processing such as Reshape are on the DPU where they only rename memory. Source: guide.
_ALL = frozenset((
    'Add', 'AddN', 'AddV2', 'AvgPool', 'BatchToSpaceND', 'BiasAdd', 'Concat', 'ConcatV2', 'Conv2D', 'Conv2DBackpropInput',
    'DepthToSpace', 'ExpandDims', 'FusedBatchNorm', 'FusedBatchNormV2', 'FusedBatchNormV3', 'Identity', 'MatMul', 'MaxPool',
    'Mean', 'Pad', 'Placeholder', 'Relu', 'Reshape', 'ResizeNearestNeighbor', 'SpaceToBatchND', 'Squeeze'))
_DEPTHWISE = frozenset(('DepthwiseConv2dNative', 'ResizeBilinear'))  # resizing is a depthwise transposed convolution there
_HARD = frozenset(('Mul', 'Relu6', 'LeakyRelu', 'Maximum'))  # with hard-sigmoid and hard-swish; Maximum is a leaky relu
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


def find_target(name):
    """The Target of a family, or of a configuration of it such as 'DPUCZDX8G_ISA1_B4096'; an INVALID_CONFIG error otherwise."""
    target = TARGETS.get(name.strip().partition('_')[0].upper())
    if target is None:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Unknown target', 'target_type is {!r}; choose one of {}.'.format(
            name, ', '.join(sorted(TARGETS))))
    return target
