"""GraphRange: the part of a graph between input and output nodes, and what flows through it."""
from vai_q_tf import errors
from vai_q_tf.graph.checks.quantized_ops import require_unquantized
from vai_q_tf.graph.traits import FIX_NEURON_OPS, FORWARDS, SHAPE_OPS, trait
from vai_q_tf.graph.view import VARIABLE_OPS, node_name, output_index, tensor_name
from vai_q_tf.patterns.dropout import find_dropouts

_CONSTANT_SOURCES = VARIABLE_OPS | {'Const', 'ReadVariableOp'}
_FED = 'PlaceholderWithDefault'


class GraphRange:
    """The nodes that the output nodes depend on through data, back to the input nodes; both ends are included.

    Attributes:
      view: the GraphView. input_nodes, output_nodes: node names without output index.
      nodes: names in graph order. order: the same names, producers first.
      dropouts: {result: input tensor} of the dropouts in the range. dropout_nodes: the nodes that they consist of.

    Raises:
      QuantizeError: an unknown node; a range that is quantized already, or any FixNeuron; an input that is not upstream of
        the outputs; an output that depends on no input.
    """

    def __init__(self, view, input_nodes, output_nodes):
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

    def __contains__(self, reference):
        return node_name(reference) in self._members

    def _check_connected(self):
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

    def _find_static(self):
        static = set()
        for name in self.view.upstream(self.view.names):
            inputs, op = self.view.inputs(name), self.view.op(name)
            if name in self.input_nodes or op == _FED or (not inputs and op not in _CONSTANT_SOURCES):
                continue
            if all(node_name(tensor) in static for tensor in inputs) and (
                    op in _CONSTANT_SOURCES or not self.view.is_stateful(name)):
                static.add(name)
        return static

    def is_static(self, reference):
        """Whether a tensor or node depends on constants and variables only, as weights and biases do."""
        return node_name(reference) in self._static

    def source(self, tensor):
        """The tensor whose values `tensor` has: Identity nodes and dropouts are looked through, up to an input node."""
        while tensor not in self.input_nodes:
            if tensor in self.dropouts:
                tensor = self.dropouts[tensor]
            elif trait(self.view.op(tensor)).kind == FORWARDS:
                tensor = self.view.inputs(tensor)[output_index(tensor)]
            else:
                break
        return tensor

    def readers(self, tensor):
        """The inputs in the range that read values of the tensor, as (node, input index).

        Identity nodes and dropouts are looked through; ops that ask for the shape do not count.
        """
        found, stack = [], list(reversed(self.view.consumers(tensor)))
        while stack:
            name, index = stack.pop()
            if name in self and self._passes(name):
                stack.extend(reversed(self.view.consumers(self._passed(name, index))))
            elif name in self and self.view.op(name) not in SHAPE_OPS:
                found.append((name, index))
        return found

    def is_output(self, tensor):
        """Whether an output node, or an Identity of the tensor that is one, gives the tensor out."""
        stack = [tensor]
        while stack:
            tensor = stack.pop()
            if node_name(tensor) in self.output_nodes:
                return True
            stack.extend(self._passed(name, index) for name, index in self.view.consumers(tensor)
                         if name in self and self._passes(name))
        return False

    def consumers(self, tensor, without=()):
        """The inputs of the whole graph to re-point, so that all that read the tensor are reached but `without`.

        After a dropout that others read too, the nodes `without` are reached with them.
        """
        found = []
        for name, index in self.view.consumers(tensor):
            readers = self.readers(self._passed(name, index)) if self._passes(name) else [(name, index)]
            behind = [reader in without for reader, _ in readers]
            if not any(behind) or (name in self._dropout_path and not all(behind)):
                found.append((name, index))
            elif self._passes(name):
                found.extend(self.consumers(self._passed(name, index), without))
        return found

    def _passed(self, name, index):
        """The tensor with the values of the input `index` of a node that hands its inputs on."""
        return tensor_name(name, index) if self.view.op(name) == 'IdentityN' else name

    def _passes(self, name):
        return name in self._dropout_path or (
            trait(self.view.op(name)).kind == FORWARDS and name not in self.input_nodes)


def _known(view, reference, field):
    name = node_name(reference)
    if name in view:
        index, count = reference.partition(':')[2], max(1, len(view.output_types(name)))
        if index and index not in map(str, range(count)):
            raise errors.QuantizeError(errors.UNKNOWN_NODE, 'Not found',
                                       'Node {0!r} of {1} has no output {2!r}; give {0!r}.'.format(name, field, index))
        return name
    raise errors.QuantizeError(
        errors.UNKNOWN_NODE, 'Not found', 'Node {!r} of {} is not in the graph{}.'.format(
            reference, field, errors.did_you_mean(name, view.names)))
