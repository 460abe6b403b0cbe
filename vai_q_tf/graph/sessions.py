"""Sessions that execute a graph as it is, node by node."""
import numbers
from typing import Optional

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal


def exact(config: tf.ConfigProto) -> tf.ConfigProto:
    """`config`, with TensorFlow's graph optimizers turned off: they would fuse and reorder the ops being measured."""
    config.graph_options.optimizer_options.opt_level = -1
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def cpu_only() -> tf.ConfigProto:
    """A tf.ConfigProto without GPUs, for small computations that run once."""
    return tf.ConfigProto(device_count={'GPU': 0})


def session_config(gpu_memory_fraction: Optional[float] = None) -> tf.ConfigProto:
    """An `exact` tf.ConfigProto for all devices.

    Args:
      gpu_memory_fraction: the fraction of each GPU's memory, above 0 and at most 1; None: TensorFlow's default.

    Raises:
      QuantizeError: INVALID_CONFIG if the fraction is out of range.
    """
    config = exact(tf.ConfigProto(allow_soft_placement=True))
    if gpu_memory_fraction is not None:
        if not isinstance(gpu_memory_fraction, numbers.Real) or not 0 < gpu_memory_fraction <= 1:
            raise errors.QuantizeError(
                errors.INVALID_CONFIG, 'Invalid parameter',
                'gpu_memory_fraction is {!r}; expected a number above 0 and at most 1.'.format(gpu_memory_fraction))
        config.gpu_options.per_process_gpu_memory_fraction = gpu_memory_fraction
    return config


def skip_clustering(op: tf.Operation) -> None:
    """Keeps TensorFlow's XLA clustering pass from running on the graphs of sessions that run `op`.

    The pass runs even if XLA is off, in time quadratic in the size of the graph, unless an op has this mark.
    """
    tf_internal.set_attr(op, '_XlaAlreadyClustered', tf.AttrValue(b=True))
