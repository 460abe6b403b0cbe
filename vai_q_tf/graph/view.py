"""GraphView: a read-only index of a GraphDef. Tensors are 'node' for output 0 and 'node:k' for the other outputs.

A live graph is viewed through `GraphView(graph.as_graph_def(add_shapes=True))`. The GraphDef is referenced, not copied,
and must not change while the view is in use.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.traits import IDENTITY_OPS, READ_OPS

# The ops that call a function that an attr names.
CALL_OPS = frozenset(('PartitionedCall', 'StatefulPartitionedCall', 'RemoteCall', 'SymbolicGradient'))
VARIABLE_OPS = frozenset(('Variable', 'VariableV2', 'VarHandleOp'))
# A private list of names on a node: the nodes of the float graph that it stands for now.
SOURCE_NODES = '_origins'
# A private list of tensors on a node: those of the float graph whose readers read its result instead.
RESULTS = '_results'
# A mark on a node that has the name of a node of the float graph, and computes something else.
REDEFINED = '_redefined'
# On a Placeholder: the tensor that it stands for, an output of an input node after the first one.
OUTPUT_OF = '_output_of'
# On a Const: the variable that it stands for. The Const has the shape of the variable, and no value that counts.
STANDS_FOR = '_variable'


def node_name(reference):
    """The node of a tensor, control input or node name: 'a', 'a:1' and '^a' are all of node 'a'."""
    return reference.lstrip('^').partition(':')[0]


def output_index(tensor):
    """Which output of its node a tensor is."""
    return int(tensor.partition(':')[2] or 0)


def tensor_name(node, index=0):
    """The name of output `index` of `node`."""
    return '{}:{}'.format(node, index) if index else node


def indexed_name(tensor):
    """The name that a live graph and its sessions have for a tensor: 'a' is 'a:0'."""
    return '{}:{}'.format(node_name(tensor), output_index(tensor))


def normalise(tensor):
    """The one name of a tensor: 'a:0' is 'a'."""
    if ':' not in tensor and not tensor.startswith('^'):
        return tensor  # most of them
    return tensor_name(node_name(tensor), output_index(tensor))


def known_value(node):
    """The value of a Const NodeDef as an ndarray; None for another node, and for a Const that stands for a variable."""
    return large_constants.array(node.attr['value'].tensor) if node.op == 'Const' and STANDS_FOR not in node.attr else None


def op_def(op_type):
    """The OpDef of an op type of this TensorFlow, None where it has none."""
    found = tf_internal.python_op_defs().get(op_type)
    if found is None:
        try:
            found = tf_internal.runtime_op_def(op_type)  # not all ops have a Python function
        except tf.errors.NotFoundError:
            return None
    return found


class GraphView:
    """Nodes of a GraphDef by name, with producers, consumers, shapes and types.

    Attributes:
      names: of the nodes, in graph order. library: the FunctionDefLibrary of the graph.

    Raises:
      QuantizeError: two nodes of one name, or an input that no node makes.
    """

    def __init__(self, graph_def):
        self.library = graph_def.library
        self._nodes = {}
        for node in graph_def.node:
            if node.name in self._nodes:
                raise errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Invalid graph',
                                           'Two nodes have the name {!r}; node names must be unique.'.format(node.name))
            self._nodes[node.name] = node
        self._functions = {function.signature.name: function.signature for function in graph_def.library.function}
        self.names = tuple(self._nodes)
        self._order = {name: number for number, name in enumerate(self.names)}
        self._inputs, self._controls, self._consumers, self._output_types, self._derived_nodes = {}, {}, {}, {}, {}
        for name, node in self._nodes.items():
            self._index_inputs(name, node.input)
            for origin in node.attr[SOURCE_NODES].list.s if SOURCE_NODES in node.attr else ():
                self._derived_nodes.setdefault(origin.decode(), []).append(name)

    def _index_inputs(self, name, references):
        data = []
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

    def __contains__(self, name):
        return name in self._nodes

    def node(self, name):
        """The NodeDef called `name`."""
        return self._nodes[name]

    def op(self, reference):
        """The op type of the node of a node or tensor name."""
        return self._nodes[node_name(reference)].op

    def order(self, reference):
        """The place of the node of a node or tensor name in the GraphDef."""
        return self._order[node_name(reference)]

    def inputs(self, name):
        """The tensors that the node reads, in order, without control inputs."""
        return self._inputs[node_name(name)]

    def control_inputs(self, name):
        """The nodes that must run before this one, beside the producers of its inputs."""
        return self._controls.get(name, ())

    def consumers(self, tensor):
        """The inputs that read the tensor, as (node, input index)."""
        return tuple(self._consumers.get(tensor, ()))

    def derived_nodes(self, name):
        """The nodes that stand for a node of an earlier form of the graph, by their attr ORIGINS."""
        return tuple(self._derived_nodes.get(name, ()))

    def attr(self, name, key):
        """The AttrValue of the node, the default of its op where the node has none; None where there is neither."""
        node = self._nodes[node_name(name)]
        if key in node.attr:
            return node.attr[key]
        definition = self._definition(node.name)
        for attribute in definition.attr if definition else ():
            if attribute.name == key and attribute.HasField('default_value'):
                return attribute.default_value
        return None

    def value(self, tensor):
        """The value of a Const as an ndarray; None for another node, and for a Const that stands for a variable."""
        return known_value(self._nodes[node_name(tensor)])

    def shape(self, tensor):
        """The static shape as a list with -1 for unknown dimensions; None for an unknown rank."""
        while True:
            node = self._nodes[node_name(tensor)]
            if '_output_shapes' in node.attr:
                shapes = node.attr['_output_shapes'].list.shape
                return _dims(shapes[output_index(tensor)]) if output_index(tensor) < len(shapes) else None
            if node.op == 'Const':
                return _dims(node.attr['value'].tensor.tensor_shape)
            if node.op in VARIABLE_OPS or node.op == 'Placeholder':
                return _dims(node.attr['shape'].shape) if 'shape' in node.attr else None
            if node.op not in READ_OPS:
                return None
            tensor = self._inputs[node.name][0]

    def dtype(self, tensor):
        """The tf.DType of the tensor, never a reference type; None where the op is not known."""
        types = self.output_types(node_name(tensor))
        return types[output_index(tensor)] if output_index(tensor) < len(types) else None

    def output_types(self, name):
        """The tf.DType of each output of the node; empty for an unknown op."""
        if name not in self._output_types:
            self._output_types[name] = tuple(self._find_output_types(name))
        return self._output_types[name]

    def _find_output_types(self, name):
        definition = self._definition(name)
        for output in definition.output_arg if definition else ():
            if output.type_list_attr:
                values = self.attr(name, output.type_list_attr).list.type
            else:
                count = self.attr(name, output.number_attr).i if output.number_attr else 1
                values = [self.attr(name, output.type_attr).type if output.type_attr else output.type] * count
            for value in values:
                yield tf.as_dtype(value).base_dtype

    def _definition(self, name):
        """The OpDef of the op of a node, None where it is not known."""
        return tf_internal.python_op_defs().get(self.op(name)) or self._functions.get(self.op(name))

    def is_known(self, name):
        """Whether this TensorFlow has a Python function for the op of the node, or the graph has a function of that name."""
        return self._definition(name) is not None

    def is_function(self, name):
        """Whether the node is a call of a function of the graph."""
        return self.op(name) in self._functions or self.op(name) in CALL_OPS

    def is_stateful(self, name):
        """Whether the op is registered with state: variables, random numbers, queues. Unknown ops count as stateful."""
        definition = self._definition(name)
        return definition is None or definition.is_stateful

    def skip_identity(self, tensor):
        """The tensor that `tensor` is a copy of, through any number of Identity nodes."""
        while self.op(tensor) in IDENTITY_OPS:
            tensor = self._inputs[node_name(tensor)][0]
        return tensor

    def upstream(self, starts, stops=()):
        """The nodes that `starts` depend on through data, both ends included, producers before their readers.

        The walk does not go beyond the nodes in `stops`; control inputs are not followed.
        """
        stops = frozenset(stops)
        found, state = [], {}
        stack = [(name, False) for name in reversed(list(starts))]
        while stack:
            name, done = stack.pop()
            if done:
                found.append(name)
            elif name not in state:
                state[name] = True
                stack.append((name, True))
                if name not in stops:
                    stack.extend((node_name(tensor), False) for tensor in reversed(self._inputs[name]))
        return found


def _dims(shape):
    return None if shape.unknown_rank else [dim.size for dim in shape.dim]
