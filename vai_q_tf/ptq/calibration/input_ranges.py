"""The values that calibration feeds to the input nodes: their range, their saturation at a position, how batches differ."""
from typing import Any, Dict, Iterable, List, NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import indexed_name
from vai_q_tf.plan.quant_plan import QuantTensor
from vai_q_tf.position_histogram import HISTOGRAM_BINS, HISTOGRAM_ZERO
from vai_q_tf.ptq.calibration.counting import count_positions


class InputRange(NamedTuple):
    """The values of an input node over all batches.

    bits: width, including the sign. low, high: the least and the greatest value. size: number of elements.
    counts: of positions, int64 [256], see `histograms`. deviations: the standard deviation of each batch.
    """
    bits: int
    low: float
    high: float
    size: int
    counts: np.ndarray
    deviations: Tuple[float, ...]

    def saturated(self, position: int) -> float:
        """The share of the elements that are out of range at a position."""
        return float(self.counts[:position + HISTOGRAM_ZERO].sum()) / max(self.size, 1)


class InputRanges:
    """Measures the input nodes of the default graph, to which it adds ops.

    Args:
      records: the QuantTensors of a plan; those that are not inputs are ignored.

    Attributes:
      fetches: the names of the tensors whose values `add` takes.
    """

    def __init__(self, records: Iterable[QuantTensor]) -> None:
        self._inputs = [record for record in records if record.role == 'input']
        self._batches: List[Sequence[Any]] = []
        self.fetches = [_measures(record) for record in self._inputs]

    def add(self, values: Sequence[Any]) -> None:
        """Adds a batch, the values of `fetches`."""
        self._batches.append(values)

    def found(self) -> Dict[str, InputRange]:
        """{quantized tensor: InputRange} over all batches."""
        return {record.name: _over_all(record.bits, batches)
                for record, batches in zip(self._inputs, zip(*self._batches))}


def _measures(record: QuantTensor) -> List[str]:
    x = tf.get_default_graph().get_tensor_by_name(indexed_name(record.tensor))
    spread = tf.math.reduce_std(tf.cast(x, tf.float64))
    return [tensor.name for tensor in (tf.reduce_min(x), tf.reduce_max(x), tf.size(x), count_positions(x, record.bits), spread)]


def _over_all(bits: int, batches: Iterable[Sequence[Any]]) -> InputRange:
    low, high, sizes, counts, deviations = zip(*batches)
    return InputRange(bits, float(min(low)), float(max(high)), int(np.sum(sizes, dtype=np.int64)),
                      np.sum(counts, 0, np.int64).reshape(HISTOGRAM_BINS), tuple(map(float, deviations)))
