"""Runs a model and gives the values of its tensors, as many at once as fit into a bounded memory."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.checks.make_graph import make_graph
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import node_name, output_index

_BYTES_OF_ONE_RUN = 256 << 20


class Fetcher:
    """The tensors of a GraphDef that runs; a context, within which its session is open."""

    def __init__(self, graph_def):
        self._graph = make_graph(graph_def)

    def __enter__(self):
        self._session = tf.Session(graph=self._graph, config=session_config())
        return self

    def __exit__(self, kind, error, traceback):
        self._session.close()

    def values(self, tensors, feed):
        """Yields (tensor, ndarray) of the names `tensors`, in this order, which are run a chunk at a time.

        Raises:
          QuantizeError: UNSUPPORTED_GRAPH where the model does not run.
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


def graph_order(view, tensors):
    """The tensors of a GraphView as data goes through the graph, weights right before the op that reads them."""
    read = {node_name(tensor) for name in view.names for tensor in view.inputs(name)}
    places = {name: place for place, name in enumerate(view.upstream([name for name in view.names if name not in read]))}
    return sorted(tensors, key=lambda tensor: (places.get(node_name(tensor), len(places)), view.order(tensor),
                                               output_index(tensor)))


def integers_of(tensor, value, position, bits):
    """What the tensor holds as integers, in the smallest of int8, int16 and int32 for its bits."""
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
