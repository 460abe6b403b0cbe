"""The layers of a plan whose weights and biases can be changed: their ops, constants and results."""
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.traits import WEIGHTED, Trait, trait
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.patterns.bias import channels_last, is_transposed
from vai_q_tf.plan.quant_plan import ComputeGroup, QuantPlan, QuantTensor

_ACTIVATIONS: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    '': lambda values: values, 'Relu': lambda values: np.maximum(values, 0),
    'Relu6': lambda values: np.minimum(np.maximum(values, 0), 6)}


class Layer(NamedTuple):
    """A weighted op with the bias that is added to its result.

    node: the weighted op. op: its op type.
    weight, bias: its QuantTensors; their `tensor` is a Const that nothing else reads. bias is None without such a Const.
    output: the name of the QuantTensor of its result.
    source: the float tensor that the op reads.
    result: the tensor after the bias and before the activation function. activation: 'Relu' or 'Relu6' if that is its only
      reader, '' for any other function or none, and if the result is an output of the network.
    channel_axis: the axis of the channels of `result`.
    axes: the axes of its weights, in the order groups (input channels, of a depthwise op), products, channels of the result.
    depthwise: whether there are groups.
    """
    node: str
    op: str
    weight: QuantTensor
    bias: Optional[QuantTensor]
    output: str
    source: str
    result: str
    activation: str
    channel_axis: int
    axes: Tuple[int, ...]
    depthwise: bool

    def grouped(self, weights: np.ndarray) -> np.ndarray:
        """Weights as independent maps, [groups, products, channels of a group]; the result has the channels of all groups."""
        sorted_axes = np.transpose(weights, self.axes)
        groups = sorted_axes.shape[0] if self.depthwise else 1
        return sorted_axes.reshape(groups, -1, sorted_axes.shape[-1])

    def ungrouped(self, maps: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """The inverse of `grouped`: float32 weights of a shape."""
        return np.transpose(maps.reshape([shape[axis] for axis in self.axes]), np.argsort(self.axes)).astype(np.float32)

    @property
    def constants(self) -> Tuple[str, ...]:
        return (self.weight.tensor,) + ((self.bias.tensor,) if self.bias else ())


def find_layers(graph_def: tf.GraphDef, plan: QuantPlan) -> List[Layer]:
    """The Layers of a plan whose weights are a Const that no other op reads, each after those that it reads."""
    view = GraphView(graph_def)
    tensors = {record.name: record for record in plan.tensors}
    found: Dict[str, Layer] = {}
    for group in plan.groups:
        layer = _layer(view, plan, tensors, group)
        if layer:
            found.setdefault(group.node, layer)
    order = {name: number for number, name in enumerate(view.upstream(view.names))}
    return sorted(found.values(), key=lambda layer: order[layer.node])


def _layer(view: GraphView, plan: QuantPlan, tensors: Mapping[str, QuantTensor], group: ComputeGroup) -> Optional[Layer]:
    """The Layer of a ComputeGroup, or None."""
    weight, bias = tensors.get(group.weight), tensors.get(group.bias)
    spec = trait(view.op(group.node))  # that of a Mul for a batch norm that could not be folded
    if spec.kind != WEIGHTED or not weight or not _is_own(view, weight) or not group.input or not group.output:
        return None
    if bias and not _is_own(view, bias):
        bias = None
    result = bias.consumers[0][0] if bias else group.node
    return Layer(
        group.node, view.op(group.node), weight, bias, group.output, view.inputs(group.node)[spec.data][0],
        result, '' if node_name(result) in plan.output_nodes else _activation(view, result),
        -1 if channels_last(view, group.node) else 1, _axes(view, group.node, spec), spec.depthwise)


def activate(values: np.ndarray, activation: str) -> np.ndarray:
    """Applies the activation function of a Layer to an array."""
    return _ACTIVATIONS[activation](values)


def _is_own(view: GraphView, record: QuantTensor) -> bool:
    return view.value(record.tensor) is not None and len(record.consumers) == 1 and len(view.consumers(record.tensor)) == 1


def _activation(view: GraphView, result: str) -> str:
    readers = view.consumers(result)
    return view.op(readers[0][0]) if len(readers) == 1 and view.op(readers[0][0]) in _ACTIVATIONS else ''


def _axes(view: GraphView, node: str, spec: Trait) -> Tuple[int, ...]:
    if spec.depthwise:
        return (2, 0, 1, 3)
    rank = len(view.shape(view.inputs(node)[spec.weight]) or ())
    last = 0 if is_transposed(view, node) else spec.channel_axes[-1]
    return tuple(axis for axis in range(rank) if axis != last) + (last,)
