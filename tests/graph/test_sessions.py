"""The settings of sessions."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import sessions


def _is_exact(config):
    options = config.graph_options
    return options.optimizer_options.opt_level == tf.OptimizerOptions.L0 and options.rewrite_options.disable_meta_optimizer


def test_exact_changes_the_optimizers_only():
    config = tf.ConfigProto(inter_op_parallelism_threads=3)
    assert sessions.exact(config) is config and _is_exact(config) and config.inter_op_parallelism_threads == 3
    config.ClearField('graph_options')
    assert config == tf.ConfigProto(inter_op_parallelism_threads=3)


def test_devices():
    assert dict(sessions.cpu_only().device_count) == {'GPU': 0} and not _is_exact(sessions.cpu_only())
    for fraction in (None, 0.25):
        config = sessions.session_config(fraction)
        assert _is_exact(config) and config.allow_soft_placement and not config.device_count
        assert config.gpu_options.per_process_gpu_memory_fraction == (fraction or 0)
