"""GraphView: a read-only index of a GraphDef. Tensors are 'node' for output 0 and 'node:k' for the other outputs.

A live graph is viewed through `GraphView(graph.as_graph_def(add_shapes=True))`. The GraphDef is referenced, not copied,
and must not change while the view is in use.
"""
import functools
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.traits import IDENTITY_OPS, READ_OPS
from vai_q_tf.types import FunctionDefLibrary, NodeInput, OpDef, TensorShapeProto

# Ops that call a function named in an attr.
CALL_OPS = frozenset(('PartitionedCall', 'StatefulPartitionedCall', 'RemoteCall', 'SymbolicGradient'))
VARIABLE_OPS = frozenset(('Variable', 'VariableV2', 'VarHandleOp'))
# Private attrs. A list of names: the nodes of the float graph that the node replaces.
SOURCE_NODES = '_origins'
# A list of tensors of the float graph whose readers read the node's result instead.
RESULTS = '_results'
# Marks a node that has the name of a node of the float graph, but computes something else.
REDEFINED = '_redefined'
# On a Placeholder: the tensor that it replaces, output 1 or later of an input node.
OUTPUT_OF = '_output_of'
# On a Const: the variable that it represents. The Const has the shape of the variable; its value is meaningless.
STANDS_FOR = '_variable'


@functools.lru_cache(maxsize=1 << 16)
def node_name(reference: str) -> str:
    """The node of a tensor, control input or node name: 'a' for 'a', 'a:1' and '^a'."""
    return reference.lstrip('^').partition(':')[0]


def output_index(tensor: str) -> int:
    """The index of a tensor among the outputs of its node."""
    return int(tensor.partition(':')[2] or 0)


def tensor_name(node: str, index: int = 0) -> str:
    """The name of output `index` of `node`."""
    return '{}:{}'.format(node, index) if index else node


def indexed_name(tensor: str) -> str:
    """The name of a tensor in a live graph and its sessions: 'a:0' for 'a'."""
    return '{}:{}'.format(node_name(tensor), output_index(tensor))


def normalise(tensor: str) -> str:
    """The name of a tensor in a GraphView: 'a' for 'a:0'."""
    if ':' not in tensor and not tensor.startswith('^'):
        return tensor  # most of them
    return tensor_name(node_name(tensor), output_index(tensor))


def known_value(node: tf.NodeDef) -> Optional[np.ndarray]:
    """The value of a Const NodeDef; None for any other node, and for a Const that represents a variable."""
    return large_constants.array(node.attr['value'].tensor) if node.op == 'Const' and STANDS_FOR not in node.attr else None


def op_def(op_type: str) -> Optional[OpDef]:
    """The OpDef of an op type; None if this TensorFlow does not have the op."""
    found = tf_internal.python_op_defs().get(op_type)
    if found is None:
        try:
            found = tf_internal.runtime_op_def(op_type)  # some ops have no Python function
        except tf.errors.NotFoundError:
            return None
    return found


