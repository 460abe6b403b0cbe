"""The quantized tensors of a model: role, layer, bits and position of each, derived from the model alone."""
import collections
from typing import Container, Dict, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from vai_q_tf import fixed_point
from vai_q_tf.export.fix_neuron_nodes import CHANNEL_SCALES
from vai_q_tf.graph.control_flow import NEXT_OPS, next_iterations
from vai_q_tf.graph.dependence import changing_nodes
from vai_q_tf.graph.traits import IDENTITY_OPS, MOVING_OPS, WEIGHTED, trait
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE
from vai_q_tf.types import NodeInput

_DEFAULT_BITS = 8
_LARGEST = np.finfo(np.float32).max
_MOVES = IDENTITY_OPS | MOVING_OPS
_ADDS = frozenset(('BiasAdd', 'Add', 'AddV2', 'Sub'))


class ModelTensor(NamedTuple):
    """A quantized tensor of a model.

    name: of its FixNeuron. layer, role, bits, position: as in TensorError. mode: as in QuantTensor.
    narrow_range: whether the smallest integer is unused. source: the input of the FixNeuron.
    readers: the inputs that read its output. is_static: whether its values depend on no data.
    scales: one per channel, see CHANNEL_SCALES; None: unscaled.
    """
    name: str
    layer: str
    role: str
    bits: int
    position: int
    mode: int
    narrow_range: bool
    source: str
    readers: Tuple[NodeInput, ...]
    is_static: bool
    scales: Optional[Tuple[float, ...]] = None

    def quantize(self, value: np.ndarray) -> np.ndarray:
        """`value` as the model quantizes it, float32 of the same shape."""
        return fixed_point.quantize(value, self.position, self.bits, fixed_point.rounding_of(self.mode), self.narrow_range,
                                    keep_non_finite=False)

    @property
    def step(self) -> float:
        """The difference of two neighbouring values; 0 if there is only one."""
        return 0.0 if self.position == fixed_point.POSITION_ZERO else 2.0**-self.position

    @property
    def edges(self) -> np.ndarray:
        """(lo, hi, below, above), float32: x is out of range if x < lo or x > hi, and becomes 0 if below < x < above."""
        if not self.step:
            return np.array([-_LARGEST, _LARGEST, -_LARGEST, _LARGEST], np.float32)
        half, (lo, hi) = 0.5 * self.step, fixed_point.limits(self.position, self.bits, self.narrow_range)
        lo, hi, below, above = np.clip([lo - half, hi + half, -half, half], -_LARGEST, _LARGEST).astype(np.float32)
        hi = np.nextafter(hi, np.float32(0))  # half a step above the limit rounds away from 0
        if fixed_point.rounding_of(self.mode) == fixed_point.HALF_UP:  # but negative halves round up
            return np.array([lo, hi, np.nextafter(below, np.float32(-np.inf)), above])
        return np.array([np.nextafter(lo, np.float32(0)), hi, below, above])


def model_tensors(view: GraphView) -> Dict[str, ModelTensor]:
    """{name: ModelTensor} of the FixNeurons of an evaluation model, each after those that it depends on."""
    changing, found = changing_nodes(view), {}
    downstream = _downstream_of_fix_neurons(view)
    for name in view.upstream(view.names, next_iterations(view)):
        if view.op(name) == 'FixNeuron':
            found[name] = _model_tensor(view, name, changing, 'activation' if name in downstream else 'input')
    return found


def _model_tensor(view: GraphView, name: str, changing: Container[str], role: str) -> ModelTensor:
    """The ModelTensor of a FixNeuron; `role` if it depends on data."""
    node, source, readers = view.node(name), view.inputs(name)[0], view.consumers(name)
    static = view.op(source) == 'Const' or node_name(source) not in changing  # a Const in a branch waits for its condition
    if static:
        role, layer = _constant_role(view, node.attr['mode'].i, readers, changing)
    else:
        layer = _layer(view, source, changing)
    return ModelTensor(
        name, layer or node_name(source), role, node.attr['bit_width'].i if 'bit_width' in node.attr else _DEFAULT_BITS,
        node.attr['quantize_pos'].i, node.attr['mode'].i, node.attr['_symmetric'].b if '_symmetric' in node.attr else False,
        source, readers, static, tuple(node.attr[CHANNEL_SCALES].list.f) if CHANNEL_SCALES in node.attr else None)


def _downstream_of_fix_neurons(view: GraphView) -> Set[str]:
    """The nodes that depend on the result of a FixNeuron."""
    found: Set[str] = set()
    for name in view.upstream(view.names, next_iterations(view)):
        if any(view.op(tensor) == 'FixNeuron' or node_name(tensor) in found for tensor in view.inputs(name)):
            found.add(name)
    return found


def _constant_role(view: GraphView, mode: int, readers: Sequence[NodeInput], changing: Container[str]) -> Tuple[str, str]:
    """(role, layer) of a FixNeuron that depends on no data."""
    if not readers:
        return 'constant', ''
    reader, index = readers[0]
    spec = trait(view.op(reader))
    if spec.kind == WEIGHTED and index == spec.weight:
        return 'weight', reader
    layer = _layer(view, reader, changing)
    if mode == ACTIVATION_MODE:
        return 'constant', layer
    is_bias = view.op(reader) in _ADDS
    return 'bias' if is_bias else 'weight', layer


def _layer(view: GraphView, tensor: str, changing: Container[str]) -> str:
    """The op by which users know the producer of `tensor`: upstream, without passing a FixNeuron, the nearest weighted op, else
    the nearest that reads a quantized tensor and does not only move it."""
    waiting, seen, other = collections.deque([node_name(tensor)]), set(), ''
    while waiting:
        name = waiting.popleft()
        if name in seen or name not in changing or view.op(name) == 'FixNeuron' or _is_integer(view, name):
            continue
        seen.add(name)
        if trait(view.op(name)).kind == WEIGHTED:
            return name
        operands = [node_name(operand) for operand in view.inputs(name)]
        if not other and view.op(name) not in _MOVES and any(
                view.op(operand) == 'FixNeuron' and operand in changing for operand in operands):
            other = name
        if view.op(name) not in NEXT_OPS:
            waiting.extend(operands)
    return other or node_name(tensor)


def _is_integer(view: GraphView, name: str) -> bool:
    """Whether the result of a node is a shape or an index."""
    dtype = view.dtype(name)
    return dtype is not None and dtype.is_integer


def scaled_weights(view: GraphView, reader: str, value: np.ndarray, inputs: Optional[np.ndarray],
                   outputs: Optional[np.ndarray]) -> np.ndarray:
    """The weights, float32, with which the weighted op `reader` maps scaled input channels to scaled output channels.

    value: its weights for unscaled channels. inputs, outputs: one scale per channel; None: unscaled.
    """
    spec, value = trait(view.op(reader)), np.array(value, np.float64)
    transposed = view.op(reader) == 'MatMul' and view.attr(reader, 'transpose_b').b
    if outputs is not None:
        axes = (0,) if transposed else spec.channel_axes
        shape = [size if axis in axes else 1 for axis, size in enumerate(value.shape)]
        value = value * np.reshape(outputs, shape)
    if inputs is not None:
        axis = 1 if transposed else spec.reduction_axes[-1] + 1 if spec.depthwise else spec.reduction_axes[-1]
        shape = [size if other == axis else 1 for other, size in enumerate(value.shape)]
        value = value / np.tile(inputs, value.shape[axis] // len(inputs)).reshape(shape)
    return value.astype(np.float32)
