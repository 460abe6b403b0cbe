"""What the channels of layers have over calibration data, in one pass over the float network."""
from typing import Dict, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.sessions import session_config, skip_clustering
from vai_q_tf.graph.view import indexed_name

SCALES = 2.0**(np.arange(-6, 5) / 2)  # that a channel may have, 1/8 to 4
# Values that were not seen may be this much larger.
_HEADROOM = 1.15
_MEASURES = 4 + len(SCALES)


class Channels(NamedTuple):
    """Of each channel of a tensor: low, high: its least and its greatest value; variance, all [channels].

    clipping: [scales, channels], the mean squared change of relu6(values) if each were scaled by SCALES before a relu6 and
    scaled back after it.
    """
    low: np.ndarray
    high: np.ndarray
    variance: np.ndarray
    clipping: np.ndarray

    @property
    def constant(self):
        """Which channels have one value all the time, up to a thousandth of the largest of all channels."""
        largest = max(np.abs(self.low).max(), np.abs(self.high).max())
        return self.high - self.low <= 1e-3 * largest


def observe_channels(float_graph, tensors, feeds, gpu_memory_fraction=None, clipped=()) -> Dict[str, Channels]:
    """{tensor: Channels} of float tensors over the batches.

    tensors: {tensor name: axis of its channels}. clipped: those for which `clipping` is measured; it is 0 for the others.
    """
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(float_graph, name='')
        rows = [_measures(graph.get_tensor_by_name(indexed_name(name)), axis, name in clipped)
                for name, axis in tensors.items()]
        sizes, packed = tf.stack([tf.shape(each)[1] for each in rows]), tf.concat(rows, 1)
    skip_clustering(packed.op)
    with tf.Session(graph=graph, config=session_config(gpu_memory_fraction)) as session:
        results = [session.run([sizes, packed], feed) for feed in feeds]
    found = np.array([values for _, values in results], np.float64)
    low, high = found[:, 0].min(0), found[:, 1].max(0)
    mean, square = found[:, 2].mean(0), found[:, 3].mean(0)
    together = np.vstack([low, high, np.maximum(square - mean * mean, 0), found[:, 4:].mean(0)])
    parts = np.split(together, np.cumsum(results[0][0])[:-1], axis=1)
    return {name: Channels(part[0], part[1], part[2], part[3:]) for name, part in zip(tensors, parts)}


def _measures(tensor, axis, with_clipping):
    """[_MEASURES, channels]: least, greatest, mean, mean square, and the effects of scales."""
    if axis != -1:
        tensor = tf.transpose(tensor, tf.concat([[0], tf.range(2, tf.rank(tensor)), [axis]], 0))
    values = tf.reshape(tensor, tf.stack([-1, tf.shape(tensor)[-1]]))
    measures = [tf.reduce_min(values, 0), tf.reduce_max(values, 0), tf.reduce_mean(values, 0),
                tf.reduce_mean(tf.square(values), 0)]
    none = tf.zeros_like(measures[0])
    large = values * _HEADROOM
    for scale in SCALES:
        change = tf.nn.relu6(large * scale) / scale - tf.nn.relu6(large) if with_clipping and scale != 1 else none
        measures.append(tf.reduce_mean(tf.square(change), 0) if change is not none else none)
    return tf.stack(measures)
