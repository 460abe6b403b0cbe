"""A default graph and a default session of their own for code of users, which does with them as it likes."""
import contextlib

from vai_q_tf import tf_internal


class IsolatedDefaults:
    """What is the default graph and the default session inside a `with`, apart from those outside.

    Code inside may reset the default graph, finalize it, or enter a session that it never leaves, which
    `tf.Graph().as_default()` does not bear. The next `with inside()` of this object finds what the last one left.
    """

    def __init__(self):
        self._left = [], None, []

    @contextlib.contextmanager
    def inside(self):
        outside = tf_internal.swap_defaults(self._left)
        try:
            yield
        finally:
            self._left = tf_internal.swap_defaults(outside)
