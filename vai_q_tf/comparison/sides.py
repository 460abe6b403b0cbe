"""The sides of a comparison, models and dumps: their tensors by name, and the values batch after batch."""
import itertools
import os
import re
from typing import Any, Iterable, Iterator, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.frozen.input_fn import InputFn, InputReader
from vai_q_tf.frozen.load import Path, load_graph
from vai_q_tf.graph.fetchable import fetchable_tensors
from vai_q_tf.graph.view import GraphView, node_name, output_index, tensor_name
from vai_q_tf.report.dumps.dump import wanted_tensors
from vai_q_tf.report.dumps.dump_files import FileNames
from vai_q_tf.report.dumps.dump_reader import DumpReader, is_dump
from vai_q_tf.report.dumps.fetch import Fetcher, graph_order, integers_of
from vai_q_tf.report.dumps.model_to_run import model_to_run
from vai_q_tf.types import Feed
from vai_q_tf.types import InputFn as Function

_QUANTIZED = re.compile(r'(.+?)(?:/output_(\d+))?/[aw]quant$')

_MOST_FOLDERS = 1000  # that are searched for files


class Tensor(NamedTuple):
    """A quantized tensor of a side; bits and position are None if a dump does not say them.

    source: the float tensor that is quantized. stem: its name in dumps without an index. is_constant: it does not depend on
    data.
    """
    bits: Optional[int]
    position: Optional[int]
    source: str
    stem: str
    is_constant: bool


def open_side(source: Union[tf.GraphDef, Path], arch_type: str, dump_input_tensors: str) -> 'Side':
    """The side for a GraphDef, or for the path of a model or a dump.

    Raises:
      QuantizeError: INVALID_INPUT for another path; see `load_graph` and `model_to_run`.
    """
    if isinstance(source, tf.GraphDef):
        graph_def, name = source, 'a GraphDef'
    else:
        name = os.fspath(source)
        if is_dump(name):
            return DumpSide(name)
        if os.path.isdir(name) and not os.path.exists(os.path.join(name, 'saved_model.pb')):
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'No dump', '{!r} has no dump_results.json, no folders dump_results_<n> and no '
                'files *.bin; give a dump, or the file of a model.{}'.format(name, _files_below(name)))
        if not os.path.exists(name):
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'Not found', 'There is no {!r}; give two models or folders of dumps.'.format(name))
        graph_def = load_graph(name)
    return ModelSide(name, model_to_run(graph_def, arch_type, dump_input_tensors, may_be_float=True))


def _files_below(folder: str) -> str:
    """A sentence, with a space before it, on a folder below that has files *.bin, as the runtime of a board writes; or ''."""
    for place, folders, names in itertools.islice(os.walk(folder), _MOST_FOLDERS):
        folders.sort()
        found = sorted(name for name in names if name.endswith('.bin'))
        if found:
            return ' {!r} is deeper: copy the files of one batch into one folder.'.format(os.path.join(place, found[0]))
    return ''


class ModelSide:
    """A model that is run; a context manager, within which it can be read.

    name: its path, or words. tensors: {name: Tensor} of its FixNeurons, in the order of the graph. is_float: whether there are
    none; then the tensors `floats` are read, by their own names.
    """
    has_names = True

    def __init__(self, name: str, graph_def: tf.GraphDef) -> None:
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

    def feed_with(self, input_fn: Function, names: Iterable[str], batches: int) -> None:
        """Sets the input function, and the tensors that will be read, in that many batches."""
        self._reader = InputReader(input_fn, self._graph_def, [node_name(name) for name in names], batches)

    def __enter__(self) -> 'ModelSide':
        self._fetcher = Fetcher(self._graph_def).__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._fetcher.__exit__(*error)

    def read(self, names: Iterable[str], batch: int) -> Iterator[np.ndarray]:
        """Yields the values of the tensors, in this order: integers of FixNeurons, floats of others."""
        for name, value in self._fetcher.values(names, self._reader.feed(batch)):
            if name in self.tensors:
                position, bits = (self._view.attr(name, key).i for key in ('quantize_pos', 'bit_width'))
                yield integers_of(name, value, position, bits)
            else:
                yield np.asarray(value)


class DumpSide:
    """A dump; for its attributes see ModelSide. has_names: whether names are those of the graph, not of files."""
    is_float = False

    def __init__(self, name: str) -> None:
        self.name, self._reader = name, DumpReader(name)
        self.has_names, self.batches, self.path = self._reader.has_index, self._reader.batches, self._reader.path
        self.tensors = {name: Tensor(tensor.bits, tensor.position, _source(name), tensor.stem, tensor.is_weight)
                        for name, tensor in self._reader.tensors.items()}

    def complete(self, name: str, bits: Optional[int], position: Optional[int]) -> None:
        """Takes over bits and position of the other side if this one has none."""
        if not self.has_names:
            self.tensors[name] = self.tensors[name]._replace(bits=bits, position=position)

    def __enter__(self) -> 'DumpSide':
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def read(self, names: Iterable[str], batch: int) -> Iterator[np.ndarray]:
        """Yields the integers of the tensors, in this order; flat if the dump does not say the shape."""
        for name in names:
            yield self._reader.read(name, batch, self.tensors[name].bits or 8)


Side = Union[ModelSide, DumpSide]


class SharedInput:
    """An input function for the models: it is called once per batch, and no model is fed placeholders of the other one."""

    def __init__(self, input_fn: Function, sides: Sequence[ModelSide]) -> None:
        self._input_fn = input_fn if isinstance(input_fn, InputFn) else InputFn(input_fn)
        self._sides = sides
        self._last: Tuple[int, Any] = (-1, None)

    def of(self, side: ModelSide) -> Function:
        """The input function of one of the sides."""
        others = {name for other in self._sides for name in other.placeholders} - side.placeholders

        def function(step: int) -> Feed:
            if self._last[0] != step:
                self._last = step, self._input_fn(step)
            values = self._last[1]
            if not isinstance(values, dict):
                return values
            return {key: value for key, value in values.items() if not isinstance(key, str) or node_name(key) not in others}
        return function


def _source(name: str) -> str:
    """The float tensor that a FixNeuron of that name quantizes: see `draft.producer_name`."""
    found = _QUANTIZED.match(name)
    return tensor_name(found.group(1), int(found.group(2) or 0)) if found else name


def source_in(side: ModelSide, tensor: Tensor) -> str:
    """The tensor of a float ModelSide that a Tensor of another side quantizes; '' if there is none.

    Constants have none, since folding and fitting change them on purpose.
    """
    source = tensor_name(node_name(tensor.source), output_index(tensor.source))
    return source if not tensor.is_constant and source in side.floats else ''
