"""The float network and the quantized network side by side in one graph, with what trains each block of the latter.

A block is a weighted op with its bias and activation function, up to its quantized result. No gradient leaves a block, so
one backward pass through the sum of all losses gives every block its own gradient, however many there are.
"""
from typing import NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import GraphView, indexed_name, node_name, normalise
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE

# On a Placeholder: the tensor of the float network that it stands for.
_FLOAT_TENSOR = '_float_tensor'


class Block(NamedTuple):
    """name: its weighted op. constants: the Consts of its weights and bias. source: the float tensor that it is to give.
    output: the FixNeuron after that."""
    name: str
    constants: Tuple[str, ...]
    source: str
    output: str


def find_blocks(float_graph, eval_graph, plan):
    """The blocks of `eval_graph` that can be trained, in the order of the plan, and why the others cannot.

    Returns:
      (list of Module, list of (name of a weighted op, reason)).
    """
    float_view, eval_view = GraphView(float_graph), GraphView(eval_graph)
    blocks, skipped, taken = [], [], {}
    seen = set()
    for group in plan.groups:
        if group.node in seen:
            continue  # a value inside of a block
        seen.add(group.node)
        constants = tuple(constant for constant in (_constant(eval_view, group.weight), _constant(eval_view, group.bias))
                          if constant)
        source = eval_view.inputs(group.output)[0] if group.output in eval_view else ''
        shared = [constant for constant in constants if constant in taken]
        if group.node not in eval_view or group.node not in float_view:
            skipped.append((group.node, 'it is not in both the float and the quantized graph'))
        elif not source or node_name(source) not in float_view:
            skipped.append((group.node, 'its result is not quantized, or the float graph has no such tensor'))
        elif not constants:
            skipped.append((group.node, 'its weights and its bias are not constants'))
        elif shared:
            skipped.append((group.node, '{!r} is trained with {!r}'.format(shared[0], taken[shared[0]])))
        else:
            taken.update((constant, group.node) for constant in constants)
            blocks.append(Block(group.node, constants, source, group.output))
    return blocks, skipped


def _constant(view, fix_neuron):
    """The float32 Const before a FixNeuron; '' where there is none."""
    if fix_neuron not in view or view.op(fix_neuron) != 'FixNeuron':
        return ''
    name = view.skip_identity(view.inputs(fix_neuron)[0])
    return name if view.op(name) == 'Const' and view.dtype(name) == tf.float32 else ''


