"""Dumps what a quantized model computes, as the integers that the device computes with.

Two kinds of programs read these files, under names that differ. Every quantized tensor is written under both:

| written for | batch | file, with .bin and .txt | weights |
| --- | --- | --- | --- |
| the user guide | n, from 1 | dump_results_<n>/<node>_int8 | with every batch |
| board tools | i, from 0 | dump_results_<i>/<node> | dump_results_weights/<node>, once |

So `dump_results_1` holds files ending in `_int8` of the first batch and, if there is a second one, files without that ending
of the second: each reader finds what it looks for, and no name stands for two files. Where a name is a second one for the same
values it is a hard link. Tensors of 9 to 16 bits are int16 and end in `_int16`, wider ones are int32.

With dump_float, every tensor that is not quantized is in dump_results_<n>/<node>, and these and the quantized activations are
in dump_results_<i>/<node>_float; output k > 0 of a node is <node>_<k>.

dump_results.json tells for each tensor its file, type, shape in the first batch and, where it is quantized, its bits and
position.
"""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, fixed_point, ops
from vai_q_tf.dpu import has_narrow_range
from vai_q_tf.export.evaluation_model import require_evaluation_model
from vai_q_tf.frozen.input_fn import InputReader
from vai_q_tf.frozen.load import runnable
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.checks.damage import check_nodes
from vai_q_tf.graph.checks.make_graph import make_graph
from vai_q_tf.graph.dependence import changing_nodes, operands, reach
from vai_q_tf.graph.fetchable import fetchable_tensors
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import GraphView, node_name, normalise
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE
from vai_q_tf.report.dumps.dump_files import FileNames, Folders
from vai_q_tf.terminal.progress import progress

_FED = 'image_tensor'
_WEIGHTS = 'dump_results_weights'
_BYTES_OF_ONE_RUN = 256 << 20


def dump(graph_def, input_fn, output_dir, max_dump_batches=1, dump_float=0, dump_input_tensors='', arch_type='DEFAULT'):
    """Writes the values of a quantized model into folders of `output_dir`, see the head of this module.

    Args:
      graph_def: a model with FixNeurons in the evaluation phase.
      input_fn: a function of the batch (from 0) to {placeholder: array}, or an InputFn.
      output_dir: a directory, which is made.
      max_dump_batches: how many batches.
      dump_float: 1: also what is not quantized.
      dump_input_tensors: a tensor that a new float32 placeholder `image_tensor` stands in for, '' for none.
      arch_type: 'DPUCADF8H': activations have a symmetric range.

    Raises:
      QuantizeError: NOT_QUANTIZED without FixNeurons, or with one that has no position yet; INVALID_INPUT_FN for wrong data;
        UNKNOWN_NODE or INVALID_INPUT for a tensor that cannot be fed; INVALID_INPUT or UNSUPPORTED_GRAPH for a damaged model;
        INVALID_CONFIG where output_dir cannot be written. Then nothing is written.
    """
    if max_dump_batches < 1:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'max_dump_batches is {!r}; expected an '
                                   'integer of at least 1.'.format(max_dump_batches))
    ops.load_library()  # before views ask what FixNeuron gives
    check_nodes(graph_def, 'the model')
    require_evaluation_model(graph_def)
    graph_def = _prepared(runnable(graph_def), arch_type)
    make_graph(graph_def, 'the model')  # says what is wrong with it
    if dump_input_tensors:
        graph_def = _with_input(graph_def, normalise(dump_input_tensors.strip()))
    wanted, constant = _wanted(GraphView(graph_def), dump_float)
    reader = InputReader(input_fn, graph_def, [node_name(tensor) for tensor in wanted], max_dump_batches)
    with Folders(output_dir) as folders:
        _Dump(graph_def, wanted, constant, folders, dump_float).run(reader, max_dump_batches)


def _prepared(graph_def, arch_type):
    """A copy without noted shapes, which imports do not need, for the arch_type."""
    result = tf.GraphDef()
    result.CopyFrom(graph_def)
    for node in result.node:
        node.attr.pop('_output_shapes', None)
        if has_narrow_range(arch_type) and node.op == 'FixNeuron' and node.attr['mode'].i == ACTIVATION_MODE:
            node.attr['_symmetric'].b = True
    return result


def _with_input(graph_def, tensor):
    """The graph where a placeholder stands in for `tensor`, without the nodes that then nobody needs."""
    view = GraphView(graph_def)
    if node_name(tensor) not in view:
        raise errors.QuantizeError(errors.UNKNOWN_NODE, 'Not found',
                                   'dump_input_tensors is {!r}, which is not in the graph.'.format(tensor))
    if view.dtype(tensor) != tf.float32 or _FED in view:
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Cannot be fed', 'dump_input_tensors is {!r}: {}.'.format(
                tensor, 'the graph has a node {!r} already'.format(_FED) if _FED in view else
                'only a float32 tensor can be fed, it is {}'.format(getattr(view.dtype(tensor), 'name', 'unknown'))))
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name='')
    shape = live_editor.tensor(graph, tensor).shape
    shape = [None] + shape.as_list()[1:] if shape.rank else [None, None, None, 3]
    nodes = [editor.placeholder(_FED, tf.float32, shape)]
    for node in graph_def.node:
        nodes.append(editor.with_inputs(node, [
            _FED if operand[:1] != '^' and normalise(operand) == tensor else operand for operand in node.input]))
    read = {node_name(operand) for node in graph_def.node for operand in node.input}
    changed = GraphView(editor.subgraph(graph_def, nodes))
    needed = reach([name for name in view.names if name not in read], lambda name: operands(changed, name))
    return editor.subgraph(graph_def, [node for node in nodes if node.name in needed])


