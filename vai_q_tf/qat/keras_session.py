"""The session of tf.keras, which comes into being behind the user's back, when weights are loaded for example.

A session takes over the ops of a graph when it runs something, all that are there. It never sees that the input of such an op
is changed later: a network that is rewritten then would go on running as it was, without a word.
"""
import tensorflow.compat.v1 as tf
from tensorflow.python.keras import backend

from vai_q_tf import errors


def check_not_run(graph):
    """Raises a QuantizeError when tf.keras runs `graph` in a session already."""
    if has_run(graph):
        raise errors.QuantizeError(
            errors.GRAPH_FINALIZED, 'Called too late',
            'tf.keras runs this graph in a session already, as it does once weights are loaded, and a session does not see '
            'changes of the ops that it has. Rewrite right after the model is built, and load the weights then.')


def has_run(graph):
    """Whether tf.keras has initialised variables of `graph` in a session."""
    return any(map(_initialised, backend._GRAPH_VARIABLES.get(graph, ())))


def take_values(graph):
    """Closes the session in which tf.keras runs `graph`; returns what `put_values` needs.

    Raises:
      QuantizeError: that session is the default session, which is not ours to close.
    """
    if tf.get_default_session() is not None:
        raise errors.QuantizeError(
            errors.GRAPH_FINALIZED, 'Called too late',
            'The default session runs this graph already, and a session does not see changes of the ops that it has. '
            'Quantize the model before weights are loaded, or leave the `with` block of the session and use '
            'tf.keras.backend.set_session.')
    session = backend.get_session()
    variables = list(set(tf.global_variables() + tf.local_variables()) | set(backend._GRAPH_VARIABLES[graph]))
    ready = session.run([tf.is_variable_initialized(variable) for variable in variables])
    variables = [variable for variable, is_ready in zip(variables, ready) if is_ready]
    values = session.run(variables)
    session.close()
    return session, variables, values


def put_values(taken):
    """Gives tf.keras a new session like the one whose values were taken, and the variables their values in it."""
    old, variables, values = taken
    session = tf.Session(old.sess_str, old.graph, old._config)
    backend.set_session(session)
    for variable, value in zip(variables, values):
        variable.load(value, session)


def _initialised(variable):
    return getattr(variable, '_keras_initialized', False)
