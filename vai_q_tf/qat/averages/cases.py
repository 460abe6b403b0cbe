"""A choice between groups of ops with one Switch for each group; tf.cond has one for each tensor that a branch reads."""
from typing import Callable, List, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

Ops = Union[tf.Operation, List[tf.Tensor]]


def run_case(cases: Sequence[Tuple[tf.Tensor, Callable[[], Ops]]]) -> List[tf.Tensor]:
    """Runs the ops of the case that holds.

    Args:
      cases: [(bool scalar, function that adds the ops)], of which exactly one has to hold whenever this runs. A function
        returns a tf.Operation or tf.Tensors that it has created itself; all return the same number of the same types.

    Returns:
      The tensors of the case that holds, each on its device in the first case; tensors to wait for if the functions return
      tf.Operations.
    """
    results = []
    for condition, add in cases:
        # An op that waits for an output of a Switch without a value does not run, nor does any op that depends on it.
        with tf.control_dependencies([tf.identity(tf.raw_ops.Switch(data=condition, pred=condition).output_true)]):
            added = add()
            results.append(_after(added) if isinstance(added, tf.Operation) else added)
    return [_merged(values) for values in zip(*results)]


def _after(operation: tf.Operation) -> List[tf.Tensor]:
    with tf.control_dependencies([operation]):
        return [tf.constant(True)]


def _merged(values: Sequence[tf.Tensor]) -> tf.Tensor:
    with tf.device(None), tf.device(values[0].device):
        return tf.raw_ops.Merge(inputs=values).output
