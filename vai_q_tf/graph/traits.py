"""What quantization needs to know of each op type. Coverage grows by rows of the tables below."""
from typing import NamedTuple, Tuple

WEIGHTED, VALUE, SHARED, FORWARDS, FLOAT = 'weighted', 'value', 'shared', 'passes', 'float'


class Trait(NamedTuple):
    """One row.

    kind: WEIGHTED multiplies its input by weights; VALUE has an output position of its own; SHARED has one too, which
      should be that of its inputs, as it only selects, joins or averages values; PASSES hands its input on as it is and
      needs no FixNeuron after it; FLOAT stays float for `reason`.
    data: which of the inputs carry values, a slice.
    weight: the index of the weights.
    channel_axes: the axes of the weights that make up the output channels, in the order of the channels.
    reduction_axes: the axes of the weights that one value of the result sums over.
    depthwise: whether each input channel has filters of its own.
    constants: whether constant operands take part with positions of their own.
    relu: whether a relu after it is computed with it.
    moves: whether the result holds the values of the first input as they are, and zeros; the hardware copies integers there.
    reason: why the op stays float.
    """
    kind: str
    data: slice = slice(0, 1)
    weight: int = 1
    channel_axes: Tuple[int, ...] = ()
    reduction_axes: Tuple[int, ...] = ()
    depthwise: bool = False
    constants: bool = False
    relu: bool = True
    moves: bool = False
    reason: str = ''

    def data_inputs(self, inputs):
        """The (index, tensor) of the inputs that carry values, among the data inputs of a node."""
        return tuple(enumerate(inputs))[self.data]


# The ops whose output is their input; of an IdentityN each output is the input of its number.
PASS_THROUGH_OPS = frozenset((
    'Identity', 'IdentityN', 'StopGradient', 'CheckNumerics', 'PreventGradient', 'Snapshot', 'DebugIdentity', 'DebugIdentityV2',
    'Copy', 'CopyHost', 'Print'))
IDENTITY_OPS = frozenset(('Identity',))  # what patterns look through
# From a variable or a Const to its reader; what ReadVariableOp reads is the handle, which stands for the value.
READ_OPS = IDENTITY_OPS | {'ReadVariableOp'}

_ALL = slice(None)
_BUT_LAST = slice(0, -1)
_BUT_FIRST = slice(1, None)
_FED = 'it is fed, but is not one of the input nodes'
_SEVERAL_OUTPUTS = 'it has several outputs, each a part of an input that is quantized already'

TRAITS = {
    'Conv2D': Trait(WEIGHTED, channel_axes=(3,), reduction_axes=(0, 1, 2)),
    'Conv3D': Trait(WEIGHTED, channel_axes=(4,), reduction_axes=(0, 1, 2, 3)),
    'DepthwiseConv2dNative': Trait(WEIGHTED, channel_axes=(2, 3), reduction_axes=(0, 1), depthwise=True),
    'MatMul': Trait(WEIGHTED, channel_axes=(1,), reduction_axes=(0,)),
    'Conv2DBackpropInput': Trait(WEIGHTED, data=slice(2, 3), channel_axes=(2,), reduction_axes=(0, 1, 3)),

    'Add': Trait(VALUE, _ALL, constants=True),
    'AddV2': Trait(VALUE, _ALL, constants=True),
    'AddN': Trait(VALUE, _ALL, constants=True),
    'BiasAdd': Trait(VALUE, _ALL, constants=True),
    'Mul': Trait(VALUE, _ALL, constants=True),
    'Mean': Trait(VALUE),
    'Sum': Trait(VALUE),
    'Relu': Trait(VALUE),
    'Relu6': Trait(VALUE),
    'LeakyRelu': Trait(VALUE),
    'ResizeBilinear': Trait(VALUE, relu=False),

    'AvgPool': Trait(SHARED),
    'AvgPool3D': Trait(SHARED),
    'BatchToSpaceND': Trait(SHARED, moves=True),
    'Concat': Trait(SHARED, _BUT_FIRST, constants=True),
    'ConcatV2': Trait(SHARED, _BUT_LAST, constants=True),
    'DepthToSpace': Trait(SHARED, relu=False, moves=True),
    'ExpandDims': Trait(SHARED, moves=True),
    'Max': Trait(SHARED),
    'Maximum': Trait(SHARED, _ALL, constants=True),
    'MaxPool': Trait(SHARED),
    'MaxPool3D': Trait(SHARED),
    'MirrorPad': Trait(SHARED, moves=True),
    'Pad': Trait(SHARED, moves=True),
    'PadV2': Trait(SHARED, moves=True),
    'Reshape': Trait(SHARED, moves=True),
    'ResizeNearestNeighbor': Trait(SHARED, relu=False, moves=True),
    'SpaceToBatchND': Trait(SHARED, relu=False, moves=True),
    'Squeeze': Trait(SHARED, moves=True),
    'StridedSlice': Trait(SHARED, relu=False, moves=True),
    'Transpose': Trait(SHARED, moves=True),

    **{op: Trait(FORWARDS) for op in sorted(PASS_THROUGH_OPS)},

    'Placeholder': Trait(FLOAT, reason=_FED),
    'PlaceholderWithDefault': Trait(FLOAT, reason=_FED),
    'Softmax': Trait(FLOAT, reason='a softmax is computed in float; its input is quantized'),
    'LogSoftmax': Trait(FLOAT, reason='a softmax is computed in float; its input is quantized'),
    'Sigmoid': Trait(FLOAT, reason='a sigmoid is computed in float, but for that of x * sigmoid(x)'),
    'Split': Trait(FLOAT, reason=_SEVERAL_OUTPUTS),
    'SplitV': Trait(FLOAT, reason=_SEVERAL_OUTPUTS),
    'Unpack': Trait(FLOAT, reason=_SEVERAL_OUTPUTS),
}

BATCH_NORM_OPS = frozenset(('FusedBatchNorm', 'FusedBatchNormV2', 'FusedBatchNormV3'))
ADD_OPS = frozenset(('Add', 'AddV2', 'BiasAdd'))
CONCAT_OPS = frozenset(('Concat', 'ConcatV2'))
SHAPE_OPS = frozenset(('Shape', 'ShapeN', 'Size', 'Rank'))  # which read no values
# The ops whose outputs are parts of an input, and which one it is.
SPLIT_INPUTS = {'Split': 1, 'SplitV': 0, 'Unpack': 0}
FIX_NEURON_OPS = frozenset(('FixNeuron', 'VaiFixNeuron'))


def trait(op):
    """The Trait of an op type; FLOAT with a general reason for an op that has no row in TRAITS."""
    return TRAITS.get(op) or Trait(FLOAT, reason='there is no quantization rule for the op {}'.format(op))
