"""Runs a model for the values of its tensors, as many at a time as fit into bounded memory."""
from typing import Iterable, Iterator, List, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.checks.make_graph import make_graph
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import GraphView, node_name, output_index
from vai_q_tf.types import Feed

_BYTES_OF_ONE_RUN = 256 << 20
_ELEMENTS_OF_UNKNOWN_SHAPE = 1 << 18


class Fetcher:
    """The values of tensors of a GraphDef; a context manager, which holds the session."""

    def __init__(self, graph_def: tf.GraphDef) -> None:
        self._graph = make_graph(graph_def)

    def __enter__(self) -> 'Fetcher':
        self._session = tf.Session(graph=self._graph, config=session_config())
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def values(self, tensors: Iterable[str], feed: Feed) -> Iterator[Tuple[str, np.ndarray]]:
        """Yields (name, value) of the `tensors`, in this order, and runs one chunk of them at a time.

        Raises:
          QuantizeError: UNSUPPORTED_GRAPH if the model does not run.
        """
        for chunk in self._chunks(tensors, feed):
            try:
                values = self._session.run([self._tensor(tensor) for tensor in chunk], feed)
            except tf.errors.OpError as error:
                raise errors.QuantizeError(
                    errors.UNSUPPORTED_GRAPH, 'Cannot run', 'The model does not run{}: {}. Nothing is written.'.format(
                        ' (node {!r})'.format(error.op.name) if error.op is not None else '',
                        error.message.splitlines()[0])) from error
            yield from zip(chunk, values)

    def _tensor(self, tensor: str) -> tf.Tensor:
        return live_editor.tensor(self._graph, tensor)

    def _chunks(self, tensors: Iterable[str], feed: Feed) -> Iterator[List[str]]:
        """Lists of tensors that fit into the memory of one run."""
        batch = max([np.shape(value)[0] for value in feed.values() if np.ndim(value)], default=1)
        chunk: List[str] = []
        used = 0
        for tensor in tensors:
            size = self._size(tensor, batch)
            if chunk and used + size > _BYTES_OF_ONE_RUN:
                yield chunk
                chunk, used = [], 0
            chunk.append(tensor)
            used += size
        if chunk:
            yield chunk

    def _size(self, tensor: str, batch: int) -> int:
        """The bytes of the tensor, estimated if its shape is not known."""
        shape, dtype = self._tensor(tensor).shape, self._tensor(tensor).dtype
        sizes = [size or batch for size in shape.as_list()] if shape.rank is not None else [_ELEMENTS_OF_UNKNOWN_SHAPE]
        return int(np.prod(sizes, dtype=np.float64)) * dtype.size


def graph_order(view: GraphView, tensors: Iterable[str]) -> List[str]:
    """The tensors of a GraphView in the order of computation, weights right before the op that reads them."""
    read = {node_name(tensor) for name in view.names for tensor in view.inputs(name)}
    places = {name: place for place, name in enumerate(view.upstream([name for name in view.names if name not in read]))}
    return sorted(tensors, key=lambda tensor: (places.get(node_name(tensor), len(places)), view.order(tensor),
                                               output_index(tensor)))


def integers_of(tensor: str, value: np.ndarray, position: int, bits: int) -> np.ndarray:
    """value * 2^position as integers, in the smallest of int8, int16 and int32 for the bits.

    Raises:
      QuantizeError: NOT_QUANTIZED for values that are not such integers.
    """
    if not np.isfinite(value).all():
        raise errors.QuantizeError(errors.NOT_QUANTIZED, 'Wrong values', 'The FixNeuron {!r} gave NaN or infinity; look for '
                                   'such values in the constants of the model.'.format(tensor))
    integers = np.ldexp(value.astype(np.float64), position)
    result = integers.astype(np.int8 if bits <= 8 else np.int16 if bits <= 16 else np.int32)
    half = 2**(bits - 1)
    if not np.array_equal(result, integers) or integers.size and (integers.min() < -half or integers.max() >= half):
        raise errors.QuantizeError(
            errors.NOT_QUANTIZED, 'Wrong values', 'The FixNeuron {!r} gave values that are no integers of {} bits at position '
            '{}; the op library is not the one of this package.'.format(tensor, bits, position))
    return result
