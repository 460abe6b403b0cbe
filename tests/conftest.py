"""Every test starts on an empty default graph and with TensorFlow's own log level, and property tests are repeatable."""
import os

import hypothesis
import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import tensorflow as tf  # noqa: E402  (the log level is read on import)

hypothesis.settings.register_profile('repeatable', deadline=None, derandomize=True)
hypothesis.settings.load_profile('repeatable')


_LOG_LEVEL = tf.get_logger().level


@pytest.fixture(autouse=True)
def empty_default_graph():
    tf.compat.v1.reset_default_graph()


@pytest.fixture(autouse=True)
def log_level():
    """What a test asks of the log, as the command does with --debug_mode, is not for the next one."""
    tf.get_logger().setLevel(_LOG_LEVEL)
