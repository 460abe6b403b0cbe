"""User code may do anything to its default graph and session; the code around it keeps its own."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.frozen.isolated_defaults import IsolatedDefaults


def test_each_object_finds_the_defaults_that_it_left():
    one, another = IsolatedDefaults(), IsolatedDefaults()
    with tf.Graph().as_default() as outside, tf.Session() as session:
        with one.inside():
            left = tf.get_default_graph(), tf.InteractiveSession()
            tf.get_default_graph().finalize()
        with another.inside():
            assert tf.get_default_graph() not in (outside, left[0]) and tf.get_default_session() is None
        with one.inside():
            assert (tf.get_default_graph(), tf.get_default_session()) == left
            left[1].close()
        assert (tf.get_default_graph(), tf.get_default_session()) == (outside, session)


def test_code_that_raises_after_a_reset():
    defaults, outside = IsolatedDefaults(), tf.get_default_graph()
    with pytest.raises(KeyError), defaults.inside():
        tf.reset_default_graph()
        raise KeyError
    assert tf.get_default_graph() is outside
