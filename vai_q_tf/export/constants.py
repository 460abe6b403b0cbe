"""Quantizes arrays with the kernels that quantize tensors while a graph runs."""
from typing import Any, Callable, Dict, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import fixed_point, ops
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import cpu_only
from vai_q_tf.plan.positions.final_positions import Observation, error_table
from vai_q_tf.plan.quant_plan import QuantTensor


def errors_below(bits: int) -> int:
    """Positions below the non-overflow position at which errors are measured: down to where every value rounds to zero."""
    return bits + 1


ERRORS_ABOVE = 6  # positions above it at which errors are measured; beyond, most values saturate


class ConstantQuantizer:
    """A session that searches positions of arrays and quantizes them. A context manager.

    Its ops are created once for each kind of tensor.
    """

    def __init__(self) -> None:
        ops.load_library()
        self._graph = tf.Graph()
        self._session = tf.Session(graph=self._graph, config=cpu_only())
        self._kinds: Dict[Tuple[Any, ...], Tuple[Any, ...]] = {}

    def __enter__(self) -> 'ConstantQuantizer':
        return self

    def __exit__(self, *_: Any) -> None:
        self._session.close()

    def search(self, record: QuantTensor, value: np.ndarray, with_errors: bool = False) -> Observation:
        """The Observation of the array `value` for the QuantTensor `record`."""
        source, position, window = self._searches(record, with_errors)
        found, measured = self._session.run((position, window), {source: value})
        return Observation(int(found), error_table(*measured) if with_errors else None)

    def quantize(self, value: np.ndarray, position: int, bits: int, mode: int, narrow_range: bool) -> np.ndarray:
        """The array `value` at `position` as in a model, float32 of the same shape."""
        source, chosen, quantized = self._quantizations(bits, mode, narrow_range)
        lo, hi = fixed_point.limits(position, bits, narrow_range)
        return large_constants.by_pieces(lambda piece: self._session.run(quantized, {
            source: np.where(np.isnan(piece), lo, np.clip(piece, lo, hi)), chosen: position}), value)

    def _searches(self, record: QuantTensor, with_errors: bool) -> Tuple[Any, ...]:
        def make(source: tf.Tensor) -> Tuple[Any, ...]:
            position = ops.search_position(source, True, record.bits, record.mode, record.method, record.narrow_range)
            window = ops.position_errors(source, errors_below(record.bits), ERRORS_ABOVE, record.bits, record.mode,
                                         record.narrow_range) if with_errors else ()
            return source, position, window
        return self._kind(('search', record.bits, record.mode, record.method, record.narrow_range, with_errors), make)

    def _quantizations(self, bits: int, mode: int, narrow_range: bool) -> Tuple[Any, ...]:
        def make(source: tf.Tensor) -> Tuple[Any, ...]:
            position = tf.placeholder(tf.int32, [])
            return source, position, ops.vai_fix_neuron(source, position, bits, mode, narrow_range)
        return self._kind(('quantize', bits, mode, narrow_range), make)

    def _kind(self, key: Tuple[Any, ...], make: Callable[[tf.Tensor], Tuple[Any, ...]]) -> Tuple[Any, ...]:
        """The placeholder and the results that `make` creates for one kind of tensor."""
        if key not in self._kinds:
            with self._graph.as_default():
                self._kinds[key] = make(tf.placeholder(tf.float32))
        return self._kinds[key]
