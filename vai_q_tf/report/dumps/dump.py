"""Dumps the tensors of a quantized model, as the integers that the device computes with.

Two kinds of programs read these files, under different names. Every quantized tensor is written under both:

| read by | batch | file, with .bin and .txt | weights |
| --- | --- | --- | --- |
| the user guide | n, from 1 | dump_results_<n>/<node>_int8 | with every batch |
| board tools | i, from 0 | dump_results_<i>/<node> | dump_results_weights/<node>, once |

So `dump_results_1` holds the files of the first batch that end in `_int8` and, if there is a second batch, the files of the
second one without that ending: each reader finds its files, and no name is used twice. The second name of the same values is a
hard link. Tensors of 9 to 16 bits are int16 and end in `_int16`, wider ones are int32.

With dump_float, every tensor that is not quantized is in dump_results_<n>/<node>; these and the quantized activations are in
dump_results_<i>/<node>_float; output k > 0 of a node is <node>_<k>.

dump_results.json has for each tensor its file, type, shape in the first batch and, if it is quantized, its bits and position.
"""
from typing import Any, Dict, List, Sequence, Set, Tuple

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
from vai_q_tf.types import Feed, InputFn
from vai_q_tf.wording import some_of


def dump(graph_def: tf.GraphDef, input_fn: InputFn, output_dir: str, max_dump_batches: int = 1, dump_float: int = 0,
         dump_input_tensors: str = '', arch_type: str = 'DEFAULT') -> None:
    """Writes the tensors of a quantized model, as the integers that the DPU computes with, into folders of `output_dir`.

    Args:
      graph_def: a model with FixNeurons in the evaluation phase.
      input_fn: a function of the batch (from 0) to {placeholder: array}.
      output_dir: a directory, which is created.
      max_dump_batches: the number of batches.
      dump_float: 1 to include tensors that are not quantized.
      dump_input_tensors: a tensor to replace by a new float32 placeholder `image_tensor`, '' for none.
      arch_type: with 'DPUCADF8H' activations have a symmetric range.

    Raises:
      QuantizeError: NOT_QUANTIZED without FixNeurons, or with one that has no position yet; INVALID_INPUT_FN for wrong data;
        UNKNOWN_NODE or INVALID_INPUT for a tensor that cannot be fed; INVALID_INPUT or UNSUPPORTED_GRAPH for a damaged model;
        INVALID_CONFIG if output_dir cannot be written. Then nothing is written.
    """
    if max_dump_batches < 1:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'max_dump_batches is {!r}; expected an '
                                   'integer of at least 1.'.format(max_dump_batches))
    graph_def = model_to_run(graph_def, arch_type, dump_input_tensors)
    wanted, constant = wanted_tensors(GraphView(graph_def), dump_float)
    reader = InputReader(input_fn, graph_def, [node_name(tensor) for tensor in wanted], max_dump_batches)
    with Folders(output_dir) as folders:
        _Dump(graph_def, wanted, constant, folders, dump_float).run(reader, max_dump_batches)


def wanted_tensors(view: GraphView, dump_float: int = 0) -> Tuple[List[str], Set[str]]:
    """(tensors of a model to write, the subset that does not depend on data)."""
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

    A tensor that does not depend on data is fetched once, for the first batch, and linked in the others.
    """

    def __init__(self, graph_def: tf.GraphDef, wanted: List[str], constant: Set[str], folders: Folders,
                 dump_float: int) -> None:
        self._graph_def, self._view, self._folders, self._dump_float = graph_def, GraphView(graph_def), folders, dump_float
        self._wanted, self._constant, self._stems = wanted, constant, FileNames(wanted)
        self._index: Dict[str, Dict] = {}

    def run(self, reader: InputReader, batches: int) -> None:
        """Writes the tensors of that many batches, and the index."""
        with Fetcher(self._graph_def) as fetcher:
            self._fetch(fetcher, [t for t in self._wanted if t in self._constant], {}, range(batches))
            for batch in progress(range(batches), batches, 'Dump'):
                self._fetch(fetcher, [t for t in self._wanted if t not in self._constant], reader.feed(batch), [batch])
        self._folders.write_index({tensor: self._index[tensor] for tensor in graph_order(self._view, self._index)})

    def _fetch(self, fetcher: Fetcher, tensors: List[str], feed: Feed, batches: Sequence[int]) -> None:
        guide, board = (['dump_results_{}'.format(batch + first) for batch in batches] for first in (1, 0))
        for tensor, value in fetcher.values(tensors, feed):
            write = self._write_integers if self._view.op(tensor) == 'FixNeuron' else self._write_floats
            kind = write(tensor, np.asarray(value), guide, board)
            self._index.setdefault(tensor, dict(file=self._stems[tensor], shape=list(np.shape(value)), **kind))

    def _write_integers(self, tensor: str, value: np.ndarray, guide: List[str], board: List[str]) -> Dict[str, Any]:
        bits, position = (self._view.attr(tensor, key).i for key in ('bit_width', 'quantize_pos'))
        stem = self._stems[tensor]
        is_weight = tensor in self._constant and self._view.attr(tensor, 'mode').i != ACTIVATION_MODE
        integers = integers_of(tensor, value, position, bits)
        self._folders.write(integers, [(folder, '{}_{}'.format(stem, integers.dtype.name)) for folder in guide]
                            + [(folder, stem) for folder in ([WEIGHTS] if is_weight else board)])
        if self._dump_float and not is_weight:
            self._folders.write(value, [(folder, stem + '_float') for folder in board])
        return dict(type=integers.dtype.name, bits=bits, position=position)

    def _write_floats(self, tensor: str, value: np.ndarray, guide: List[str], board: List[str]) -> Dict[str, Any]:
        stem = self._stems[tensor]
        self._folders.write(value, [(folder, stem) for folder in guide] + [(folder, stem + '_float') for folder in board])
        return dict(type=value.dtype.name)
