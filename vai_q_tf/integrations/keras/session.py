"""Renews the session of tf.keras, which Keras creates implicitly, for example when weights are loaded.

A session takes over all ops of a graph when it runs one. It does not notice when an input of such an op changes later, so a
network that is rewritten then would silently run as before. Therefore the session is created anew inside the Python object
that the user may hold, and its variables keep their values.
"""
import contextlib
from typing import Iterator, List, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal


class _Initialised(NamedTuple):
    """The variables that have a value in a session, and their values."""
    variables: List[tf.Variable]
    values: List[np.ndarray]


@contextlib.contextmanager
def renewed(graph: tf.Graph) -> Iterator[None]:
    """Makes the session in which tf.keras runs `graph`, if there is one, run the changes that the body of the `with` makes.

    Raises:
      QuantizeError: the session is of another type, such as a wrapper.
    """
    session = _session(graph)
    if session is None:
        yield
        return
    initialised = _initialised(session, graph)
    yield
    tf_internal.remake_session(session)
    if initialised.variables:
        session.run([variable.initializer for variable in initialised.variables],
                    {variable.initializer.inputs[1]: value for variable, value in zip(*initialised)})


def _session(graph: tf.Graph) -> Optional[tf.Session]:
    """The session in which tf.keras runs a graph; None if there is none yet."""
    if not any(variable.graph is graph for variable in tf_internal.keras_variables(graph)):
        return None
    session = tf.get_default_session() or tf_internal.existing_keras_session()
    if session is None or session.graph is not graph:
        return None
    if not isinstance(session, (tf.Session, tf.InteractiveSession)):
        raise errors.QuantizeError(
            errors.GRAPH_FINALIZED, 'Called too late',
            'tf.keras runs this graph in a {}, which may have the ops of the graph already and would not see that they '
            'change. Rewrite before that session is made.'.format(type(session).__name__))
    return session


def _initialised(session: tf.Session, graph: tf.Graph) -> _Initialised:
    with graph.as_default():
        variables = sorted({*tf.global_variables(), *tf.local_variables(), *tf_internal.keras_variables(graph)},
                           key=lambda variable: variable.name)  # sets of variables have no order that repeats
        with tf.name_scope(None), tf.control_dependencies(None):
            ready = session.run([tf.is_variable_initialized(variable) for variable in variables])
        variables = [variable for variable, is_ready in zip(variables, ready) if is_ready]
        return _Initialised(variables, session.run(variables))