class GraphView:
    """Nodes of a GraphDef by name, with producers, consumers, shapes and types.

    Attributes:
      names: the node names in graph order.
      library: the FunctionDefLibrary of the graph.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH for two nodes of one name, or an input that no node produces.
    """

    def __init__(self, graph_def: tf.GraphDef) -> None:
        self.library: FunctionDefLibrary = graph_def.library
        self._nodes: Dict[str, tf.NodeDef] = {}
        for node in graph_def.node:
            if node.name in self._nodes:
                raise errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Invalid graph',
                                           'Two nodes have the name {!r}; node names must be unique.'.format(node.name))
            self._nodes[node.name] = node
        self._functions = {function.signature.name: function.signature for function in graph_def.library.function}
        self.names = tuple(self._nodes)
        self._order = {name: number for number, name in enumerate(self.names)}
        self._inputs: Dict[str, Tuple[str, ...]] = {}
        self._controls: Dict[str, Tuple[str, ...]] = {}
        self._consumers: Dict[str, List[NodeInput]] = {}
        self._output_types: Dict[str, Tuple[tf.DType, ...]] = {}
        self._derived_nodes: Dict[str, List[str]] = {}
        for name, node in self._nodes.items():
            self._index_inputs(name, node.input)
            for source in node.attr[SOURCE_NODES].list.s if SOURCE_NODES in node.attr else ():
                self._derived_nodes.setdefault(source.decode(), []).append(name)

    def _index_inputs(self, name: str, references: Sequence[str]) -> None:
        data: List[str] = []
        for reference in references:
            if reference not in self._nodes and node_name(reference) not in self._nodes:
                raise errors.QuantizeError(
                    errors.UNSUPPORTED_GRAPH, 'Invalid graph',
                    'Node {!r} reads {!r}, which is not in the graph; export the graph whole.'.format(name, reference))
            if not reference.startswith('^'):
                tensor = normalise(reference)
                self._consumers.setdefault(tensor, []).append((name, len(data)))
                data.append(tensor)
        self._inputs[name] = tuple(data)
        if len(data) < len(references):
            self._controls[name] = tuple(node_name(reference) for reference in references[len(data):])

    def __contains__(self, name: str) -> bool:
        return name in self._nodes

    def node(self, name: str) -> tf.NodeDef:
        """The NodeDef called `name`."""
        return self._nodes[name]

    def op(self, reference: str) -> str:
        """The op type of the node of a node or tensor name."""
        return self._nodes[node_name(reference)].op

    def order(self, reference: str) -> int:
        """The index in the GraphDef of the node of a node or tensor name."""
        return self._order[node_name(reference)]

    def inputs(self, name: str) -> Tuple[str, ...]:
        """The tensors that the node reads, in order, without control inputs."""
        return self._inputs[node_name(name)]

    def control_inputs(self, name: str) -> Tuple[str, ...]:
        """The nodes of the control inputs."""
        return self._controls.get(name, ())

    def consumers(self, tensor: str) -> Tuple[NodeInput, ...]:
        """The inputs that read the tensor, in graph order."""
        return tuple(self._consumers.get(tensor, ()))

    def derived_nodes(self, name: str) -> Tuple[str, ...]:
        """The nodes that replace `name`, a node of an earlier form of the graph (recorded in the attr SOURCE_NODES)."""
        return tuple(self._derived_nodes.get(name, ()))

    def attr(self, name: str, key: str) -> tf.AttrValue:
        """The AttrValue of the node, or the default of its op.

        Raises:
          KeyError: there is neither.
        """
        found = self.find_attr(name, key)
        if found is None:
            raise KeyError('Node {!r} has no attr {!r}'.format(name, key))
        return found

    def find_attr(self, name: str, key: str) -> Optional[tf.AttrValue]:
        """The AttrValue of the node, or the default of its op; None if there is neither."""
        node = self._nodes[node_name(name)]
        if key in node.attr:
            return node.attr[key]
        definition = self._definition(node.name)
        for attribute in definition.attr if definition else ():
            if attribute.name == key and attribute.HasField('default_value'):
                return attribute.default_value
        return None

    def value(self, tensor: str) -> Optional[np.ndarray]:
        """The value of a Const; None for any other node, and for a Const that represents a variable."""
        return known_value(self._nodes[node_name(tensor)])

    def shape(self, tensor: str) -> Optional[List[int]]:
        """The static shape, -1 for unknown dimensions; None for an unknown rank."""
        while True:
            node = self._nodes[node_name(tensor)]
            if '_output_shapes' in node.attr:
                shapes = node.attr['_output_shapes'].list.shape
                return dims(shapes[output_index(tensor)]) if output_index(tensor) < len(shapes) else None
            if node.op == 'Const':
                return dims(node.attr['value'].tensor.tensor_shape)
            if node.op in VARIABLE_OPS or node.op == 'Placeholder':
                return dims(node.attr['shape'].shape) if 'shape' in node.attr else None
            if node.op not in READ_OPS:
                return None
            tensor = self._inputs[node.name][0]

    def dtype(self, tensor: str) -> Optional[tf.DType]:
        """The type of the tensor, never a reference type; None if the op is unknown."""
        types = self.output_types(node_name(tensor))
        return types[output_index(tensor)] if output_index(tensor) < len(types) else None

    def output_types(self, name: str) -> Tuple[tf.DType, ...]:
        """The type of each output of the node, never a reference type; empty for an unknown op."""
        if name not in self._output_types:
            self._output_types[name] = tuple(self._find_output_types(name))
        return self._output_types[name]

    def _find_output_types(self, name: str) -> Iterator[tf.DType]:
        definition = self._definition(name)
        for output in definition.output_arg if definition else ():
            if output.type_list_attr:
                values = self.attr(name, output.type_list_attr).list.type
            else:
                count = self.attr(name, output.number_attr).i if output.number_attr else 1
                values = [self.attr(name, output.type_attr).type if output.type_attr else output.type] * count
            for value in values:
                yield tf.as_dtype(value).base_dtype

    def _definition(self, name: str) -> Optional[OpDef]:
        """The OpDef of the op or function of a node; None if it is unknown."""
        return tf_internal.python_op_defs().get(self.op(name)) or self._functions.get(self.op(name))

    def is_known(self, name: str) -> bool:
        """Whether TensorFlow has a Python function for the node's op, or the graph has a function of that name."""
        return self._definition(name) is not None

    def is_function(self, name: str) -> bool:
        """Whether the node calls a function of the graph."""
        return self.op(name) in self._functions or self.op(name) in CALL_OPS

    def is_stateful(self, name: str) -> bool:
        """Whether the op is registered as stateful: variables, random numbers, queues. Unknown ops count as stateful."""
        definition = self._definition(name)
        return definition is None or definition.is_stateful

    def skip_identity(self, tensor: str) -> str:
        """The tensor upstream of any number of Identity nodes."""
        while self.op(tensor) in IDENTITY_OPS:
            tensor = self._inputs[node_name(tensor)][0]
        return tensor

    def upstream(self, starts: Iterable[str], stops: Iterable[str] = ()) -> List[str]:
        """The nodes that `starts` depend on through data, both ends included, producers before their readers.

        The walk ends at the nodes in `stops`, and does not follow control inputs.
        """
        stops = frozenset(stops)
        found, seen = [], set()
        stack = [(name, False) for name in reversed(list(starts))]
        while stack:
            name, done = stack.pop()
            if done:
                found.append(name)
            elif name not in seen:
                seen.add(name)
                stack.append((name, True))
                if name not in stops:
                    stack.extend((node_name(tensor), False) for tensor in reversed(self._inputs[name]))
        return found


def dims(shape: TensorShapeProto) -> Optional[List[int]]:
    """A TensorShapeProto as a list of integers, -1 for an unknown dimension; None for an unknown rank."""
    return None if shape.unknown_rank else [dim.size for dim in shape.dim]
