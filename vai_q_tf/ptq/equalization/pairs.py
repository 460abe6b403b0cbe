"""Finds the pairs of layers between which a noise-model equalization may move scales."""
from typing import Dict, List, Optional, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import large_constants
from vai_q_tf.graph.traits import IDENTITY_OPS, SHAPE_OPS
from vai_q_tf.graph.view import GraphView, indexed_name, node_name
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.equalization.noise_equalization import Pair
from vai_q_tf.ptq.fitting.layers import Layer

# f(t * x) = t * f(x) for t > 0; for a relu6 unless it clips.
_HOMOGENEOUS = IDENTITY_OPS | {'Relu', 'Relu6', 'LeakyRelu'}
_WITH_EQUAL_CHANNELS = ('MaxPool', 'AvgPool', 'Pad', 'Reshape', 'Squeeze')  # if they keep the size of the last axis


def find_pairs(graph_def: tf.GraphDef, plan: QuantPlan, layers: List[Layer]) -> List[Pair]:
    """The Pairs of the Layers, in the order of their tails. Channels are last, and no other op reads a tensor in between."""
    finder = _Finder(graph_def, plan.output_nodes, layers)
    return [pair for pair in map(finder.pair, layers) if pair]


def unclipped_by(pairs: Sequence[Pair], plan: QuantPlan) -> Dict[str, str]:
    """{head: the Relu6 after it} of Pairs whose Relu6 can be a Relu, because its result is quantized, which limits it."""
    tensors = {record.name: record.tensor for record in plan.tensors}
    return {pair.head.node: pair.relu6 for pair in pairs
            if pair.head.activation == 'Relu6' and tensors[pair.head.output] == pair.relu6}


class _Finder:
    def __init__(self, graph_def: tf.GraphDef, output_nodes: Sequence[str], layers: List[Layer]) -> None:
        self._view, self._outputs = GraphView(graph_def), frozenset(output_nodes)
        self._heads = {layer.result: layer for layer in layers}
        self._graph = tf.Graph()  # knows the shapes
        with self._graph.as_default():
            large_constants.import_graph_def(graph_def, name='')

    def pair(self, tail: Layer) -> Optional[Pair]:
        """The Pair with a Layer as its tail, or None."""
        tensor, relu6 = tail.source, ''
        while tensor and node_name(tensor) not in self._outputs and self._count_readers(tensor) == 1:
            if tensor in self._heads:
                head = self._heads[tensor]
                return Pair(head, tail, relu6) if self._is_channels_last(head) and self._is_channels_last(tail) else None
            relu6 = relu6 or (tensor if self._view.op(tensor) == 'Relu6' else '')
            tensor = self._forwarded(tensor)
        return None

    def _forwarded(self, tensor: str) -> str:
        """The input whose channels the op of a tensor scales by positive numbers at most, or ''."""
        op, inputs = self._view.op(tensor), self._view.inputs(tensor)
        if op == 'Mul':
            inputs = tuple(each for each in inputs if not self._is_positive_number(each))
            return inputs[0] if len(inputs) == 1 else ''
        keeps_channels = op in _HOMOGENEOUS or (
            op in _WITH_EQUAL_CHANNELS and self._channels(inputs[0]) == self._channels(tensor) is not None)
        return inputs[0] if keeps_channels else ''

    def _is_channels_last(self, layer: Layer) -> bool:
        """Of the input and the result of a layer."""
        return layer.channel_axis == -1 and not (layer.op == 'MatMul' and self._view.attr(layer.node, 'transpose_a').b)

    def _count_readers(self, tensor: str) -> int:
        """How many ops read the values of a tensor, not only its shape."""
        return sum(self._view.op(name) not in SHAPE_OPS for name, _ in self._view.consumers(tensor))

    def _is_positive_number(self, tensor: str) -> bool:
        value = self._view.value(self._view.skip_identity(tensor))
        return value is not None and value.size == 1 and value > 0

    def _channels(self, tensor: str) -> Optional[int]:
        """The size of the last axis, None if it is unknown."""
        shape = self._graph.get_tensor_by_name(indexed_name(tensor)).shape
        return shape[-1].value if shape.ndims else None
