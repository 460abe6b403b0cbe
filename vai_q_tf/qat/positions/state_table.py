"""The tables that positions, and how their training began, are kept in: resource variables outside of TensorFlow's collections.

Their kernels create them with zeros when they are first touched, so no initializer is needed and
`report_uninitialized_variables` does not ask for them.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf import fixed_point


def table(name, rows):
    """The handle of a table float32 [rows, 256] of the default graph."""
    return tf.raw_ops.VarHandleOp(
        dtype=tf.float32, shape=[rows, fixed_point.HISTOGRAM_BINS], shared_name=name, name=name)


def device():
    """Where the tables are: with the first variable, on a parameter server too, so that they are one for all workers.

    They are on the host there, for positions are read on the host, and there is no GPU kernel.
    """
    variables = tf.global_variables()
    place = tf.DeviceSpec.from_string(variables[0].device if variables else '')
    return tf.DeviceSpec(place.job, place.replica, place.task, 'CPU', 0).to_string()
