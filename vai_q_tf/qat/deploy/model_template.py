"""The frozen evaluation model before its numbers are known: the nodes that the compiler is to read, in its rules.

From an evaluation graph this takes the range between input and output nodes, with placeholders for its inputs, without
identities, control inputs and variable reads, and with every weight and bias a Const that feeds its FixNeuron and nothing
else. Names are those of the evaluation graph; folded weights keep the name of the variable, a folded bias is
'<convolution>_Fold/biases'.
"""
from typing import Dict, NamedTuple, Set

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import READ_OPS
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView, node_name

_PARAMETER_ROLES = ('weight', 'bias', 'constant')


class Source(NamedTuple):
    """Where a Const of the model has its value from: a variable, or a tensor that is computed from variables."""
    name: str
    computed: bool


class ModelTemplate(NamedTuple):
    """A model whose Consts in `constants` {node: Source} have no value yet, and whose FixNeurons have no position.

    fix_neurons: {FixNeuron node: name of the quantized tensor whose position it has}.
    """
    graph_def: tf.GraphDef
    constants: Dict[str, Source]
    fix_neurons: Dict[str, str]

    def computed(self) -> Set[str]:
        """The tensors of the evaluation graph that have to be computed."""
        return {source.name for source in self.constants.values() if source.computed}

    def variables(self) -> Set[str]:
        """The variables whose values are constants of the model."""
        return {source.name for source in self.constants.values() if not source.computed}

    def fill(self, values, positions):
        """The model, given {source name: array} and {name of a quantized tensor: position}."""
        model = tf.GraphDef()
        model.CopyFrom(self.graph_def)
        for node in model.node:
            if node.name in self.constants:
                value = values[self.constants[node.name].name]
                node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(value))
            elif node.name in self.fix_neurons:
                node.attr['quantize_pos'].i = positions[self.fix_neurons[node.name]]
        return model


def build(graph_def, plan, config):
    """The ModelTemplate of an evaluation graph.

    Args:
      graph_def: the graph with FixNeurons (`fix_neuron_form.fix_neurons`) and the shapes of its tensors.
      plan: the QuantPlan that was applied to it.
      config: the QuantizeConfig; its input_shapes become the shapes of the placeholders.
    """
    view = GraphView(graph_def)
    builder = _Builder(view, plan, config)
    outputs = [output_node(plan, node) for node in plan.output_nodes]
    builder.add_parameters()
    builder.add_upstream(outputs)
    builder.separate_biases()
    builder.write_concat_axes()
    order = GraphView(editor.subgraph(graph_def, builder.model.values())).upstream(outputs)
    constants = {name: source for name, source in builder.constants.items() if name in order}
    stand_ins = [editor.placeholder(name, view.dtype(source.name), view.shape(source.name)) if source.computed
                 else editor.variable_placeholder(name, view.node(source.name)) for name, source in constants.items()]
    model = editor.with_shapes(
        editor.subgraph(graph_def, [builder.model[name] for name in order], library=False), stand_ins)
    return ModelTemplate(model, constants, {name: record for name, record in builder.fix_neurons.items() if name in order})


def output_node(plan, node):
    """The node of an evaluation graph that has the result of the float output node `node`."""
    quantized = next((record.name for record in plan.tensors if record.tensor == node), None)
    folded = next((norm.result_node for norm in plan.batch_norms if norm.output == node), None)
    return quantized or folded or node


