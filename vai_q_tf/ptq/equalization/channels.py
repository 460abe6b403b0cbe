"""Statistics of the channels of layers on calibration data, from one pass over the float network."""
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config, skip_clustering
from vai_q_tf.graph.view import indexed_name
from vai_q_tf.ptq.equalization.ranges import Range
from vai_q_tf.types import Feed

FACTORS = 2.0**(np.arange(-12, 21) / 4)  # by which the scale of a channel may differ from the neutral one, 1/8 to 32
# Unseen values may be this much farther from the mean, so a value that was always cut to zero may exceed zero.
_HEADROOM = 1.5
# Variances and the effect of clipping are measured at so many places of a batch, scattered by a stride that is a prime number.
_ROWS, _STRIDE = 2048, 49999


class Clip(NamedTuple):
    """How a tensor may be scaled channel by channel before its activation function, and scaled back by the next layer.

    scales: the factors, the neutral one times FACTORS. limit: values of the quantized network above it are lost, scaled. relu6:
    whether the float network clips at 6, unscaled.
    """
    scales: np.ndarray
    limit: float
    relu6: bool


class Channels(NamedTuple):
    """Statistics of the channels of a tensor. range: their Range. variance: [channels].

    clipping: [FACTORS, channels], the mean squared change by a relu6 that clips at the limit of a Clip, at each of its scales.
    """
    range: Range
    variance: np.ndarray
    clipping: np.ndarray


def observe_channels(float_graph: tf.GraphDef, tensors: Mapping[str, int], feeds: Iterable[Feed],
                     gpu_memory_fraction: Optional[float] = None, clips: Mapping[str, Clip] = {}) -> Dict[str, Channels]:
    """{tensor: Channels} of float tensors over the batches.

    tensors: {tensor name: axis of its channels}. clips: {tensor name: Clip}; the `clipping` of tensors without a relu6 is 0.
    """
    graph = tf.Graph()
    with graph.as_default():
        large_constants.import_graph_def(float_graph, name='')
        found = [_measures(graph.get_tensor_by_name(indexed_name(name)), axis, clips.get(name))
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
    return Channels(Range(low.min(0), high.max(0)), variance, np.tensordot(share, measures[:, 4:], 1))


def _measures(tensor: tf.Tensor, axis: int, clip: Optional[Clip]) -> Tuple[tf.Tensor, tf.Tensor]:
    """The number of values per channel, and [4 + len(FACTORS), channels]: minimum, maximum, mean, variance, clipping."""
    if axis != -1:
        tensor = tf.transpose(tensor, tf.concat([[0], tf.range(2, tf.rank(tensor)), [axis]], 0))
    values = tf.reshape(tensor, tf.stack([-1, tf.shape(tensor)[-1]]))
    count, channels = tf.unstack(tf.shape(values))
    some = tf.gather(values, tf.range(tf.minimum(count, _ROWS)) * _STRIDE % count)  # each row once, if there are fewer
    mean, variance = tf.nn.moments(some, 0)
    measures = tf.stack([tf.reduce_min(values, 0), tf.reduce_max(values, 0), mean, variance])
    if clip is None or not clip.relu6:
        return count, tf.pad(measures, [[0, len(FACTORS)], [0, 0]])
    large = mean + _HEADROOM * (some - mean)
    return count, tf.concat([measures, tf.stack(_changes(large, clip))], 0)


def _changes(values: tf.Tensor, clip: Clip) -> List[tf.Tensor]:
    """The mean squared change of each channel at each scale."""
    return [tf.reduce_mean(tf.square(tf.clip_by_value(values * scale, 0, clip.limit) / scale - tf.nn.relu6(values)), 0)
            for scale in clip.scales]
