"""Tables that keep the positions and how their training began: resource variables outside TensorFlow's collections.

Their kernels create them with zeros on first use, so they need no initializer and `report_uninitialized_variables` does not
list them.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf import position_histogram


def table(name: str, rows: int) -> tf.Tensor:
    """The handle of a table float32 [rows, 256] of the default graph."""
    return tf.raw_ops.VarHandleOp(
        dtype=tf.float32, shape=[rows, position_histogram.HISTOGRAM_BINS], shared_name=name, name=name)


def device() -> str:
    """The device of the tables: the host of the first variable, which may be a parameter server, so all workers share them.

    Positions are read on the host, and there is no GPU kernel.
    """
    variables = tf.global_variables()
    place = tf.DeviceSpec.from_string(variables[0].device if variables else '')
    return tf.DeviceSpec(place.job, place.replica, place.task, 'CPU', 0).to_string()
