"""Every test starts on an empty default graph and with TensorFlow's own log level, and property tests are repeatable.

A third of the time of a test that builds and runs a few graphs is what nobody asked for; that is turned off here.
"""
import gc
import os

import hypothesis
import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
# The first run of a session looks for what XLA could compile in the graph, even where XLA is off; without fuel it does not.
os.environ.setdefault('TF_XLA_FLAGS', '--tf_xla_clustering_fuel=0')

import tensorflow as tf  # noqa: E402  (the log level is read on import)
from tensorflow.python.util import deprecation  # noqa: E402

# Else each call of a function with a deprecated argument, such as tf.cond, is parsed to see whether it is given.
deprecation._PRINT_DEPRECATION_WARNINGS = False

# Sessions without a config leave the graph as it is: TensorFlow's optimizers of graphs take two thirds of a first run. They are
# on in sessions with a config, as in tests/same_network, tests/qat/test_exactness, tests/integrations and tests/hooks, and in
# processes of their own, as in tests/examples.
tf.config.optimizer.set_experimental_options({'disable_meta_optimizer': True})

hypothesis.settings.register_profile('repeatable', deadline=None, derandomize=True)
hypothesis.settings.load_profile('repeatable')


def pytest_collection_finish():
    """The garbage collector looks less often for old garbage, and not again and again at what the imports left for good."""
    gc.set_threshold(700, 10, 50)
    gc.collect()
    if hasattr(gc, 'freeze'):  # Python 3.7
        gc.freeze()


_LOG_LEVEL = tf.get_logger().level


@pytest.fixture(autouse=True)
def empty_default_graph():
    tf.compat.v1.reset_default_graph()


@pytest.fixture(autouse=True)
def log_level():
    """What a test asks of the log, as the command does with --debug_mode, is not for the next one."""
    tf.get_logger().setLevel(_LOG_LEVEL)
