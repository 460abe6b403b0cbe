"""Which op types each family of DPUs computes, after the operator tables of the Vitis AI user guide (UG1414) and of the product
guides of the families. Sizes are limited too (kernels, strides, channels); the compiler has the last word on those.
"""
from typing import FrozenSet, NamedTuple

from vai_q_tf import errors


class Target(NamedTuple):
    """A DPU family. ops: the op types that it computes. note: what holds for some of its configurations only."""
    name: str
    ops: FrozenSet[str]
    note: str = ''


# Ops of pre- and post-processing such as Reshape are on the DPU where they only rename memory.
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
