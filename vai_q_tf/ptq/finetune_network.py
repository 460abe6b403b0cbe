"""The float network and the quantized network in one graph, with an optimizer for each block of the latter.

No gradient leaves a block, so one backward pass through the sum of all losses computes the gradients of all blocks.
"""
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants, live_editor
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import GraphView, indexed_name, node_name, normalise
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE, QuantPlan
from vai_q_tf.ptq.finetune_blocks import Block
from vai_q_tf.types import Feed, Values

# Attr of a Placeholder: the tensor of the float network that replaces it.
_FLOAT_TENSOR = '_float_tensor'


class FinetuneNetwork:
    """One finalized graph with both networks, and a session in which the constants of the blocks are variables.

    Args:
      float_graph, eval_graph, plan: as in `fast_finetune.finetune`.
      blocks: from `finetune_blocks.find_blocks`.
      mode: the inputs of the blocks: those of 0 the float network, 1 the blocks before them.
      config: the tf.ConfigProto of the session.

    A context manager that closes the session.

    Attributes:
      values: {Const: ndarray}, those of `eval_graph`.
      untrainable: {number of a block without gradients: reason}.
    """

    def __init__(self, float_graph: tf.GraphDef, eval_graph: tf.GraphDef, plan: QuantPlan, blocks: Sequence[Block], mode: int,
                 config: tf.ConfigProto) -> None:
        ops.load_library()
        view = GraphView(eval_graph)
        self.values: Dict[str, np.ndarray] = {name: view.value(name) for block in blocks for name in block.constants}
        self.untrainable: Dict[int, str] = {}
        sources = [block.source for block in blocks]
        self._graph = tf.Graph()
        with self._graph.as_default():
            large_constants.import_graph_def(_upstream(float_graph, sources + list(plan.output_nodes)), name='')
            self._make_variables()
            results, outputs = self._import_quantized(
                eval_graph, GraphView(float_graph), mode, [block.output for block in blocks],
                [_quantized_output(plan, view, name) for name in plan.output_nodes])
            losses = [tf.reduce_mean(tf.squared_difference(result, live_editor.tensor(self._graph, source)))
                      for result, source in zip(results, sources)]
            self._losses = tf.stack(losses)
            self._errors = self._output_errors(outputs, plan.output_nodes)
            self._rates = tf.placeholder(tf.float32, [len(blocks)])
            self._train_ops = self._make_train_ops(blocks, losses)
            initializer = tf.global_variables_initializer()
        self._session = large_constants.session(self._graph, config)
        self._graph.finalize()
        self._session.run(initializer, {self._initial[name]: value for name, value in self.values.items()})

    def __enter__(self) -> 'FinetuneNetwork':
        return self

    def __exit__(self, *exception: Any) -> None:
        self._session.close()

    def _make_variables(self) -> None:
        # Their values are fed: constants would be in memory twice and count towards the limit of 2 GB of a graph.
        self._initial: Dict[str, tf.Tensor] = {}
        self._variables: Dict[str, tf.Variable] = {}
        self._reads: Dict[str, tf.Tensor] = {}
        for name, value in self.values.items():
            self._initial[name] = tf.placeholder(tf.float32, value.shape)
            self._variables[name] = tf.Variable(self._initial[name], trainable=False, use_resource=True)
            self._reads[name] = self._variables[name].read_value()

    def _import_quantized(self, eval_graph: tf.GraphDef, float_view: GraphView, mode: int, results: List[str],
                          outputs: List[str]) -> Tuple[List[tf.Tensor], List[tf.Tensor]]:
        """Adds the quantized network; (tf.Tensors of the blocks' results, tf.Tensors of the outputs)."""
        if mode == 1:
            imported = self._import(_stop_gradients(eval_graph), results + outputs)
            return imported[:len(results)], imported[len(results):]
        outputs = self._import(eval_graph, outputs)
        return self._import(_read_float_network(eval_graph, float_view), results), outputs

    def _import(self, graph_def: tf.GraphDef, tensors: Sequence[str]) -> List[tf.Tensor]:
        """Adds a copy of the quantized network that reads the existing placeholders and variables.

        Trained Consts are left out; a Placeholder with the attr _FLOAT_TENSOR is that tensor of the float network.

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
            elif 'frame_name' in node.attr:  # of a loop; no two loops of a graph may have the same
                node.attr['frame_name'].s = scope.encode() + b'/' + node.attr['frame_name'].s
            nodes.append(node)
        kept = editor.subgraph(graph_def, nodes)
        return large_constants.import_graph_def(kept, {name + ':0': source for name, source in sources.items()},
                                                list(map(indexed_name, tensors)), name=scope)

    def _output_errors(self, outputs: Iterable[tf.Tensor], names: Iterable[str]) -> tf.Tensor:
        """Mean squares of the differences to the float outputs, and of the float outputs: float32 [2, real outputs]."""
        rows = []
        for output, name in zip(outputs, names):
            reference = live_editor.tensor(self._graph, name)
            if reference.dtype.is_floating or reference.dtype.is_integer or reference.dtype.is_bool:
                reference = tf.cast(reference, tf.float32)
                rows.append([tf.reduce_mean(tf.squared_difference(tf.cast(output, tf.float32), reference)),
                             tf.reduce_mean(tf.square(reference))])
        return tf.transpose(tf.convert_to_tensor(rows)) if rows else tf.zeros([2, 0])

    def _make_train_ops(self, blocks: Sequence[Block], losses: Sequence[tf.Tensor]) -> List[tf.Operation]:
        """The op that trains each block, with its own Adam; one that does nothing for a block without gradients."""
        train_ops = []
        self._resets: List[List[tf.Operation]] = []
        self._gradients: List[List[tf.Operation]] = []
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

    def _find_gradients(self, blocks: Sequence[Block], losses: Sequence[tf.Tensor]) -> List[List[Optional[tf.Tensor]]]:
        """For each block the gradients of its loss with respect to its Consts; None for a Const without one.

        If TensorFlow fails, the blocks are differentiated one by one.
        """
        reads = [[self._reads[name] for name in block.constants] for block in blocks]
        try:
            found = iter(tf.gradients(losses, [read for own in reads for read in own]))
            return [[next(found) for _ in own] for own in reads]
        except Exception:  # a gradient function may raise anything
            return [self._gradients_of(number, loss, own) for number, (loss, own) in enumerate(zip(losses, reads))]

    def _gradients_of(self, number: int, loss: tf.Tensor, reads: List[tf.Tensor]) -> List[Optional[tf.Tensor]]:
        try:
            return tf.gradients(loss, reads)
        except Exception as error:
            self.untrainable[number] = _no_gradients(error)
            return [None] * len(reads)

    def restart(self, numbers: Iterable[int]) -> None:
        """Resets the optimizers of the blocks `numbers`."""
        self._session.run([self._resets[number] for number in numbers])

    def load(self, values: Values) -> None:
        """Assigns values to Consts, {name: ndarray}."""
        self._session.run([self._variables[name].initializer for name in values],
                          {self._initial[name]: value for name, value in values.items()})

    def read(self, names: Iterable[str]) -> Dict[str, np.ndarray]:
        """The current values of Consts, {name: ndarray}."""
        return self._session.run({name: self._reads[name] for name in names})

    def measure_each(self, batches: Iterable[Feed]) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Measures the current weights.

        Yields:
          for each batch (loss of each block, float64 [blocks]; mean squares of the differences to the float outputs, and of the
          float outputs: float64 [2, outputs]).
        """
        for feeds in batches:
            loss, error = self._session.run([self._losses, self._errors], self._feeds(feeds))
            yield loss.astype(np.float64), error.astype(np.float64)

    def measure(self, batches: Iterable[Feed]) -> Tuple[np.ndarray, float]:
        """The `total` of the current weights over all batches."""
        return total(list(self.measure_each(batches)))

    def train(self, batches: Iterable[Feed], numbers: Sequence[int], rates: np.ndarray) -> Dict[int, str]:
        """Trains the blocks `numbers` one step on each batch, at the learning rates `rates` [blocks].

        Returns:
          {number of a block whose gradients cannot be computed: reason}. If there is one, training ends after that batch, and
          the weights are undefined.
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

    def _failures(self, numbers: Iterable[int], feeds: Dict[tf.Tensor, np.ndarray]) -> Dict[int, str]:
        """{number: reason} of the blocks `numbers` whose gradients cannot be computed."""
        failures = {}
        for number in numbers:
            try:
                self._session.run(self._gradients[number], feeds)
            except tf.errors.OpError as error:
                failures[number] = _no_gradients(error)
        return failures

    def _feeds(self, feeds: Feed) -> Dict[tf.Tensor, np.ndarray]:
        """The part of `feeds` for placeholders of these networks."""
        present = {}
        for key, value in feeds.items():
            name = getattr(key, 'name', key)
            try:
                present[live_editor.tensor(self._graph, name)] = value
            except KeyError:
                pass
        return present


def total(measured: Sequence[Tuple[np.ndarray, np.ndarray]]) -> Tuple[np.ndarray, float]:
    """(loss of each block, error of the network) over all batches, from the values of `measure_each`.

    The error is the mean squared difference of an output relative to the mean square of the float output, summed over outputs.
    """
    losses, (squares, references) = (sum(parts[1:], parts[0]) / len(measured) for parts in zip(*measured))
    with np.errstate(invalid='ignore'):
        return losses, float(np.sum(squares / np.where(references > 0, references, 1.0)))


def _no_gradients(error: Exception) -> str:
    text = getattr(error, 'message', None) or str(error) or type(error).__name__
    return 'TensorFlow has no gradients for it: ' + text.strip().splitlines()[0].strip().rstrip('.')


def _quantized_output(plan: QuantPlan, view: GraphView, name: str) -> str:
    """The tensor of the quantized graph for the output node `name`."""
    return next((record.name for record in plan.tensors if record.tensor == name and record.name in view), name)


def _stop_gradients(graph_def: tf.GraphDef) -> tf.GraphDef:
    """The graph in which the readers of a quantized activation get no gradient through it."""
    return _between_blocks(graph_def, lambda node, name: [_stop_gradient(node, name)])


def _stop_gradient(node: tf.NodeDef, name: str) -> tf.NodeDef:
    result = tf.NodeDef(name=name, op='StopGradient', input=[node.name])
    result.attr['T'].type = tf.float32.as_datatype_enum
    return result


def _read_float_network(graph_def: tf.GraphDef, float_view: GraphView) -> tf.GraphDef:
    """The graph in which the readers of a quantized activation get that of the float network, quantized."""
    def quantized_float(node: tf.NodeDef, name: str) -> List[tf.NodeDef]:
        source = normalise(node.input[0])
        if node_name(source) not in float_view:
            return [_stop_gradient(node, name)]
        placeholder = editor.placeholder(name + '/float', tf.float32, None)
        placeholder.attr[_FLOAT_TENSOR].s = source.encode()
        return [placeholder, editor.copy(node, name=name, inputs=[placeholder.name])]
    return _between_blocks(graph_def, quantized_float)


def _between_blocks(graph_def: tf.GraphDef, make: Callable[[tf.NodeDef, str], List[tf.NodeDef]]) -> tf.GraphDef:
    """The graph in which readers of the FixNeuron of an activation read other nodes instead.

    make: from the NodeDef of the FixNeuron and the name of the node to read to new NodeDefs.
    """
    names = {node.name for node in graph_def.node}
    added, new_names = [], {}
    for node in graph_def.node:
        if node.op == 'FixNeuron' and node.attr['mode'].i == ACTIVATION_MODE:
            name = editor.unused_name(node.name + '/block_input', names)
            new_names[node.name] = name
            added.extend(make(node, name))
    nodes = []
    for node in graph_def.node:
        nodes.append(editor.with_inputs(node, [
            new_names.get(normalise(operand), operand) if not operand.startswith('^') else operand for operand in node.input]))
    return editor.subgraph(graph_def, nodes + added)


def _upstream(graph_def: tf.GraphDef, tensors: Iterable[str]) -> tf.GraphDef:
    """The part of the graph that the tensors depend on, control inputs included."""
    nodes = {node.name: node for node in graph_def.node}
    found = reach(map(node_name, tensors), lambda name: map(node_name, nodes[name].input))
    return editor.subgraph(graph_def, [node for node in graph_def.node if node.name in found])
