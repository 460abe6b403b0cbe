"""Which layers a noise-model equalization may move scales between."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import large_constants
from vai_q_tf.graph.traits import IDENTITY_OPS, SHAPE_OPS
from vai_q_tf.graph.view import GraphView, indexed_name, node_name
from vai_q_tf.ptq.equalization.noise_equalization import Pair

# What forwards the positive factor of a channel, a relu6 up to where it clips.
_HOMOGENEOUS = IDENTITY_OPS | {'Relu', 'Relu6', 'LeakyRelu'}
_WITH_EQUAL_CHANNELS = ('MaxPool', 'AvgPool', 'Pad', 'Reshape', 'Squeeze')  # where the last axis stays as it is


def find_pairs(graph_def, plan, layers):
    """The Pairs of the Layers, in the order of their tails: channels last, and nothing else reads what is between."""
    finder = _Finder(graph_def, plan.output_nodes, layers)
    return [pair for pair in map(finder.pair, layers) if pair]


class _Finder:
    def __init__(self, graph_def, output_nodes, layers):
        self._view, self._outputs = GraphView(graph_def), frozenset(output_nodes)
        self._heads = {layer.result: layer for layer in layers}
        self._graph = tf.Graph()  # knows the shapes
        with self._graph.as_default():
            large_constants.import_graph_def(graph_def, name='')

    def pair(self, tail):
        """The Pair with a Layer as its tail, None where there is none."""
        tensor, relu6 = tail.source, False
        while node_name(tensor) not in self._outputs and self._readers(tensor) == 1:
            if tensor in self._heads:
                head = self._heads[tensor]
                return Pair(head, tail, relu6) if self._is_channels_last(head) and self._is_channels_last(tail) else None
            op, inputs = self._view.op(tensor), self._view.inputs(tensor)
            if op == 'Mul':
                inputs = [each for each in inputs if not self._is_positive_number(each)]
            if not (op in _HOMOGENEOUS or (op == 'Mul' and len(inputs) == 1)
                    or (op in _WITH_EQUAL_CHANNELS and self._channels(inputs[0]) == self._channels(tensor) is not None)):
                return None
            relu6 = relu6 or op == 'Relu6'
            tensor = inputs[0]
        return None

    def _is_channels_last(self, layer):
        """In what a layer reads as well as in what it gives."""
        return layer.channel_axis == -1 and not (layer.op == 'MatMul' and self._view.attr(layer.node, 'transpose_a').b)

    def _readers(self, tensor):
        return sum(self._view.op(name) not in SHAPE_OPS for name, _ in self._view.consumers(tensor))

    def _is_positive_number(self, tensor):
        value = self._view.value(self._view.skip_identity(tensor))
        return value is not None and value.size == 1 and value > 0

    def _channels(self, tensor):
        """The size of the last axis, None where it is not known."""
        shape = self._graph.get_tensor_by_name(indexed_name(tensor)).shape
        return shape[-1].value if shape.ndims else None
