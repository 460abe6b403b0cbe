"""What the lint rules look up in a GraphDef. It takes any GraphDef, also one that TensorFlow itself would refuse."""
import collections


def producer_name(name):
    """The node that makes an input: 'a' for 'a', 'a:1' and '^a'."""
    return name.lstrip('^').split(':')[0]


class LintGraph:
    """Index of a GraphDef.

    nodes: the NodeDefs in file order. library: its FunctionDefLibrary.
    consumers: name of a node -> the nodes that read one of its outputs, in file order.
    """

    def __init__(self, graph_def):
        self.nodes = list(graph_def.node)
        self.library = graph_def.library
        self._by_name = {node.name: node for node in self.nodes}
        self.consumers = collections.defaultdict(list)
        for node in self.nodes:
            for name in data_inputs(node):
                self.consumers[producer_name(name)].append(node)

    def of_type(self, *ops):
        """The nodes whose op is one of `ops`."""
        return [node for node in self.nodes if node.op in ops]

    def producer(self, node, index):
        """The node that makes data input `index` (negative: from the end); None if there is no such input or node."""
        inputs = data_inputs(node)
        if not -len(inputs) <= index < len(inputs):
            return None
        return self._by_name.get(producer_name(inputs[index]))

    def is_quantized_constant(self, node):
        """Whether `node` is a FixNeuron that reads a Const directly."""
        return op_of(node) == 'FixNeuron' and op_of(self.producer(node, 0)) == 'Const'


def data_inputs(node):
    """The inputs of a NodeDef without the control inputs."""
    return [name for name in node.input if not name.startswith('^')]


def op_of(node):
    """The op type of `node`, '' for None."""
    return node.op if node is not None else ''


def describe(node):
    """A node as a message names it."""
    return "the {} '{}'".format(node.op, node.name) if node is not None else 'nothing'


def output_shapes(node):
    """The attr `_output_shapes` as lists of integers, -1 for an unknown dimension; None for an unknown rank."""
    return [_dims(shape) for shape in node.attr['_output_shapes'].list.shape] if '_output_shapes' in node.attr else []


def declared_shape(node):
    """The attr `shape` in the same form; None if there is none."""
    return _dims(node.attr['shape'].shape) if 'shape' in node.attr else None


def _dims(shape):
    return None if shape.unknown_rank else [dim.size for dim in shape.dim]
