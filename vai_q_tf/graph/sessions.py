"""Sessions that compute what the graph says, node by node."""
import numbers

import tensorflow.compat.v1 as tf

from vai_q_tf import errors


def session_config(gpu_memory_fraction=None):
    """A tf.ConfigProto without TensorFlow's graph optimizers, which would fuse and reorder what is being measured.

    gpu_memory_fraction: of each GPU, above 0 and at most 1 (else a QuantizeError INVALID_CONFIG); None: as TensorFlow sees fit.
    """
    config = tf.ConfigProto(allow_soft_placement=True)
    config.graph_options.optimizer_options.opt_level = -1
    config.graph_options.rewrite_options.disable_meta_optimizer = True
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
    op._set_attr('_XlaAlreadyClustered', tf.AttrValue(b=True))
