"""The optimised network in a live graph: the tensors that have its values.

A node of the optimised graph that computes what the live op of its name computes is that op. Others become new ops, beside
those whose place they take. Nothing that exists is changed here; `rewiring` says what has to read other tensors.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor
from vai_q_tf.graph.traits import READ_OPS, SHAPE_OPS
from vai_q_tf.graph.view import OUTPUT_OF, REDEFINED, STANDS_FOR, GraphView, node_name, output_index
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import results_of
from vai_q_tf.passes.common.snippets import FOLDED
from vai_q_tf.passes.dpu.replace_softmax import SOFTMAX_OF
from vai_q_tf.qat.live import straight_through
from vai_q_tf.qat.network import plain_names


class LiveNetwork:
    """One copy of a network in a live graph.

    Args:
      graph: the live tf.Graph.
      decision: the Decision.
      form: the InferenceForm of this copy.
      prefix: what the names of this copy begin with.
      quantizer: what makes quantized tensors, a `rewrite.Quantizer`.

    Attributes:
      view: GraphView of the optimised graph. clean: of that before the passes.
      plan, form, prefix, graph, quantizer: as given.
      results: {tensor of the optimised graph: the tf.Tensor that has its value}, for those that training computes otherwise.
      arithmetic: the tf.Operations that were made for parameters.
    """

    def __init__(self, graph, decision, form, prefix, quantizer):
        self.graph = graph
        self.quantizer = quantizer
        self.plan = decision.plan
        self.form = form
        self.prefix = prefix
        self.view, self.clean = GraphView(decision.optimised), GraphView(decision.clean)
        self.results = {}
        self.arithmetic = []
        self._shapes = decision.shapes
        self._outputs = {node.name: node.attr[OUTPUT_OF].s.decode() for node in form.graph_def.node if OUTPUT_OF in node.attr}
        self._static = static_nodes(self.view, in_branches=True)
        self._readers = {reader: record for record in self.plan.tensors for reader in record.consumers}
        self._moved = {tensor: name for name in self.view.names for tensor in results_of(self.view.node(name))}
        self._same_parameters = self._find_same_parameters()
        self._unconditional = self._find_unconditional()
        self.kept = {name for name in self.view.names if self._is_kept(name)}
        self._parameters, self._made, self._quantized = {}, {}, {}

    def live_name(self, name):
        """What the live graph calls a node of the plain network."""
        prefixed = self.prefix + name
        return prefixed if self.prefix and self._has(prefixed) else name

    def _has(self, name):
        try:
            self.graph.get_operation_by_name(name)
        except KeyError:
            return False
        return True

    def live(self, tensor):
        """The tf.Tensor that the live graph has under the name of a tensor of the plain network."""
        if tensor in self._outputs and not self._has(self.live_name(tensor)):
            tensor = self._outputs[tensor]
        name = self.live_name(node_name(tensor))
        return self.graph.get_tensor_by_name('{}:{}'.format(name, output_index(tensor)))

    def operation(self, name):
        """The live tf.Operation of a node of the plain network."""
        return self.graph.get_operation_by_name(self.live_name(name))

    def place_of(self, tensor):
        """The tensor of the optimised graph that has the value of a tensor of the clean graph; None where none has."""
        seen = set()
        while tensor in self._moved and tensor not in seen:
            seen.add(tensor)
            tensor = self._moved[tensor]
        name = node_name(tensor)
        return tensor if name in self.view and (seen or REDEFINED not in self.view.node(name).attr) else None

    def _find_same_parameters(self):
        """The static nodes that compute what the live ops of their names compute."""
        same = set()
        for name in self.view.upstream(self.view.names):
            if name not in self._static or name not in self.clean or name in self.form.changed:
                continue
            node = self.view.node(name)
            if STANDS_FOR in node.attr or FOLDED in node.attr or not _is_alike(node, self.clean.node(name)):
                continue
            if all(node_name(tensor) in same or STANDS_FOR in self.view.node(node_name(tensor)).attr
                   for tensor in self.view.inputs(name)) and self.view.inputs(name) == self.clean.inputs(name):
                same.add(name)
        return same

    def _find_unconditional(self):
        """Those of them whose live ops wait for nothing: arithmetic is not to wait for the updates that wait for it."""
        found = set()
        for name in self.view.upstream(self.view.names):
            if name in self._same_parameters and self._has(self.live_name(name)) and not self.operation(name).control_inputs:
                if all(node_name(tensor) in found or STANDS_FOR in self.view.node(node_name(tensor)).attr
                       for tensor in self.view.inputs(name)):
                    found.add(name)
        return found

    def _is_kept(self, name):
        if name in self._static or name not in self.clean or name in self.form.changed:
            return False
        node, inputs, before = self.view.node(name), self.view.inputs(name), self.clean.inputs(name)
        if node.op == 'Placeholder':
            return True
        if node.op in SHAPE_OPS and inputs == before:
            return True  # what folding makes has the shape of what was there
        if REDEFINED in node.attr or not _is_alike(node, self.clean.node(name)) or len(inputs) != len(before):
            return False
        return all(self._is_same_input(*pair) for pair in zip(before, inputs))

    def _is_same_input(self, before, now):
        if node_name(now) not in self._static:
            return now == self.place_of(before)
        node = self.view.node(node_name(now))
        if FOLDED in node.attr:
            return False
        if now == before and self._is_same_parameter(now):
            return True
        # A parameter that was separated from another one has its value.
        source = self.clean.node(node_name(before))
        return (_is_alike(node, source) and _variable(node) == _variable(source)
                and self.view.inputs(now) == self.clean.inputs(before)
                and all(map(self._is_same_parameter, self.view.inputs(now))))

    def _is_same_parameter(self, tensor):
        return node_name(tensor) in self._same_parameters or STANDS_FOR in self.view.node(node_name(tensor)).attr

    def parameter(self, tensor, wrapped=None):
        """The tf.Tensor with the value of a static tensor of the optimised graph.

        wrapped: {tensor: the tf.Tensor that is to be read for it within the arithmetic}; then the ops are made anew.
        """
        goal, wrapped = node_name(tensor), wrapped or {}
        known = dict(wrapped) if wrapped else self._parameters
        otherwise = set(wrapped)
        for name in self.view.upstream([goal], wrapped):
            if name not in known:
                if otherwise.isdisjoint(map(node_name, self.view.inputs(name))) and wrapped:
                    known[name] = self.parameter(name)
                else:
                    known[name] = self._make_parameter(name, known)
                    otherwise.add(name)
        return _output(known[goal], tensor)

    def _make_parameter(self, name, known):
        node = self.view.node(name)
        if STANDS_FOR in node.attr:
            return self._value_of(live_editor.tensor(self.graph, self.form.variables[node.attr[STANDS_FOR].s.decode()]))
        if name in self._unconditional and self.operation(name).type == node.op:
            return self.live(name)
        if node.op == 'Const':
            return live_editor.add_node(self.graph, node, [], self._new_name(name)).outputs[0]
        inputs = [_output(known[node_name(operand)], operand) for operand in self.view.inputs(name)]
        operation = live_editor.add_node(self.graph, node, inputs, self._new_name(name))
        self.arithmetic.append(operation)
        return operation.outputs[0]

    def _value_of(self, variable):
        """The value of a tf.Tensor that reads a variable, or is the handle of one that nothing reads as a whole."""
        if variable.dtype != tf.resource:
            return variable
        with live_editor.with_placement_of(self.graph, variable):
            return tf.raw_ops.ReadVariableOp(resource=variable, dtype=variable.op.get_attr('dtype'))

    def readers_of(self, value):
        """The (tf.Operation among `arithmetic`, input index) that read a variable which the tf.Tensor `value` reads."""
        variable = value.op.inputs[0].op if value.op.type in READ_OPS else value.op
        name = plain_names.variable_without(self.prefix, variable.name)
        read = live_editor.tensor(self.graph, self.form.variables[name]) if name in self.form.variables else value
        return [(op, index) for op in self.arithmetic for index, operand in enumerate(op.inputs) if operand is read]

    def _new_name(self, name):
        """For a new op: the name of its node where that is free."""
        return self.prefix + name + ('_Fold' if self._has(self.prefix + name) else '')

    def value(self, tensor):
        """The tf.Tensor with the value of a tensor of the optimised graph, before it is quantized."""
        if tensor in self.results:
            return self.results[tensor]
        name = node_name(tensor)
        if name in self._static:
            return self.parameter(tensor)
        if name in self.kept:
            return self.live(tensor)
        if name not in self._made:
            self._made[name] = self.make(name)
        return self._made[name].outputs[output_index(tensor)]

    def make(self, name):
        """A new op for a node of the optimised graph, which reads what the plan says."""
        inputs = [self.read(name, index) for index in range(len(self.view.inputs(name)))]
        operation = live_editor.add_node(self.graph, self.view.node(name), inputs, self._new_name(name))
        for output, shape in zip(operation.outputs, self._shapes.get(name, ())):
            if output.shape.ndims is None:
                output.set_shape(_any_batch(shape))
        if SOFTMAX_OF in self.view.node(name).attr:
            return self._with_gradient_of_softmax(operation, self.view.node(name).attr[SOFTMAX_OF].s.decode())
        return operation

    def _with_gradient_of_softmax(self, operation, logits):
        record = next((record for record in self.plan.tensors if record.tensor == logits), None)
        value = self.quantized(record) if record else self.value(logits)
        with live_editor.with_placement_of(self.graph, value):
            return straight_through.straight_through(operation.outputs[0], tf.nn.softmax(value)).op

    def read(self, name, index):
        """The tf.Tensor that a node of the optimised graph reads as its input `index`, quantized where the plan says so."""
        record = self.record((name, index))
        return self.quantized(record) if record else self.value(self.view.inputs(name)[index])

    def record(self, reader):
        """The QuantTensor that an input (node, index) of the optimised graph reads; None where that stays float."""
        return self._readers.get(reader)

    def quantized(self, record):
        """The quantized tf.Tensor of a QuantTensor of the plan."""
        if record.name not in self._quantized:
            self._quantized[record.name] = self.quantizer(self, record)
        return self._quantized[record.name]

    def note_quantized(self, record, value):
        """Notes that the tf.Tensor `value` is the quantized tensor of the record."""
        self._quantized[record.name] = value

    def is_static(self, tensor):
        """Whether a tensor of the optimised graph is a parameter."""
        return node_name(tensor) in self._static


def _output(first, tensor):
    """The tf.Tensor of the optimised graph's `tensor`, where `first` is that of the first output of its node."""
    return first.op.outputs[output_index(tensor)] if output_index(tensor) else first


def _any_batch(shape):
    shape = tf.TensorShape(shape)
    return shape if not shape.ndims else tf.TensorShape([None]).concatenate(shape[1:])


def _is_alike(node, other):
    """Whether two NodeDefs are of one op with the same attrs, private ones aside."""
    if node.op != other.op:
        return False
    return _attrs(node) == _attrs(other)


def _variable(node):
    return node.attr[STANDS_FOR].s if STANDS_FOR in node.attr else b''


def _attrs(node):
    return {key: value for key, value in node.attr.items() if not key.startswith('_')}
