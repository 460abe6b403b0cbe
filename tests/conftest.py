"""Every test starts on an empty default graph, and property tests are repeatable."""
import os

import hypothesis
import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import tensorflow as tf  # noqa: E402  (the log level is read on import)

hypothesis.settings.register_profile('repeatable', deadline=None, derandomize=True)
hypothesis.settings.load_profile('repeatable')


@pytest.fixture(autouse=True)
def empty_default_graph():
    tf.compat.v1.reset_default_graph()