class _Builder:
    """Collects the nodes of the model in `model` {name: NodeDef}."""

    def __init__(self, view, plan, config):
        self._view = view
        self._plan = plan
        given = dict(zip(map(node_name, config.input_nodes), config.input_shapes))
        self._input_shapes = {name: given.get(name) for name in plan.input_nodes}
        self._ends = set(plan.input_nodes) | set(plan.output_nodes)
        self.model: Dict[str, tf.NodeDef] = {}
        self.constants: Dict[str, Source] = {}
        self.fix_neurons: Dict[str, str] = {}

    def add_parameters(self):
        """The FixNeurons of weights, biases and constants, each with a Const of its own."""
        norms = {norm.scope: norm for norm in self._plan.batch_norms}
        for record in self._plan.tensors:
            if record.role not in _PARAMETER_ROLES:
                continue
            tensor = self._origin(self._view.inputs(record.name)[0])
            name = node_name(tensor)
            norm = norms.get(record.fold)
            if norm and not norm.compute:
                name = norm.scope + ('/offset' if record.role == 'bias' else '/scale')
            elif norm:
                name = norm.compute + '_Fold/biases' if record.role == 'bias' else node_name(self._origin(norm.weights))
            self._add_fix_neuron(record.name, self._add_constant(name, tensor))

    def add_upstream(self, roots):
        """Everything that `roots` depend on, up to the input nodes."""
        pending = list(roots)
        while pending:
            name = pending.pop()
            if name in self.model:
                continue
            if name in self._input_shapes:
                shape = self._input_shapes[name]
                self.model[name] = editor.placeholder(
                    name, self._view.dtype(name), self._view.shape(name) if shape is None else shape)
                continue
            operands = []
            for operand in self._view.inputs(name):
                tensor = self._origin(operand)
                if self._view.op(tensor) in VARIABLE_OPS:
                    tensor = self._add_constant(node_name(tensor), tensor)
                else:
                    pending.append(node_name(tensor))
                operands.append(tensor)
            if self._view.op(name) == 'FixNeuron':
                self._add_fix_neuron(name, operands[0])
            else:
                self.model[name] = editor.copy(self._view.node(name), inputs=operands)

    def separate_biases(self):
        """A second BiasAdd with the same bias gets a FixNeuron and a Const of its own."""
        taken = set()
        adds = [node for node in self.model.values() if node.op == 'BiasAdd' and node.input[1] in self.fix_neurons]
        for node in sorted(adds, key=lambda node: self._view.order(node.name)):
            bias = node.input[1]
            if bias in taken:
                constant = self.model[bias].input[0]
                copied = self._unique(constant)
                self.model[copied] = editor.copy(self.model[constant], name=copied)
                if constant in self.constants:
                    self.constants[copied] = self.constants[constant]
                node.input[1] = self._unique(bias)
                self.model[node.input[1]] = editor.copy(self.model[bias], name=node.input[1], inputs=[copied])
                self.fix_neurons[node.input[1]] = self.fix_neurons[bias]
            taken.add(bias)

    def write_concat_axes(self):
        """Gives the axis of every ConcatV2 the form that the compiler reads."""
        for node in [node for node in self.model.values() if node.op == 'ConcatV2']:
            axis = self.model[node.input[-1]]
            if axis.op == 'Const' and 'value' in axis.attr:
                self.model[axis.name] = editor.concat_axis(axis)

    def _origin(self, tensor):
        """The tensor that `tensor` passes on, not looking beyond the inputs and outputs of the range."""
        while self._view.op(tensor) in READ_OPS and node_name(tensor) not in self._ends:
            tensor = self._view.inputs(tensor)[0]
        return tensor

    def _add_fix_neuron(self, name, operand):
        self.model[name] = editor.copy(self._view.node(name), inputs=[operand])
        self.fix_neurons[name] = name

    def _add_constant(self, name, tensor):
        """Adds a Const with the value of `tensor`, called `name` if that is free; returns its name."""
        producer = self._view.node(node_name(tensor))
        name = self._unique(name)
        if producer.op == 'Const':
            self.model[name] = editor.copy(producer, name=name)
        elif producer.op in VARIABLE_OPS:
            self.model[name] = editor.constant(name, producer.attr['dtype'].type)
            self.constants[name] = Source(tensor, False)
        else:
            self.model[name] = editor.constant(name, self._view.dtype(tensor))
            self.constants[name] = Source(tensor, True)
        return name

    def _unique(self, name):
        # The files of this package have always had numbers without '_' here.
        return editor.unused_name(name, self.model, '{}{}')
