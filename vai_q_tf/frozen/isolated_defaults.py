"""A default graph and a default session of their own for code of users, which does with them as it likes."""
import contextlib

from tensorflow.python.framework import ops


class OwnDefaults:
    """What is the default graph and the default session inside a `with`, apart from those outside.

    Code inside may reset the default graph, finalize it, or enter a session that it never leaves, which
    `tf.Graph().as_default()` does not bear. The next `with inside()` of this object finds what the last one left.
    """

    def __init__(self):
        self._left = [], None, []

    @contextlib.contextmanager
    def inside(self):
        outside = self._swap(self._left)
        try:
            yield
        finally:
            self._left = self._swap(outside)

    @staticmethod
    def _swap(defaults):
        graphs, sessions = ops._default_graph_stack, ops._default_session_stack
        before = graphs.stack, graphs._global_default_graph, sessions.stack
        graphs.stack, graphs._global_default_graph, sessions.stack = defaults
        return before
