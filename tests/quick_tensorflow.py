"""TensorFlow without what nobody asked for, a third of the time where a few graphs are built and run. Import it first."""
import gc
import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
# The first run of a session looks for what XLA could compile in the graph, even where XLA is off; without fuel it does not.
os.environ.setdefault('TF_XLA_FLAGS', '--tf_xla_clustering_fuel=0')

import tensorflow as tf  # noqa: E402  (the log level is read on import)
from tensorflow.python.training import basic_session_run_hooks, training_util  # noqa: E402
from tensorflow.python.util import deprecation, tf_stack  # noqa: E402

# Else each call of a function with a deprecated argument, such as Graph.create_op, is parsed to see whether it is given.
deprecation._PRINT_DEPRECATION_WARNINGS = False
# Each op notes from where it was made, as a list of all frames down to those of pytest; the first ones say enough.
tf_stack.extract_stack.__defaults__ = (10,)
# Estimators and supervisors write each graph as text, graph.pbtxt, and twice for TensorBoard, which nothing here reads.
training_util.write_graph = lambda *args, **kwargs: None


def _save_before_the_first_step(hook, session, coord):
    step = session.run(hook._global_step_tensor)
    hook._save(session, step)
    hook._timer.update_last_triggered_step(step)


basic_session_run_hooks.CheckpointSaverHook.after_create_session = _save_before_the_first_step


def turn_optimizers_off():
    """In sessions without a config; TensorFlow's optimizers of graphs take two thirds of a first run."""
    tf.config.optimizer.set_experimental_options({'disable_meta_optimizer': True})


def one_thread(optimizers=False):
    """A ConfigProto for sums that are the same each time, with TensorFlow's optimizers of graphs or without them."""
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimizers
    return config


def two_devices(optimizers=False):
    """A ConfigProto for sessions with two CPUs."""
    config = tf.compat.v1.ConfigProto(device_count={'CPU': 2})
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimizers
    return config


def collect_less():
    """The garbage collector looks less often for old garbage, and not again and again at what the imports left for good."""
    gc.set_threshold(700, 10, 50)
    gc.collect()
    if hasattr(gc, 'freeze'):  # Python 3.7
        gc.freeze()
