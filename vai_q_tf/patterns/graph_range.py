"""GraphRange: the part of a graph between input and output nodes, and the tensors in it."""
from typing import Container, Iterable, List, Set

from vai_q_tf import errors
from vai_q_tf.graph.checks.quantized_ops import require_unquantized
from vai_q_tf.graph.control_flow import MERGE_OPS
from vai_q_tf.graph.similar_nodes import did_you_mean
from vai_q_tf.graph.traits import FIX_NEURON_OPS, FORWARDS, SHAPE_OPS, trait
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView, node_name, output_index, tensor_name
from vai_q_tf.patterns.dropout import find_dropouts
from vai_q_tf.types import NodeInput

_CONSTANT_SOURCES = VARIABLE_OPS | {'Const', 'ReadVariableOp'}
_FED_OR_CHOSEN = MERGE_OPS | {'PlaceholderWithDefault'}


class GraphRange:
    """The nodes that the output nodes depend on through data, back to the input nodes; both ends are included.

    >>> import tensorflow.compat.v1 as tf
    >>> with tf.Graph().as_default() as graph:
    ...     x = tf.placeholder(tf.float32, [None, 4], name='x')
    ...     y = tf.nn.relu(tf.identity(x, name='copy') * tf.constant(2.0, name='two'), name='y')
    ...     z = tf.tanh(y, name='z')
    >>> graph_range = GraphRange(GraphView(graph.as_graph_def()), ['x'], ['y'])
    >>> graph_range.nodes
    ('x', 'copy', 'two', 'mul', 'y')
    >>> graph_range.is_static('two'), graph_range.source('copy'), graph_range.readers('x')
    (True, 'x', [('mul', 0)])

    Attributes:
      view: the GraphView.
      input_nodes, output_nodes: node names without output index.
      nodes: names in graph order.
      order: the same names, producers first.
      dropouts: {result: input tensor} of the dropouts in the range.
      dropout_nodes: the nodes that they consist of.

    Raises:
      QuantizeError: UNKNOWN_NODE; ALREADY_QUANTIZED for an op in the range that quantizes, or a FixNeuron anywhere;
        EMPTY_RANGE for an input that is not upstream of the outputs, or an output that depends on no input.
    """

    def __init__(self, view: GraphView, input_nodes: Iterable[str], output_nodes: Iterable[str]) -> None:
        self.view = view
        self.input_nodes = tuple(_known(view, name, 'input_nodes') for name in input_nodes)
        self.output_nodes = tuple(_known(view, name, 'output_nodes') for name in output_nodes)
        require_unquantized(view, [name for name in view.names if view.op(name) in FIX_NEURON_OPS])
        self.order = tuple(view.upstream(self.output_nodes, self.input_nodes))
        require_unquantized(view, self.order)
        self._members = frozenset(self.order)
        self._check_connected()
        self.nodes = tuple(sorted(self.order, key=view.order))
        self._static = self._find_static()
        self.dropouts, self.dropout_nodes = find_dropouts(view, self.nodes)
        self._dropout_path = frozenset(self.dropouts) | {
            reader for tensor in self.dropouts.values() for reader, _ in view.consumers(tensor)
            if reader in self.dropout_nodes}

    def __contains__(self, reference: str) -> bool:
        return node_name(reference) in self._members

    def _check_connected(self) -> None:
        for name in self.input_nodes:
            if name not in self:
                raise errors.QuantizeError(
                    errors.EMPTY_RANGE, 'Empty range',
                    'Input node {!r} is not upstream of the output nodes ({}). Are input_nodes and output_nodes '
                    'swapped, or is it an unused input?'.format(name, ', '.join(self.output_nodes)))
        reached = set(self.input_nodes)
        for name in self.order:
            if any(node_name(tensor) in reached for tensor in self.view.inputs(name)):
                reached.add(name)
        for name in self.output_nodes:
            if name not in reached:
                raise errors.QuantizeError(
                    errors.EMPTY_RANGE, 'Empty range', 'Output node {!r} does not depend on any of the input nodes '
                    '({}).'.format(name, ', '.join(self.input_nodes)))

    def _find_static(self) -> Set[str]:
        static: Set[str] = set()
        for name in self.view.upstream(self.view.names):
            inputs = self.view.inputs(name)
            if self._can_be_static(name) and all(node_name(tensor) in static for tensor in inputs):
                static.add(name)
        return static

    def _can_be_static(self, name: str) -> bool:
        """Whether a node is static if its inputs are."""
        op = self.view.op(name)
        if op in _CONSTANT_SOURCES:
            return name not in self.input_nodes
        return bool(self.view.inputs(name)) and not (
            name in self.input_nodes or op in _FED_OR_CHOSEN or self.view.is_stateful(name))

    def is_static(self, reference: str) -> bool:
        """Whether a tensor or node depends on constants and variables only, as weights and biases do."""
        return node_name(reference) in self._static

    def source(self, tensor: str) -> str:
        """The tensor that `tensor` has the values of, upstream of Identity nodes and dropouts, at most an input node."""
        while tensor not in self.input_nodes:
            if tensor in self.dropouts:
                tensor = self.dropouts[tensor]
            elif trait(self.view.op(tensor)).kind == FORWARDS:
                tensor = self.view.inputs(tensor)[output_index(tensor)]
            else:
                break
        return tensor

    def readers(self, tensor: str) -> List[NodeInput]:
        """The inputs in the range that read values of the tensor, directly or through Identity nodes and dropouts.

        Ops that ask for the shape do not count.
        """
        found, stack = [], list(reversed(self.view.consumers(tensor)))
        while stack:
            name, index = stack.pop()
            if name in self and self._forwards(name):
                stack.extend(reversed(self.view.consumers(self._forwarded(name, index))))
            elif name in self and self.view.op(name) not in SHAPE_OPS:
                found.append((name, index))
        return found

    def is_output(self, tensor: str) -> bool:
        """Whether an output node is the node of the tensor, or forwards the tensor."""
        stack = [tensor]
        while stack:
            tensor = stack.pop()
            if node_name(tensor) in self.output_nodes:
                return True
            stack.extend(self._forwarded(name, index) for name, index in self.view.consumers(tensor)
                         if name in self and self._forwards(name))
        return False

    def consumers(self, tensor: str, without: Container[str] = ()) -> List[NodeInput]:
        """The inputs of the whole graph to reroute so that all readers of the tensor are reached except the nodes `without`.

        After a dropout that other nodes read too, the nodes `without` are reached as well.
        """
        found = []
        for name, index in self.view.consumers(tensor):
            readers = self.readers(self._forwarded(name, index)) if self._forwards(name) else [(name, index)]
            excluded = [reader in without for reader, _ in readers]
            if not any(excluded) or (name in self._dropout_path and not all(excluded)):
                found.append((name, index))
            elif self._forwards(name):
                found.extend(self.consumers(self._forwarded(name, index), without))
        return found

    def _forwarded(self, name: str, index: int) -> str:
        """The tensor with the values of the input `index` of a node that forwards its inputs."""
        return tensor_name(name, index) if self.view.op(name) == 'IdentityN' else name

    def _forwards(self, name: str) -> bool:
        return name in self._dropout_path or (
            trait(self.view.op(name)).kind == FORWARDS and name not in self.input_nodes)


def _known(view: GraphView, reference: str, field: str) -> str:
    name = node_name(reference)
    if name in view:
        index, count = reference.partition(':')[2], max(1, len(view.output_types(name)))
        if index and index not in map(str, range(count)):
            raise errors.QuantizeError(errors.UNKNOWN_NODE, 'Not found',
                                       'Node {0!r} of {1} has no output {2!r}; give {0!r}.'.format(name, field, index))
        return name
    raise errors.QuantizeError(
        errors.UNKNOWN_NODE, 'Not found', 'Node {!r} of {} is not in the graph{}'.format(
            reference, field, did_you_mean(view, name)))