class FinetuneNetwork:
    """One finalized graph with both networks, and a session in which the constants of the blocks are variables.

    Args:
      float_graph, eval_graph, plan: as in `fast_finetune.finetune`.
      blocks: from `find_blocks`.
      mode: 0: the blocks read the float network; 1: the blocks before them.
      config: the tf.ConfigProto of the session.

    Use it as a context manager; that closes the session.

    Attributes:
      values: {Const: ndarray}, those of `eval_graph`.
    """

    def __init__(self, float_graph, eval_graph, plan, blocks, mode, config):
        ops.load_library()
        view = GraphView(eval_graph)
        self.values = {name: tf.make_ndarray(view.node(name).attr['value'].tensor)
                       for block in blocks for name in block.constants}
        targets = [block.output for block in blocks]
        outputs = [_quantized_output(plan, view, name) for name in plan.output_nodes]
        sources = [block.source for block in blocks]
        self._graph = tf.Graph()
        with self._graph.as_default():
            tf.import_graph_def(_upstream(float_graph, sources + list(plan.output_nodes)), name='')
            self._make_variables()
            if mode == 1:
                results = self._import(_stop_gradients(eval_graph), targets + outputs)
                targets, outputs = results[:len(blocks)], results[len(blocks):]
            else:
                outputs = self._import(eval_graph, outputs)
                targets = self._import(_read_float_network(eval_graph, GraphView(float_graph)), targets)
            losses = [tf.reduce_mean(tf.squared_difference(target, live_editor.tensor(self._graph, source)))
                      for target, source in zip(targets, sources)]
            self._losses = tf.stack(losses)
            self._errors = self._output_errors(outputs, plan.output_nodes)
            self._rates = tf.placeholder(tf.float32, [len(blocks)])
            self._train_ops = self._make_train_ops(blocks, losses)
            initializer = tf.global_variables_initializer()
        self._graph.finalize()
        self._session = tf.Session(graph=self._graph, config=config)
        self._session.run(initializer, {self._initial[name]: value for name, value in self.values.items()})

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._session.close()

    def _make_variables(self):
        # Their values are fed: as constants of the graph they would be in memory twice and count towards its limit of 2 GB.
        self._initial, self._variables, self._reads = {}, {}, {}
        for name, value in self.values.items():
            self._initial[name] = tf.placeholder(tf.float32, value.shape)
            self._variables[name] = tf.Variable(self._initial[name], trainable=False, use_resource=True)
            self._reads[name] = self._variables[name].read_value()

    def _import(self, graph_def, tensors):
        """Adds a copy of the quantized network that reads the placeholders and the variables there are.

        Nodes of `graph_def` that are a trained Const are left out; a Placeholder called '<tensor>/float' is that tensor of
        the float network.

        Returns:
          the tf.Tensors `tensors` of the copy.
        """
        scope = self._graph.unique_name('vai_q_tf_quantized', mark_as_used=False)
        sources, nodes = {}, []
        graph_def = _upstream(graph_def, tensors)
        for node in graph_def.node:
            if node.name in self._reads:
                sources[node.name] = self._reads[node.name]
            elif node.op.startswith('Placeholder'):
                sources[node.name] = live_editor.tensor(self._graph, node.attr[_FLOAT_TENSOR].s.decode() or node.name)
            if node.name in sources:
                node = editor.placeholder(node.name, sources[node.name].dtype, None)
            elif 'frame_name' in node.attr:  # of a loop, and no two loops of a graph may have the same
                node.attr['frame_name'].s = scope.encode() + b'/' + node.attr['frame_name'].s
            nodes.append(node)
        kept = editor.subgraph(graph_def, nodes)
        return tf.import_graph_def(kept, {name + ':0': source for name, source in sources.items()},
                                   list(map(indexed_name, tensors)), name=scope)

    def _output_errors(self, outputs, names):
        """Mean square of the difference to the float outputs, and of these: float32 [2, outputs]."""
        rows = []
        for output, name in zip(outputs, names):
            reference = live_editor.tensor(self._graph, name)
            if reference.dtype != tf.string:
                reference = tf.cast(reference, tf.float32)
                rows.append([tf.reduce_mean(tf.squared_difference(tf.cast(output, tf.float32), reference)),
                             tf.reduce_mean(tf.square(reference))])
        return tf.transpose(tf.convert_to_tensor(rows))

    def _make_train_ops(self, blocks, losses):
        """For each block the op that trains it, with an Adam of its own."""
        names = [name for block in blocks for name in block.constants]
        gradients = dict(zip(names, tf.gradients(losses, [self._reads[name] for name in names])))
        train_ops, self._resets = [], []
        for number, block in enumerate(blocks):
            optimizer = tf.train.AdamOptimizer(self._rates[number])
            train_ops.append(optimizer.apply_gradients([(gradients[name], self._variables[name]) for name in block.constants]))
            self._resets.append([variable.initializer for variable in optimizer.variables()])
        return train_ops

    def restart(self, numbers):
        """Makes the optimizers of the blocks `numbers` forget what they have seen."""
        self._session.run([self._resets[number] for number in numbers])

    def load(self, values):
        """Gives Consts other values, {name: ndarray}."""
        self._session.run([self._variables[name].initializer for name in values],
                          {self._initial[name]: value for name, value in values.items()})

    def read(self, names):
        """The present values of Consts, {name: ndarray}."""
        return self._session.run({name: self._reads[name] for name in names})

    def measure(self, batches):
        """What the present weights give over all batches; nothing is trained.

        Args:
          batches: iterable of feeds {tensor name: array}.

        Returns:
          (loss of each block, float64 [blocks]; error of the network): the error is the mean square of the difference of
          the outputs, divided by that of the float outputs; with several outputs the sum.
        """
        losses, errors, count = 0.0, 0.0, 0
        for feeds in batches:
            loss, error = self._session.run([self._losses, self._errors], self._feeds(feeds))
            losses, errors, count = losses + loss.astype(np.float64), errors + error.astype(np.float64), count + 1
        squares, references = errors / count
        with np.errstate(invalid='ignore'):
            return losses / count, float(np.sum(squares / np.where(references > 0, references, 1.0)))

    def train(self, batches, numbers, rates):
        """One step on each batch for the blocks `numbers`, at the learning rates `rates` [blocks]."""
        train_ops = [self._train_ops[number] for number in numbers]
        for feeds in batches:
            feeds = self._feeds(feeds)
            feeds[self._rates] = rates
            self._session.run(train_ops, feeds)

    def _feeds(self, feeds):
        """`feeds` for the placeholders that these networks have."""
        present = {}
        for key, value in feeds.items():
            name = getattr(key, 'name', key)
            try:
                present[live_editor.tensor(self._graph, name)] = value
            except KeyError:
                pass
        return present


def _quantized_output(plan, view, name):
    """The tensor of the quantized graph with the result of the output node `name`."""
    return next((record.name for record in plan.tensors if record.tensor == name and record.name in view), name)


def _stop_gradients(graph_def):
    """The graph in which what reads a quantized activation gets it without a gradient."""
    return _between_blocks(graph_def, lambda node, name: [_stop_gradient(node, name)])


def _stop_gradient(node, name):
    result = tf.NodeDef(name=name, op='StopGradient', input=[node.name])
    result.attr['T'].type = tf.float32.as_datatype_enum
    return result


def _read_float_network(graph_def, float_view):
    """The graph in which what reads a quantized activation gets that of the float network, quantized."""
    def quantized_float(node, name):
        source = normalise(node.input[0])
        if node_name(source) not in float_view:
            return [_stop_gradient(node, name)]
        placeholder = editor.placeholder(name + '/float', tf.float32, None)
        placeholder.attr[_FLOAT_TENSOR].s = source.encode()
        return [placeholder, editor.copy(node, name=name, inputs=[placeholder.name])]
    return _between_blocks(graph_def, quantized_float)


def _between_blocks(graph_def, make):
    """The graph in which all that reads the FixNeuron of an activation reads the last of the nodes `make(node, name)`.

    make: function (NodeDef of the FixNeuron, name of what is read instead) -> list of new NodeDefs.
    """
    names = {node.name for node in graph_def.node}
    added, stand_ins = [], {}
    for node in graph_def.node:
        if node.op == 'FixNeuron' and node.attr['mode'].i == ACTIVATION_MODE:
            name = editor.unused_name(node.name + '/block_input', names)
            stand_ins[node.name] = name
            added.extend(make(node, name))
    nodes = []
    for node in graph_def.node:
        nodes.append(editor.with_inputs(node, [
            stand_ins.get(normalise(operand), operand) if not operand.startswith('^') else operand for operand in node.input]))
    return editor.subgraph(graph_def, nodes + added)


def _upstream(graph_def, tensors):
    """The part of the graph that the tensors depend on, control inputs included."""
    nodes = {node.name: node for node in graph_def.node}
    found = reach(map(node_name, tensors), lambda name: map(node_name, nodes[name].input))
    return editor.subgraph(graph_def, [node for node in graph_def.node if node.name in found])
