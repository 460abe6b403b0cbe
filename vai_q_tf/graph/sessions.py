"""Sessions that compute what the graph says, node by node."""
import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal


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

    gpu_memory_fraction: of each GPU, above 0 and at most 1; None: as TensorFlow sees fit.
    """
    config = exact(tf.ConfigProto(allow_soft_placement=True))
    if gpu_memory_fraction is not None:
        config.gpu_options.per_process_gpu_memory_fraction = gpu_memory_fraction
    return config


def skip_clustering(op):
    """Spares sessions the search for parts of a graph that XLA could compile; `op` is one that they run.

    TensorFlow searches even where XLA is off, in time quadratic in the size of the graph, but not if an op has this mark.
    """
    tf_internal.set_attr(op, '_XlaAlreadyClustered', tf.AttrValue(b=True))
