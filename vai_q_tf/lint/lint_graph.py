"""LintGraph: the index of a GraphDef that lint rules use. It takes any GraphDef, even one that TensorFlow would refuse."""
import collections
import functools
import operator
from typing import Any, Callable, DefaultDict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import dims, node_name
from vai_q_tf.types import TensorProto

_MOST_VALUES = 64  # of the constants that rules read: axes, shapes, slopes


class LintGraph:
    """Index of a GraphDef.

    nodes: the NodeDefs in file order. library: its FunctionDefLibrary.
    consumers: {node: the nodes that read one of its outputs, in file order}.
    """

    def __init__(self, graph_def: tf.GraphDef) -> None:
        self.nodes = list(graph_def.node)
        self.library = graph_def.library
        self._by_name = {node.name: node for node in self.nodes}
        self._computed: Optional[Set[str]] = None
        self._inputs = {node.name: data_inputs(node) for node in self.nodes}
        self.consumers: DefaultDict[str, List[tf.NodeDef]] = collections.defaultdict(list)
        for node in self.nodes:
            for name in self._inputs[node.name]:
                self.consumers[node_name(name)].append(node)

    def of_type(self, *ops: str) -> List[tf.NodeDef]:
        """The nodes whose op is one of `ops`."""
        return [node for node in self.nodes if node.op in ops]

    def producer(self, node: tf.NodeDef, index: int) -> Optional[tf.NodeDef]:
        """The node that produces data input `index` (negative: from the end); None if there is no such input or node."""
        inputs = self._inputs[node.name]
        if not -len(inputs) <= index < len(inputs):
            return None
        return self._by_name.get(node_name(inputs[index]))

    def computed(self, node: tf.NodeDef, index: int) -> Optional[tf.NodeDef]:
        """As `producer`, but instead of a FixNeuron the node before it."""
        source = self.producer(node, index)
        return self.producer(source, 0) if op_of(source) == 'FixNeuron' else source

    def is_computed(self, node: Optional[tf.NodeDef]) -> bool:
        """Whether `node` depends on anything but constants; False for None."""
        if self._computed is None:
            waiting = [source.name for source in self.nodes if source.op != 'Const' and not self._inputs[source.name]]
            self._computed = set(waiting)
            while waiting:
                readers = {reader.name for reader in self.consumers.get(waiting.pop(), ())} - self._computed
                self._computed.update(readers)
                waiting.extend(readers)
        return node is not None and node.name in self._computed

    def is_quantized_constant(self, node: Optional[tf.NodeDef]) -> bool:
        """Whether `node` is a FixNeuron that reads a Const directly."""
        return op_of(node) == 'FixNeuron' and op_of(self.producer(node, 0)) == 'Const'

    def constant(self, node: Optional[tf.NodeDef]) -> Optional[tf.NodeDef]:
        """`node` if it is a Const, or the Const before a FixNeuron; None for another node."""
        source = self.producer(node, 0) if op_of(node) == 'FixNeuron' else node
        return source if op_of(source) == 'Const' else None

    def is_float_constant(self, node: Optional[tf.NodeDef]) -> bool:
        """Whether `node` is a float constant, quantized or not; integers are for arithmetic on shapes."""
        return self.is_quantized_constant(node) or (
            op_of(node) == 'Const' and tensor_of(node).dtype == tf.float32.as_datatype_enum)

    def input_shape(self, node: tf.NodeDef, index: int) -> Optional[List[int]]:
        """The shape of data input `index` as a list, -1 for an unknown dimension; None if the file does not have it."""
        source = self.producer(node, index)
        if source is None:
            return None
        number = self._inputs[node.name][index].partition(':')[2]
        shapes = output_shapes(source)
        if shapes:
            position = int(number) if number.isdigit() else 0
            return shapes[position] if position < len(shapes) else None
        if source.op == 'Const':
            return dims(tensor_of(source).tensor_shape)
        return declared_shape(source) if source.op == 'Placeholder' else None


def data_inputs(node: tf.NodeDef) -> List[str]:
    """The inputs of a NodeDef without the control inputs."""
    return [name for name in node.input if not name.startswith('^')]


def op_of(node: Optional[tf.NodeDef]) -> str:
    """The op type of `node`, '' for None."""
    return node.op if node is not None else ''


def describe(node: Optional[tf.NodeDef]) -> str:
    """A node as a message names it."""
    return "the {} '{}'".format(node.op, node.name) if node is not None else 'nothing'


def output_shapes(node: tf.NodeDef) -> List[Optional[List[int]]]:
    """The attr `_output_shapes` as lists of integers, -1 for an unknown dimension; None for an unknown rank."""
    return [dims(shape) for shape in node.attr['_output_shapes'].list.shape] if '_output_shapes' in node.attr else []


def declared_shape(node: tf.NodeDef) -> Optional[List[int]]:
    """The attr `shape` in the same form; None if there is none."""
    return dims(node.attr['shape'].shape) if 'shape' in node.attr else None


def integer(node: tf.NodeDef, name: str) -> Optional[int]:
    """The attr `name` of a NodeDef if it is an integer, else None."""
    return node.attr[name].i if name in node.attr and node.attr[name].WhichOneof('value') == 'i' else None


def text(node: tf.NodeDef, name: str) -> str:
    """The attr `name` of a NodeDef as a text, '' if it has none."""
    return node.attr[name].s.decode('utf-8', 'replace') if name in node.attr else ''


def tensor_of(constant: tf.NodeDef) -> TensorProto:
    """The TensorProto of a Const; an empty one if it has none."""
    return constant.attr['value'].tensor if 'value' in constant.attr else tf.AttrValue().tensor


def value_of(constant: Optional[tf.NodeDef]) -> Optional[List[Any]]:
    """The values of a small Const as a flat list; None for None, a large one, and one that does not fit its shape."""
    tensor = tensor_of(constant) if constant is not None else tf.AttrValue().tensor
    shape = dims(tensor.tensor_shape)
    if shape is None or any(not 0 <= size <= _MOST_VALUES for size in shape) or _count(shape) > _MOST_VALUES:
        return None
    try:
        return np.ravel(tf.make_ndarray(tensor)).tolist()
    except (TypeError, ValueError):
        return None


def _count(shape: Sequence[int]) -> int:
    """The number of elements of a known shape, in integers of any size."""
    return functools.reduce(operator.mul, shape, 1)


# A rule yields the name and a message for each node that breaks it.
Breaches = Iterator[Tuple[str, str]]
Rule = Callable[[LintGraph], Breaches]
