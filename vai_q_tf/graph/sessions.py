"""Sessions that compute what the graph says, node by node."""
import numbers

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal


def exact(config):
    """Turns off TensorFlow's graph optimizers, which would fuse and reorder what is being measured, in a tf.ConfigProto.

    Returns:
      `config`.
    """
    config.graph_options.optimizer_options.opt_level = -1
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def cpu_only():
    """A tf.ConfigProto that leaves the GPUs alone, for what is computed once and is small."""
    return tf.ConfigProto(device_count={'GPU': 0})


def session_config(gpu_memory_fraction=None):
    """An `exact` tf.ConfigProto for all devices.

    gpu_memory_fraction: of each GPU, above 0 and at most 1 (else a QuantizeError INVALID_CONFIG); None: as TensorFlow sees fit.
    """
    config = exact(tf.ConfigProto(allow_soft_placement=True))
    if gpu_memory_fraction is not None:
        if not isinstance(gpu_memory_fraction, numbers.Real) or not 0 < gpu_memory_fraction <= 1:
            raise errors.QuantizeError(
                errors.INVALID_CONFIG, 'Invalid parameter',
                'gpu_memory_fraction is {!r}; expected a number above 0 and at most 1.'.format(gpu_memory_fraction))
        config.gpu_options.per_process_gpu_memory_fraction = gpu_memory_fraction
    return config


def skip_clustering(op):
    """Spares sessions the search for parts of a graph that XLA could compile; `op` is one that they run.

    TensorFlow searches even where XLA is off, in time quadratic in the size of the graph, but not if an op has this mark.
    """
    tf_internal.set_attr(op, '_XlaAlreadyClustered', tf.AttrValue(b=True))