def _wanted(view, dump_float):
    """(tensors to write, those of them that do not depend on data)."""
    tensors, skipped = fetchable_tensors(view)
    if not dump_float:
        tensors = [tensor for tensor in tensors if view.op(tensor) == 'FixNeuron']
        skipped = {name: reason for name, reason in skipped.items() if view.op(name) == 'FixNeuron'}
    for reason in dict.fromkeys(skipped.values()):
        names = [name for name, other in skipped.items() if other == reason]
        tf.logging.warning('Not dumped: %s%s, %s', ', '.join(names[:3]),
                           ' and {} more'.format(len(names) - 3) if len(names) > 3 else '', reason)
    changing = changing_nodes(view)
    return tensors, {tensor for tensor in tensors if node_name(tensor) not in changing}


class _Dump:
    """Fetches tensors and writes them.

    A tensor that depends on no data is fetched once, in the first batch, and linked in the others.
    """

    def __init__(self, graph_def, wanted, constant, folders, dump_float):
        self._view, self._folders, self._dump_float = GraphView(graph_def), folders, dump_float
        self._wanted, self._constant = wanted, constant
        self._stems, self._index = FileNames(wanted), {}
        self._graph = make_graph(graph_def)

    def run(self, reader, batches):
        with tf.Session(graph=self._graph, config=session_config()) as session:
            self._fetch(session, [t for t in self._wanted if t in self._constant], {}, range(batches))
            for batch in progress(range(batches), batches, 'Dump'):
                self._fetch(session, [t for t in self._wanted if t not in self._constant], reader.feed(batch), [batch])
        self._folders.write_index(self._index)

    def _fetch(self, session, tensors, feed, batches):
        for chunk in self._chunks(tensors, feed):
            try:
                values = session.run([self._tensor(tensor) for tensor in chunk], feed)
            except tf.errors.OpError as error:
                raise errors.QuantizeError(
                    errors.UNSUPPORTED_GRAPH, 'Cannot run', 'The model does not run{}: {}. Nothing is written.'.format(
                        ' (node {!r})'.format(error.op.name) if error.op is not None else '',
                        error.message.splitlines()[0])) from error
            for tensor, value in zip(chunk, values):
                self._write(tensor, value, batches)

    def _tensor(self, tensor):
        return live_editor.tensor(self._graph, tensor)

    def _chunks(self, tensors, feed):
        """Lists of tensors, each as many as fit into the memory of one run."""
        batch = max([np.shape(value)[0] for value in feed.values() if np.ndim(value)], default=1)
        chunk, used = [], 0
        for tensor in tensors:
            shape, dtype = self._tensor(tensor).shape, self._tensor(tensor).dtype
            sizes = [size or batch for size in shape.as_list()] if shape.rank is not None else [1 << 18]
            size = int(np.prod(sizes, dtype=np.float64)) * dtype.size
            if chunk and used + size > _BYTES_OF_ONE_RUN:
                yield chunk
                chunk, used = [], 0
            chunk.append(tensor)
            used += size
        if chunk:
            yield chunk

    def _write(self, tensor, value, batches):
        stem, value = self._stems[tensor], np.asarray(value)
        record = {'file': stem, 'shape': list(value.shape)}
        guide, board = ['dump_results_{}'.format(n + 1) for n in batches], ['dump_results_{}'.format(n) for n in batches]
        if self._view.op(tensor) == 'FixNeuron':
            bits, position = self._view.attr(tensor, 'bit_width').i, self._view.attr(tensor, 'quantize_pos').i
            is_weight = tensor in self._constant and self._view.attr(tensor, 'mode').i != ACTIVATION_MODE
            integers = _integers(tensor, value, position, bits)
            self._folders.write(integers, [(folder, '{}_{}'.format(stem, integers.dtype.name)) for folder in guide]
                                + [(folder, stem) for folder in ([_WEIGHTS] if is_weight else board)])
            if self._dump_float and not is_weight:
                self._folders.write(value, [(folder, stem + '_float') for folder in board])
            record.update(type=integers.dtype.name, bits=bits, position=position)
        else:
            self._folders.write(value, [(folder, stem) for folder in guide] + [(folder, stem + '_float') for folder in board])
            record.update(type=value.dtype.name)
        self._index.setdefault(tensor, record)


def _integers(tensor, value, position, bits):
    """What the tensor holds as integers, in the smallest of int8, int16 and int32 for its bits."""
    if not np.isfinite(value).all():
        raise errors.QuantizeError(errors.NOT_QUANTIZED, 'Wrong values', 'The FixNeuron {!r} gave NaN or infinity; look for '
                                   'such values in the constants of the model.'.format(tensor))
    if position == fixed_point.POSITION_ZERO:
        position = 0
    integers = np.ldexp(value.astype(np.float64), position)
    result = integers.astype(np.int8 if bits <= 8 else np.int16 if bits <= 16 else np.int32)
    half = 2**(bits - 1)
    if not np.array_equal(result, integers) or integers.size and (integers.min() < -half or integers.max() >= half):
        raise errors.QuantizeError(
            errors.NOT_QUANTIZED, 'Wrong values', 'The FixNeuron {!r} gave values that are no integers of {} bits at position '
            '{}; the op library is not the one of this package.'.format(tensor, bits, position))
    return result
