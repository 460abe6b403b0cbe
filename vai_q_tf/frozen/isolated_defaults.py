"""Runs user code under a separate default graph and default session, which it may reset or leave open."""
import contextlib
from typing import Any, Iterator, List, Tuple

from vai_q_tf import tf_internal


class IsolatedDefaults:
    """The default graph and the default session inside `with inside()`, separate from those outside.

    The code inside may reset the default graph, finalize it, or enter a session and never leave it, all of which
    `tf.Graph().as_default()` does not tolerate. The next `with inside()` of this object finds the state that the last one left.
    """

    def __init__(self) -> None:
        self._left: Tuple[List, Any, List] = ([], None, [])

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """A block in which these defaults are the defaults of the thread."""
        outside = tf_internal.swap_defaults(self._left)
        try:
            yield
        finally:
            self._left = tf_internal.swap_defaults(outside)
