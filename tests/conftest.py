"""Every test starts on an empty default graph and with TensorFlow's own log level, and property tests are repeatable."""
import hypothesis
import pytest

from tests import quick_tensorflow

import tensorflow as tf  # isort: skip  (after its settings)

# They are on in sessions with a config, as in tests/same_network, tests/qat/test_exactness, tests/integrations and tests/hooks,
# and in processes of their own, as in tests/examples.
quick_tensorflow.turn_optimizers_off()

hypothesis.settings.register_profile('repeatable', deadline=None, derandomize=True)
hypothesis.settings.load_profile('repeatable')


def pytest_collection_finish():
    quick_tensorflow.collect_less()


_LOG_LEVEL = tf.get_logger().level


@pytest.fixture(autouse=True)
def empty_default_graph():
    tf.compat.v1.reset_default_graph()


@pytest.fixture(autouse=True)
def log_level():
    """What a test asks of the log, as the command does with --debug_mode, is not for the next one."""
    tf.get_logger().setLevel(_LOG_LEVEL)
