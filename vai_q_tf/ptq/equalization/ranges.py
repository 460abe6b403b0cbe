"""Ranges of the channels of layers on calibration data, from one pass over the float network."""
from typing import Dict, Iterable, Mapping, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import indexed_name
from vai_q_tf.types import Feed


class Range(NamedTuple):
    """The least and the greatest value of each channel of a tensor, [channels]."""
    low: np.ndarray
    high: np.ndarray

    @property
    def constant(self) -> np.ndarray:
        """Which channels never change, up to a thousandth of the largest value of all channels, bool [channels]."""
        largest = max(np.abs(self.low).max(), np.abs(self.high).max())
        return self.high - self.low <= 1e-3 * largest


def observe_ranges(float_graph: tf.GraphDef, tensors: Mapping[str, int], feeds: Iterable[Feed],
                   gpu_memory_fraction: Optional[float] = None) -> Dict[str, Range]:
    """{tensor: Range} of float tensors over the batches. tensors: {tensor name: axis of its channels, -1 or 1}."""
    graph = tf.Graph()
    with graph.as_default():
        large_constants.import_graph_def(float_graph, name='')
        extremes = {name: _extremes(graph.get_tensor_by_name(indexed_name(name)), axis) for name, axis in tensors.items()}
    with large_constants.session(graph, session_config(gpu_memory_fraction)) as session:
        batches = [session.run(extremes, feed) for feed in feeds]
    return {name: Range(np.min([batch[name].low for batch in batches], axis=0),
                        np.max([batch[name].high for batch in batches], axis=0)) for name in tensors}


def _extremes(tensor: tf.Tensor, axis: int) -> Range:
    """The Range of the channels of one batch, of tensors."""
    rank = tf.rank(tensor)
    others = tf.range(rank - 1) if axis == -1 else tf.concat([[0], tf.range(2, rank)], 0)
    return Range(tf.reduce_min(tensor, others), tf.reduce_max(tensor, others))
