"""What quantization needs to know about each op type. Coverage grows by rows of TRAITS."""
from typing import NamedTuple, Sequence, Tuple

WEIGHTED, VALUE, SHARED, FORWARDS, FLOAT = 'weighted', 'value', 'shared', 'passes', 'float'


class Trait(NamedTuple):
    """The traits of an op type.

    kind: WEIGHTED multiplies its input by weights; VALUE has its own output position; SHARED has one that should be equal to
      that of its inputs, because it only selects, joins or averages values; FORWARDS forwards its input unchanged and needs no
      FixNeuron; FLOAT stays float for `reason`.
    data: the inputs that carry values, a slice.
    weight: the index of the weights among the inputs.
    channel_axes: the axes of the weights that make up the output channels, in the order of the channels.
    reduction_axes: the axes of the weights that one value of the result sums over.
    depthwise: whether each input channel has its own filters.
    constants: whether constant operands are quantized, each at its own position.
    relu: whether the hardware fuses a following relu with it.
    moves: whether the result consists of values of the first input, and zeros; the hardware copies integers.
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

    def data_inputs(self, inputs: Sequence[str]) -> Tuple[Tuple[int, str], ...]:
        """The inputs that carry values, as (index, tensor); `inputs` are all inputs of a node, without control inputs."""
        return tuple(enumerate(inputs))[self.data]


# Ops that forward their input unchanged; IdentityN forwards input k to output k.
PASS_THROUGH_OPS = frozenset((
    'Identity', 'IdentityN', 'StopGradient', 'CheckNumerics', 'PreventGradient', 'Snapshot', 'DebugIdentity', 'DebugIdentityV2',
    'Copy', 'CopyHost', 'Print'))
IDENTITY_OPS = frozenset(('Identity',))  # which patterns ignore
# From a variable or a Const to its reader. ReadVariableOp reads a handle, which represents the value.
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
    'Sigmoid': Trait(FLOAT, reason='a sigmoid is computed in float, except in x * sigmoid(x)'),
    'Split': Trait(FLOAT, reason=_SEVERAL_OUTPUTS),
    'SplitV': Trait(FLOAT, reason=_SEVERAL_OUTPUTS),
    'Unpack': Trait(FLOAT, reason=_SEVERAL_OUTPUTS),
}

# Ops that only rearrange values. Resizing repeats them, which the DPU computes.
MOVING_OPS = frozenset(op for op, row in TRAITS.items() if row.moves) - {'ResizeNearestNeighbor'}
# Those of them that only change the shape.
SHAPING_OPS = frozenset(('Reshape', 'ExpandDims', 'Squeeze'))
BATCH_NORM_OPS = frozenset(('FusedBatchNorm', 'FusedBatchNormV2', 'FusedBatchNormV3'))
ADD_OPS = frozenset(('Add', 'AddV2', 'BiasAdd'))
CONCAT_OPS = frozenset(('Concat', 'ConcatV2'))
SHAPE_OPS = frozenset(('Shape', 'ShapeN', 'Size', 'Rank'))  # which read no values
# {op whose outputs are parts of an input: the index of that input}
SPLIT_INPUTS = {'Split': 1, 'SplitV': 0, 'Unpack': 0}
FIX_NEURON_OPS = frozenset(('FixNeuron', 'VaiFixNeuron'))


def trait(op: str) -> Trait:
    """The Trait of an op type; FLOAT with a general reason if it has no row in TRAITS."""
    return TRAITS.get(op) or Trait(FLOAT, reason='there is no quantization rule for the op {}'.format(op))
