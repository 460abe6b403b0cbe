"""Quantizes arrays with the kernels that quantize tensors while a graph runs."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import fixed_point, ops
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import cpu_only
from vai_q_tf.plan.positions import final_positions


def errors_below(bits):
    """How far below the non-overflow position errors are measured: down to where every value rounds to zero."""
    return bits + 1


ERRORS_ABOVE = 6  # how far above it; beyond, most of the tensor is saturated


class ConstantQuantizer:
    """A session that searches and quantizes arrays; its ops are made once for each kind of tensor. A context manager."""

    def __init__(self):
        ops.load_library()
        self._graph = tf.Graph()
        self._session = tf.Session(graph=self._graph, config=cpu_only())
        self._kinds = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session.close()

    def search(self, record, value, with_errors=False):
        """The Observation of the array `value` for the QuantTensor `record`."""
        source, position, window = self._searches(record, with_errors)
        found, measured = self._session.run((position, window), {source: value})
        return final_positions.Observation(int(found), final_positions.error_table(*measured) if with_errors else None)

    def quantize(self, value, position, bits, mode, narrow_range):
        """The array `value` at `position` as in a model, float32 of the same shape."""
        source, chosen, quantized = self._quantizations(bits, mode, narrow_range)
        lo, hi = fixed_point.limits(position, bits, narrow_range)
        return large_constants.by_pieces(lambda piece: self._session.run(quantized, {
            source: np.where(np.isnan(piece), lo, np.clip(piece, lo, hi)), chosen: position}), value)

    def _searches(self, record, with_errors):
        def make(source):
            position = ops.search_position(source, True, record.bits, record.mode, record.method, record.narrow_range)
            window = ops.position_errors(source, errors_below(record.bits), ERRORS_ABOVE, record.bits, record.mode,
                                         record.narrow_range) if with_errors else ()
            return source, position, window
        return self._kind(('search', record.bits, record.mode, record.method, record.narrow_range, with_errors), make)

    def _quantizations(self, bits, mode, narrow_range):
        def make(source):
            position = tf.placeholder(tf.int32, [])
            return source, position, ops.vai_fix_neuron(source, position, bits, mode, narrow_range)
        return self._kind(('quantize', bits, mode, narrow_range), make)

    def _kind(self, key, make):
        if key not in self._kinds:
            with self._graph.as_default():
                self._kinds[key] = make(tf.placeholder(tf.float32))
        return self._kinds[key]
