"""The optimised network in a live graph: the tensors with its values.

A node of the optimised graph that computes the same as the live op of its name is that op. For other nodes new ops are added
next to the ops that they replace. Existing ops are not changed here; `rewiring` finds the inputs that have to be rerouted.
"""
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Set

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor
from vai_q_tf.graph.traits import READ_OPS
from vai_q_tf.graph.view import GraphView, node_name, output_index
from vai_q_tf.passes.dpu.replace_softmax import SOFTMAX_OF
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE, QuantTensor
from vai_q_tf.qat.live import straight_through
from vai_q_tf.qat.live.correspondence import Correspondence
from vai_q_tf.qat.live.quantizer import Quantizer
from vai_q_tf.qat.network import plain_names
from vai_q_tf.qat.network.decision import Decision
from vai_q_tf.qat.network.inference_form import InferenceForm
from vai_q_tf.qat.network.stand_ins import output_of, variable_of
from vai_q_tf.types import NodeInput, TensorShapeProto


class Reroute(NamedTuple):
    """Inputs of the live graph, and the tf.Tensor that they have to read."""
    readers: List[NodeInput]
    value: tf.Tensor


class LiveNetwork:
    """One copy of a network in a live graph.

    Args:
      graph: the live tf.Graph.
      decision: the Decision.
      form: the InferenceForm of this copy.
      prefix: prefix of the names of this copy.
      quantizer: adds the ops that quantize.

    Attributes:
      view: GraphView of the optimised graph. clean: of the graph before the passes.
      graph, plan, form, prefix: as given.
      kept: the nodes of `view`, parameters aside, that compute the same as the live ops of their names.
      results: {tensor of the optimised graph: the tf.Tensor with its value}, for those that training computes differently.
    """

    def __init__(self, graph: tf.Graph, decision: Decision, form: InferenceForm, prefix: str, quantizer: Quantizer) -> None:
        self.graph = graph
        self._quantizer = quantizer
        self.plan = decision.plan
        self.form = form
        self.prefix = prefix
        self.view, self.clean = GraphView(decision.optimised), GraphView(decision.clean)
        self.results: Dict[str, tf.Tensor] = {}
        self._arithmetic: List[tf.Operation] = []
        self._shapes = decision.shapes
        self._outputs = {node.name: output_of(node) for node in form.graph_def.node if output_of(node)}
        self._readers = {reader: record for record in self.plan.tensors for reader in record.consumers}
        self._correspondence = Correspondence(self.view, self.clean, form)
        self.kept = self._correspondence.kept
        self._unconditional = self._find_unconditional()
        self._parameters: Dict[str, tf.Tensor] = {}
        self._added: Dict[str, tf.Operation] = {}
        self._quantized: Dict[str, tf.Tensor] = {}

    def live_name(self, name: str) -> str:
        """The name in the live graph of a node of the plain network."""
        prefixed = self.prefix + name
        return prefixed if self.prefix and self._has(prefixed) else name

    def _has(self, name: str) -> bool:
        try:
            self.graph.get_operation_by_name(name)
        except KeyError:
            return False
        return True

    def live(self, tensor: str) -> tf.Tensor:
        """The tf.Tensor of the live graph with the name of a tensor of the plain network."""
        if tensor in self._outputs and not self._has(self.live_name(tensor)):
            tensor = self._outputs[tensor]
        name = self.live_name(node_name(tensor))
        return self.graph.get_tensor_by_name('{}:{}'.format(name, output_index(tensor)))

    def operation(self, name: str) -> tf.Operation:
        """The live op of a node of the plain network."""
        return self.graph.get_operation_by_name(self.live_name(name))

    def place_of(self, tensor: str) -> Optional[str]:
        """The tensor of the optimised graph with the value of a tensor of the clean graph; None if there is none."""
        return self._correspondence.place_of(tensor)

    def is_static(self, tensor: str) -> bool:
        """Whether a tensor of the optimised graph is a parameter."""
        return node_name(tensor) in self._correspondence.static

    def _find_unconditional(self) -> Set[str]:
        """The same parameters whose live ops have no control inputs: arithmetic must not wait for updates that wait for it."""
        found: Set[str] = set()
        for name in self.view.upstream(self.view.names):
            if (name in self._correspondence.same_parameters and self._has(self.live_name(name))
                    and not self.operation(name).control_inputs and self._correspondence.reads_variables_or(name, found)):
                found.add(name)
        return found

    def parameter(self, tensor: str) -> tf.Tensor:
        """The tf.Tensor with the value of a parameter of the optimised graph."""
        goal = node_name(tensor)
        for name in self.view.upstream([goal]):
            if name not in self._parameters:
                self._parameters[name] = self._add_parameter(name, self._parameters)
        return _output(self._parameters[goal], tensor)

    def parameter_with(self, tensor: str, replaced: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The value of a parameter for other values of the nodes `replaced`; only the arithmetic on them is added again."""
        goal = node_name(tensor)
        known, changed = dict(replaced), set(replaced)
        for name in self.view.upstream([goal], replaced):
            if name in known:
                continue
            if changed.isdisjoint(map(node_name, self.view.inputs(name))):
                known[name] = self.parameter(name)
            else:
                known[name] = self._add_parameter(name, known)
                changed.add(name)
        return _output(known[goal], tensor)

    def _add_parameter(self, name: str, known: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The first output of a parameter node, given those of its inputs."""
        node = self.view.node(name)
        if variable_of(node):
            return self._value_of(live_editor.tensor(self.graph, self.form.variables[variable_of(node)]))
        if name in self._unconditional and self.operation(name).type == node.op:
            return self.live(name)
        if node.op == 'Const':
            return live_editor.add_node(self.graph, node, [], self._new_name(name)).outputs[0]
        inputs = [_output(known[node_name(operand)], operand) for operand in self.view.inputs(name)]
        if node.op == 'Reshape' and inputs[0].shape.is_fully_defined() and inputs[0].shape.as_list() == self.view.shape(name):
            return inputs[0]  # its gradient would keep the graph optimizer from merging sums
        operation = live_editor.add_node(self.graph, node, inputs, self._new_name(name))
        self._arithmetic.append(operation)
        return operation.outputs[0]

    def _value_of(self, variable: tf.Tensor) -> tf.Tensor:
        """The value of a variable, given a tensor that reads it, or its handle if no op reads it as a whole."""
        if variable.dtype != tf.resource:
            return variable
        with live_editor.with_placement_of(self.graph, variable):
            return tf.raw_ops.ReadVariableOp(resource=variable, dtype=variable.op.get_attr('dtype'))

    def arithmetic_on(self, value: tf.Tensor) -> List[NodeInput]:
        """The inputs of arithmetic on parameters that read the variable which `value` reads."""
        variable = value.op.inputs[0].op if value.op.type in READ_OPS else value.op
        name = plain_names.variable_without(self.prefix, variable.name)
        read = live_editor.tensor(self.graph, self.form.variables[name]) if name in self.form.variables else value
        return [(op.name, index) for op in self._arithmetic for index, operand in enumerate(op.inputs) if operand is read]

    def _new_name(self, name: str) -> str:
        """The name of a new op: that of its node if it is free."""
        return self.prefix + name + ('_Fold' if self._has(self.prefix + name) else '')

    def value(self, tensor: str) -> tf.Tensor:
        """The tf.Tensor with the value of a tensor of the optimised graph, before it is quantized."""
        if tensor in self.results:
            return self.results[tensor]
        name = node_name(tensor)
        if self.is_static(tensor):
            return self.parameter(tensor)
        if name in self.kept:
            return self.live(tensor)
        if name not in self._added:
            self._added[name] = self._add(name)
        return self._added[name].outputs[output_index(tensor)]

    def _add(self, name: str) -> tf.Operation:
        """A new op for a node of the optimised graph, whose inputs are quantized as planned."""
        node = self.view.node(name)
        inputs = [self.read(name, index) for index in range(len(self.view.inputs(name)))]
        operation = live_editor.add_node(self.graph, node, inputs, self._new_name(name))
        self._set_shapes(operation, self._shapes.get(name, ()))
        if SOFTMAX_OF in node.attr:
            return self._with_gradient_of_softmax(operation, node.attr[SOFTMAX_OF].s.decode())
        return operation

    @staticmethod
    def _set_shapes(operation: tf.Operation, shapes: Sequence[TensorShapeProto]) -> None:
        """Sets unknown shapes, for any batch size."""
        for output, proto in zip(operation.outputs, shapes):
            if output.shape.ndims is None:
                shape = tf.TensorShape(proto)
                output.set_shape(tf.TensorShape([None]).concatenate(shape[1:]) if shape.ndims else shape)

    def _with_gradient_of_softmax(self, operation: tf.Operation, logits: str) -> tf.Operation:
        record = next((record for record in self.plan.tensors if record.tensor == logits), None)
        value = self.quantized(record) if record else self.value(logits)
        with live_editor.with_placement_of(self.graph, value):
            return straight_through.straight_through(operation.outputs[0], tf.nn.softmax(value)).op

    def read(self, name: str, index: int) -> tf.Tensor:
        """The tf.Tensor that a node of the optimised graph reads as its input `index`, quantized if the plan says so."""
        record = self.record((name, index))
        return self.quantized(record) if record else self.value(self.view.inputs(name)[index])

    def record(self, reader: NodeInput) -> Optional[QuantTensor]:
        """The QuantTensor that an input of the optimised graph reads; None if it stays float."""
        return self._readers.get(reader)

    def quantized_record(self, reader: NodeInput) -> QuantTensor:
        """The QuantTensor that a quantized input of the optimised graph reads."""
        return self._readers[reader]

    def quantized(self, record: QuantTensor) -> tf.Tensor:
        """The quantized tf.Tensor of a QuantTensor of the plan."""
        if record.name not in self._quantized:
            self._quantized[record.name] = self._quantizer.quantized(
                record, lambda: self.value(record.tensor), self._use_of(record))
        return self._quantized[record.name]

    def quantize(self, record: QuantTensor, value: tf.Tensor) -> tf.Tensor:
        """Quantizes `value` as the tensor of a QuantTensor."""
        self._quantized[record.name] = self._quantizer.quantized(record, lambda: value, self._use_of(record))
        return self._quantized[record.name]

    def quantize_scaled(self, record: QuantTensor, value: tf.Tensor, scale: tf.Tensor, rescale: tf.Tensor, inner: int,
                        constant: Optional[tf.Tensor]) -> None:
        """Quantizes `value` * `scale`, times `rescale`, as the tensor of a QuantTensor; see Quantizer."""
        self._quantized[record.name] = self._quantizer.scaled(
            record, value, scale, rescale, inner, constant, self._use_of(record))

    def _use_of(self, record: QuantTensor) -> Optional[tf.Tensor]:
        """A result of the op that reads a parameter, which may have another device than its variable; None for activations."""
        if record.mode == ACTIVATION_MODE or not record.consumers or record.consumers[0][0] not in self.clean:
            return None
        return self.operation(record.consumers[0][0]).outputs[0]


def _output(first: tf.Tensor, tensor: str) -> tf.Tensor:
    """The tf.Tensor of a tensor, given that of the first output of its node."""
    return first.op.outputs[output_index(tensor)] if output_index(tensor) else first
