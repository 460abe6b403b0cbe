"""The two sides of a comparison, models and dumps, as tensors by name whose values can be read batch after batch."""
import os
import re
from typing import NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.frozen.input_fn import InputFn, InputReader, load_input_fn
from vai_q_tf.frozen.load import load_graph
from vai_q_tf.graph.fetchable import fetchable_tensors
from vai_q_tf.graph.view import GraphView, node_name, output_index, tensor_name
from vai_q_tf.report.dumps.dump import wanted_tensors
from vai_q_tf.report.dumps.dump_files import FileNames
from vai_q_tf.report.dumps.dump_reader import DumpReader, is_dump
from vai_q_tf.report.dumps.fetch import Fetcher, graph_order, integers_of
from vai_q_tf.report.dumps.model_to_run import model_to_run

_QUANTIZED = re.compile(r'(.+?)(?:/output_(\d+))?/[aw]quant$')


class Tensor(NamedTuple):
    """What a side knows of a quantized tensor.

    source: the float tensor that it is made of. stem: its name in dumps that have no index. is_constant: it depends on no data.
    """
    bits: Optional[int]
    position: Optional[int]
    source: str
    stem: str
    is_constant: bool


def open_side(source, arch_type, dump_input_tensors):
    """The side that a path, of a model or a dump, or a GraphDef is.

    Raises:
      QuantizeError: INVALID_INPUT for what is neither, and what `model_to_run` raises.
    """
    if isinstance(source, tf.GraphDef):
        graph_def, name = source, 'a GraphDef'
    else:
        name = os.fspath(source)
        if is_dump(name):
            return DumpSide(name)
        if os.path.isdir(name) and not os.path.exists(os.path.join(name, 'saved_model.pb')):
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'No dump', '{!r} is a folder without dump_results.json, folders dump_results_<n> and '
                'files *.bin; give a dump, or the file of a model.'.format(name))
        if not os.path.exists(name):
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'Not found', 'There is no {!r}; give two models or folders of dumps.'.format(name))
        graph_def = load_graph(name)
    return ModelSide(name, model_to_run(graph_def, arch_type, dump_input_tensors, may_be_float=True))


class ModelSide:
    """A model that is run: a context, within which it can be read.

    name: in words. tensors: {name: Tensor} of its FixNeurons, in the order of the graph. is_float: whether there are none; then
    each of `floats`, its tensors, is read by its own name.
    """
    is_dump = False
    has_names = True

    def __init__(self, name, graph_def):
        self.name, self._graph_def = name, graph_def
        self._view = view = GraphView(graph_def)
        wanted, constant = wanted_tensors(view)
        stems = FileNames(wanted)
        self.tensors = {tensor: Tensor(view.attr(tensor, 'bit_width').i, view.attr(tensor, 'quantize_pos').i,
                                       view.inputs(tensor)[0], stems[tensor], tensor in constant)
                        for tensor in graph_order(view, wanted)}
        self.is_float = not wanted
        self.floats = frozenset(tensor for tensor in fetchable_tensors(view)[0] if view.dtype(tensor) == tf.float32)
        self.placeholders = frozenset(name for name in view.names if view.op(name).startswith('Placeholder'))

    def feed_with(self, input_fn, names, batches):
        """Says what is fed in each batch, and which tensors, or FixNeurons, are read."""
        self._reader = InputReader(input_fn, self._graph_def, [node_name(name) for name in names], batches)

    def __enter__(self):
        self._fetcher = Fetcher(self._graph_def).__enter__()
        return self

    def __exit__(self, *error):
        self._fetcher.__exit__(*error)

    def read(self, names, batch):
        """Yields the values of the tensors, in this order: integers of FixNeurons, floats of others."""
        for name, value in self._fetcher.values(names, self._reader.feed(batch)):
            known = self.tensors.get(name)
            yield integers_of(name, value, known.position, known.bits) if known else np.asarray(value)


class DumpSide:
    """A dump; attributes as those of ModelSide. has_names: whether names are those of the graph, and not of files."""
    is_dump = True
    is_float = False

    def __init__(self, name):
        self.name, self._reader = name, DumpReader(name)
        self.has_names, self.batches, self.path = self._reader.has_index, self._reader.batches, self._reader.path
        self.tensors = {name: Tensor(tensor.bits, tensor.position, _source(name), tensor.stem, tensor.is_weight)
                        for name, tensor in self._reader.tensors.items()}

    def complete(self, name, bits, position):
        """Gives a tensor what the other side knows of it, where this one does not."""
        if not self.has_names:
            self.tensors[name] = self.tensors[name]._replace(bits=bits, position=position)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def read(self, names, batch):
        """Yields the integers of the tensors, in this order; flat where the dump does not tell the shape."""
        for name in names:
            yield self._reader.read(name, batch, self.tensors[name].bits or 8)


class SharedInput:
    """An input function, or its name, for two models: called once a batch; no model gets what only the other one takes."""

    def __init__(self, input_fn, sides):
        if isinstance(input_fn, str):
            input_fn = load_input_fn(input_fn)
        self._input_fn, self._sides, self._last = input_fn, sides, (None, None)
        if sides and not isinstance(input_fn, InputFn):
            self._input_fn = InputFn(input_fn)

    def of(self, side):
        """The input function of one of the sides."""
        others = frozenset().union(*(other.placeholders for other in self._sides if other is not side)) - side.placeholders

        def function(step):
            if self._last[0] != step:
                self._last = step, self._input_fn(step)
            values = self._last[1]
            if not isinstance(values, dict):
                return values
            return {key: value for key, value in values.items() if not isinstance(key, str) or node_name(key) not in others}
        return function


def _source(name):
    """The float tensor that a quantized one of that name is made of: see `draft.producer_name`."""
    found = _QUANTIZED.match(name)
    return tensor_name(found.group(1), int(found.group(2) or 0)) if found else name


def source_in(side, tensor):
    """The name of the tensor of a float ModelSide that a Tensor of another side is made of; '' where it has none.

    Constants have none: folding and fitting change them on purpose.
    """
    source = tensor_name(node_name(tensor.source), output_index(tensor.source))
    return source if not tensor.is_constant and source in side.floats else ''
