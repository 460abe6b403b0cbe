"""Turns off features of TensorFlow that tests do not need: small graphs take a third of the time. Import it first."""
import gc
import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
# The first run of a session searches the graph for clusters that XLA could compile, even if XLA is off, unless it has no fuel.
os.environ.setdefault('TF_XLA_FLAGS', '--tf_xla_clustering_fuel=0')

import tensorflow as tf  # noqa: E402  (the log level is read on import)
from tensorflow.python.training import basic_session_run_hooks, training_util  # noqa: E402
from tensorflow.python.util import deprecation, tf_stack  # noqa: E402

# Otherwise each call of a function with a deprecated argument, such as Graph.create_op, is inspected for that argument.
deprecation._PRINT_DEPRECATION_WARNINGS = False
# Each op records where it was created as a list of all frames, including those of pytest; ten are enough.
tf_stack.extract_stack.__defaults__ = (10,)
# Estimators and supervisors write each graph as text, graph.pbtxt, and twice for TensorBoard, which no test reads.
training_util.write_graph = lambda *args, **kwargs: None


def _save_before_the_first_step(hook, session, coord):
    step = session.run(hook._global_step_tensor)
    hook._save(session, step)
    hook._timer.update_last_triggered_step(step)


basic_session_run_hooks.CheckpointSaverHook.after_create_session = _save_before_the_first_step


def turn_optimizers_off():
    """Turns off graph optimizers, which take two thirds of a first run, in sessions without a config."""
    tf.config.optimizer.set_experimental_options({'disable_meta_optimizer': True})


def one_thread(optimizers=False):
    """A ConfigProto for repeatable sums, with or without graph optimizers."""
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimizers
    return config


def two_devices(optimizers=False):
    """A ConfigProto for sessions with two CPUs."""
    config = tf.compat.v1.ConfigProto(device_count={'CPU': 2})
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimizers
    return config


def collect_less():
    """Lets the garbage collector run less often, and skip the objects of the imports."""
    gc.set_threshold(700, 10, 50)
    gc.collect()
    if hasattr(gc, 'freeze'):  # Python 3.7
        gc.freeze()
