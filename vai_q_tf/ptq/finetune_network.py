"""The float network and the quantized network side by side in one graph, with what trains each block of the latter.

No gradient leaves a block, so one backward pass through the sum of all losses gives every block its own gradient, however
many there are.
"""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants, live_editor
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import GraphView, indexed_name, node_name, normalise
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE

# On a Placeholder: the tensor of the float network that it stands for.
_FLOAT_TENSOR = '_float_tensor'


class FinetuneNetwork:
    """One finalized graph with both networks, and a session in which the constants of the blocks are variables.

    Args:
      float_graph, eval_graph, plan: as in `fast_finetune.finetune`.
      blocks: from `finetune_blocks.find_blocks`.
      mode: 0: the blocks read the float network; 1: the blocks before them.
      config: the tf.ConfigProto of the session.

    Use it as a context manager; that closes the session.

    Attributes:
      values: {Const: ndarray}, those of `eval_graph`.
      untrainable: {number of a block without gradients: why}.
    """

    def __init__(self, float_graph, eval_graph, plan, blocks, mode, config):
        ops.load_library()
        view = GraphView(eval_graph)
        self.values = {name: view.value(name)
                       for block in blocks for name in block.constants}
        targets = [block.output for block in blocks]
        outputs = [_quantized_output(plan, view, name) for name in plan.output_nodes]
        sources = [block.source for block in blocks]
        self._graph = tf.Graph()
        with self._graph.as_default():
            large_constants.import_graph_def(_upstream(float_graph, sources + list(plan.output_nodes)), name='')
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
        self._session = large_constants.session(self._graph, config)
        self._graph.finalize()
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
        return large_constants.import_graph_def(kept, {name + ':0': source for name, source in sources.items()},
                                   list(map(indexed_name, tensors)), name=scope)

    def _output_errors(self, outputs, names):
        """Mean square of the difference to the float outputs, and of these: float32 [2, outputs that are real numbers]."""
        rows = []
        for output, name in zip(outputs, names):
            reference = live_editor.tensor(self._graph, name)
            if reference.dtype.is_floating or reference.dtype.is_integer or reference.dtype.is_bool:
                reference = tf.cast(reference, tf.float32)
                rows.append([tf.reduce_mean(tf.squared_difference(tf.cast(output, tf.float32), reference)),
                             tf.reduce_mean(tf.square(reference))])
        return tf.transpose(tf.convert_to_tensor(rows)) if rows else tf.zeros([2, 0])

    def _make_train_ops(self, blocks, losses):
        """For each block the op that trains it, with an Adam of its own; without gradients one that does nothing."""
        train_ops, self._resets, self._gradients, self.untrainable = [], [], [], {}
        for number, (block, gradients) in enumerate(zip(blocks, self._find_gradients(blocks, losses))):
            pairs = [(gradient, self._variables[name]) for gradient, name in zip(gradients, block.constants)
                     if gradient is not None]
            optimizer = tf.train.AdamOptimizer(self._rates[number])
            train_ops.append(optimizer.apply_gradients(pairs) if pairs else tf.no_op())
            self._resets.append([variable.initializer for variable in optimizer.variables()])
            self._gradients.append([gradient.op for gradient, _ in pairs])
            if not pairs:
                self.untrainable.setdefault(number, 'its result has no gradient with respect to its weights')
        return train_ops

    def _find_gradients(self, blocks, losses):
        """For each block the gradients of its loss with respect to its Consts; None for those that have none.

        Where a block makes TensorFlow fail, each is differentiated on its own.
        """
        reads = [[self._reads[name] for name in block.constants] for block in blocks]
        try:
            found = iter(tf.gradients(losses, [read for own in reads for read in own]))
            return [[next(found) for _ in own] for own in reads]
        except Exception:  # whatever a gradient function raises
            return [self._gradients_of(number, loss, own) for number, (loss, own) in enumerate(zip(losses, reads))]

    def _gradients_of(self, number, loss, reads):
        try:
            return tf.gradients(loss, reads)
        except Exception as error:
            self.untrainable[number] = _no_gradients(error)
            return [None] * len(reads)

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

    def measure_each(self, batches):
        """What the present weights give in each batch; nothing is trained.

        Args:
          batches: iterable of feeds {tensor name: array}.

        Yields:
          (loss of each block, float64 [blocks]; for each output the mean square of its difference to the float output, and of
          that: float64 [2, outputs]).
        """
        for feeds in batches:
            loss, error = self._session.run([self._losses, self._errors], self._feeds(feeds))
            yield loss.astype(np.float64), error.astype(np.float64)

    def measure(self, batches):
        """`total` of what the present weights give over all batches."""
        return total(list(self.measure_each(batches)))

    def train(self, batches, numbers, rates):
        """One step on each batch for the blocks `numbers`, at the learning rates `rates` [blocks].

        Returns:
          {number of a block whose gradients cannot be computed: why}; after the batch where that shows, training ends, and
          what the weights are is not defined.
        """
        train_ops = [self._train_ops[number] for number in numbers]
        for feeds in batches:
            feeds = self._feeds(feeds)
            feeds[self._rates] = rates
            try:
                self._session.run(train_ops, feeds)
            except tf.errors.OpError:
                failures = self._failures(numbers, feeds)
                if not failures:
                    raise
                return failures
        return {}

    def _failures(self, numbers, feeds):
        """{number: why} of the blocks `numbers` whose gradients cannot be computed."""
        failures = {}
        for number in numbers:
            try:
                self._session.run(self._gradients[number], feeds)
            except tf.errors.OpError as error:
                failures[number] = _no_gradients(error)
        return failures

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


def total(measured):
    """(loss of each block, error of the network) over batches, given what `measure_each` gave.

    The error is the mean square of the difference of the outputs, divided by that of the float outputs; with several outputs
    the sum.
    """
    losses, errors = (sum(parts) / len(measured) for parts in zip(*measured))
    squares, references = errors
    with np.errstate(invalid='ignore'):
        return losses, float(np.sum(squares / np.where(references > 0, references, 1.0)))


def _no_gradients(error):
    text = getattr(error, 'message', None) or str(error) or type(error).__name__
    return 'TensorFlow has no gradients for it: ' + text.strip().splitlines()[0].strip().rstrip('.')


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
