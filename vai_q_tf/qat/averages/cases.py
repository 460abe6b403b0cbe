"""Ops of which those of one case run. A tf.cond has a Switch for every tensor that a branch reads, and here a case has one."""
import tensorflow.compat.v1 as tf


def run_case(cases):
    """Runs the ops of the case that holds.

    Args:
      cases: [(bool scalar, function without arguments that makes the ops)], of which one has to hold whenever this runs. A
        function gives a tf.Operation or [tf.Tensor], which have to be made in it; all of them give as many of the same types.

    Returns:
      [tf.Tensor], those of the case that holds, each on the device that it has in the first case; where the functions give
      tf.Operations, a list to wait for.
    """
    results = []
    for condition, make in cases:
        # What waits for an output of a Switch that has no value does not run, nor does what reads or waits for that.
        with tf.control_dependencies([tf.identity(tf.raw_ops.Switch(data=condition, pred=condition).output_true)]):
            made = make()
            results.append(_after(made) if isinstance(made, tf.Operation) else made)
    return [_merged(values) for values in zip(*results)]


def _after(operation):
    with tf.control_dependencies([operation]):
        return [tf.constant(True)]


def _merged(values):
    with tf.device(None), tf.device(values[0].device):
        return tf.raw_ops.Merge(inputs=values).output
