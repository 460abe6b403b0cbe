"""Ranges and variances of the channels of layers on calibration data, from one pass over the float network."""
from typing import Container, Dict, Iterable, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config, skip_clustering
from vai_q_tf.graph.view import indexed_name
from vai_q_tf.types import Feed

SCALES = 2.0**(np.arange(-6, 5) / 2)  # that a channel may have, 1/8 to 4
# Unseen values may be this much farther from the mean, so a value that a relu6 always cut to zero may exceed zero.
_HEADROOM = 1.5
# The effect of clipping is measured at so many places of a batch, scattered over it by a stride that is a prime number.
_ROWS, _STRIDE = 8192, 49999


class Channels(NamedTuple):
    """Statistics of the channels of a tensor. low, high: the least and the greatest value, variance: [channels] each.

    clipping: [scales, channels], the mean squared change of relu6(values) if the values are scaled by SCALES before the relu6
    and scaled back after it.
    """
    low: np.ndarray
    high: np.ndarray
    variance: np.ndarray
    clipping: np.ndarray

    @property
    def constant(self) -> np.ndarray:
        """Which channels never change, up to a thousandth of the largest value of all channels, bool [channels]."""
        largest = max(np.abs(self.low).max(), np.abs(self.high).max())
        return self.high - self.low <= 1e-3 * largest


def observe_channels(float_graph: tf.GraphDef, tensors: Mapping[str, int], feeds: Iterable[Feed],
                     gpu_memory_fraction: Optional[float] = None, clipped: Container[str] = ()) -> Dict[str, Channels]:
    """{tensor: Channels} of float tensors over the batches.

    tensors: {tensor name: axis of its channels}. clipped: the tensors whose `clipping` is measured; that of others is 0.
    """
    graph = tf.Graph()
    with graph.as_default():
        large_constants.import_graph_def(float_graph, name='')
        found = [_measures(graph.get_tensor_by_name(indexed_name(name)), axis, name in clipped)
                 for name, axis in tensors.items()]
        counts, sizes = (tf.stack(each) for each in zip(*((count, tf.shape(measures)[1]) for count, measures in found)))
        packed = tf.concat([measures for _, measures in found], 1)
    skip_clustering(packed.op)
    with large_constants.session(graph, session_config(gpu_memory_fraction)) as session:
        batches = [session.run([counts, sizes, packed], feed) for feed in feeds]
    counts = np.array([count for count, _, _ in batches], np.float64)
    measures = zip(*(np.split(values.astype(np.float64), np.cumsum(size)[:-1], axis=1) for _, size, values in batches))
    return {name: _pooled(count, np.array(each)) for name, count, each in zip(tensors, counts.T, measures)}


def _pooled(counts: np.ndarray, measures: np.ndarray) -> Channels:
    """The Channels of all batches; counts: values per channel [batches], measures: those of `_measures` [batches, ...]."""
    low, high, means, variances = np.moveaxis(measures[:, :4], 1, 0)
    share = counts / counts.sum()
    mean = share.dot(means)
    variance = share.dot(variances + np.square(means - mean))
    return Channels(low.min(0), high.max(0), variance, np.tensordot(share, measures[:, 4:], 1))


def _measures(tensor: tf.Tensor, axis: int, with_clipping: bool) -> Tuple[tf.Tensor, tf.Tensor]:
    """The number of values per channel, and [4 + len(SCALES), channels]: minimum, maximum, mean, variance, clipping."""
    if axis != -1:
        tensor = tf.transpose(tensor, tf.concat([[0], tf.range(2, tf.rank(tensor)), [axis]], 0))
    values = tf.reshape(tensor, tf.stack([-1, tf.shape(tensor)[-1]]))
    count, channels = tf.unstack(tf.shape(values))
    mean, variance = tf.nn.moments(values, 0)
    measures = tf.stack([tf.reduce_min(values, 0), tf.reduce_max(values, 0), mean, variance])
    if not with_clipping:
        return count, tf.pad(measures, [[0, len(SCALES)], [0, 0]])
    some = tf.cond(count > _ROWS, lambda: tf.gather(values, tf.range(_ROWS) * _STRIDE % count), lambda: values)
    large = mean + _HEADROOM * (some - mean)
    clipped = tf.nn.relu6(large)
    changes = [tf.reduce_mean(tf.square(tf.nn.relu6(large * scale) / scale - clipped), 0) for scale in SCALES]
    return count, tf.concat([measures, tf.stack(changes)], 0)
