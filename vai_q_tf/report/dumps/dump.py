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

from vai_q_tf import errors
from vai_q_tf.frozen.input_fn import InputReader
from vai_q_tf.graph.dependence import changing_nodes
from vai_q_tf.graph.fetchable import fetchable_tensors
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE
from vai_q_tf.report.dumps.dump_files import WEIGHTS, FileNames, Folders
from vai_q_tf.report.dumps.fetch import Fetcher, graph_order, integers_of
from vai_q_tf.report.dumps.model_to_run import model_to_run
from vai_q_tf.terminal.progress import progress
from vai_q_tf.wording import some_of


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
    graph_def = model_to_run(graph_def, arch_type, dump_input_tensors)
    wanted, constant = wanted_tensors(GraphView(graph_def), dump_float)
    reader = InputReader(input_fn, graph_def, [node_name(tensor) for tensor in wanted], max_dump_batches)
    with Folders(output_dir) as folders:
        _Dump(graph_def, wanted, constant, folders, dump_float).run(reader, max_dump_batches)


def wanted_tensors(view, dump_float=0):
    """(tensors of the GraphView of a model to write, those of them that do not depend on data)."""
    tensors, skipped = fetchable_tensors(view)
    if not dump_float:
        tensors = [tensor for tensor in tensors if view.op(tensor) == 'FixNeuron']
        skipped = {name: reason for name, reason in skipped.items() if view.op(name) == 'FixNeuron'}
    for reason in dict.fromkeys(skipped.values()):
        names = [name for name, other in skipped.items() if other == reason]
        tf.logging.warning('Not dumped: %s, %s', some_of(names), reason)
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
        self._graph_def = graph_def

    def run(self, reader, batches):
        with Fetcher(self._graph_def) as fetcher:
            self._fetch(fetcher, [t for t in self._wanted if t in self._constant], {}, range(batches))
            for batch in progress(range(batches), batches, 'Dump'):
                self._fetch(fetcher, [t for t in self._wanted if t not in self._constant], reader.feed(batch), [batch])
        self._folders.write_index({tensor: self._index[tensor] for tensor in graph_order(self._view, self._index)})

    def _fetch(self, fetcher, tensors, feed, batches):
        for tensor, value in fetcher.values(tensors, feed):
            self._write(tensor, value, batches)

    def _write(self, tensor, value, batches):
        stem, value = self._stems[tensor], np.asarray(value)
        record = {'file': stem, 'shape': list(value.shape)}
        guide, board = ['dump_results_{}'.format(n + 1) for n in batches], ['dump_results_{}'.format(n) for n in batches]
        if self._view.op(tensor) == 'FixNeuron':
            bits, position = self._view.attr(tensor, 'bit_width').i, self._view.attr(tensor, 'quantize_pos').i
            is_weight = tensor in self._constant and self._view.attr(tensor, 'mode').i != ACTIVATION_MODE
            integers = integers_of(tensor, value, position, bits)
            self._folders.write(integers, [(folder, '{}_{}'.format(stem, integers.dtype.name)) for folder in guide]
                                + [(folder, stem) for folder in ([WEIGHTS] if is_weight else board)])
            if self._dump_float and not is_weight:
                self._folders.write(value, [(folder, stem + '_float') for folder in board])
            record.update(type=integers.dtype.name, bits=bits, position=position)
        else:
            self._folders.write(value, [(folder, stem) for folder in guide] + [(folder, stem + '_float') for folder in board])
            record.update(type=value.dtype.name)
        self._index.setdefault(tensor, record)
