"""The session of tf.keras, which comes into being behind the user's back, when weights are loaded for example.

A session takes over the ops of a graph when it runs something, all that are there. It never sees that the input of such an op
is changed later: a network that is rewritten then would go on running as it was, without a word. So the session is made anew,
behind the Python object that the user may hold, and its variables keep their values.
"""
import contextlib

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal


@contextlib.contextmanager
def renewed(graph):
    """Lets the session in which tf.keras runs `graph`, if there is one, see what the body of the `with` changes.

    Raises:
      QuantizeError: the session is wrapped by something of another kind.
    """
    session = _session(graph)
    if session is None:
        yield
        return
    variables, values = _initialised(session, graph)
    yield
    tf_internal.remake_session(session)
    if variables:
        session.run([variable.initializer for variable in variables],
                    {variable.initializer.inputs[1]: value for variable, value in zip(variables, values)})


def _session(graph):
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


def _initialised(session, graph):
    """(variables that have a value in the session, their values)."""
    with graph.as_default():
        variables = sorted({*tf.global_variables(), *tf.local_variables(), *tf_internal.keras_variables(graph)},
                           key=lambda variable: variable.name)  # sets of variables have no order that repeats
        with tf.name_scope(None), tf.control_dependencies(None):
            ready = session.run([tf.is_variable_initialized(variable) for variable in variables])
        variables = [variable for variable, is_ready in zip(variables, ready) if is_ready]
        return variables, session.run(variables)
