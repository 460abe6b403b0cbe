"""Averaged weights in checkpoints and MetaGraphs.

Tests: tests/qat/averages/test_averages.py.
"""
from typing import Callable, List, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf import ops, tf_internal
from vai_q_tf.qat.averages.cases import run_case
from vai_q_tf.qat.positions.self_restoring import SelfRestoring, device_of_savers, finder

STATE_NAME = 'vai_q_tf/averaged_steps'
STEPS_KEY = STATE_NAME + '/count'  # the number of counted steps, and the global step after the last of them
_VARIABLES = STATE_NAME + '/variables'
_AVERAGES = 'vai_q_tf/averages/'
_HANDLES = 'vai_q_tf/means/'


class Averaged(NamedTuple):
    """A variable to average: the name of its op, its name in a checkpoint, and the slice of that which it is, '' for all."""
    operation: str
    name: str
    part: str


def average_key(variable: str) -> str:
    """The key of the mean of a variable in a checkpoint, given that of the variable."""
    return _AVERAGES + variable


def averaged_variable(key: str) -> str:
    """The variable whose mean has that key in a checkpoint; '' if it is not the key of a mean."""
    return key[len(_AVERAGES):] if key.startswith(_AVERAGES) else ''


def mean_name(operation: str) -> str:
    """The name of the op of a mean, given that of the variable."""
    return _HANDLES + operation


class AverageSaveable(SelfRestoring):
    """Saves the means with the number of steps; restores them if a checkpoint has those of all variables.

    Args:
      noted: the handle of the number of steps.
      variables: the Averaged.
      means: the handles of the means.
      steps, values: the tf.Tensors to save, of the number of steps and of the means.

    Attributes:
      saved: these tensors.
    """
    state_name = STATE_NAME

    def __init__(self, noted: tf.Tensor, variables: Sequence[Averaged], means: Sequence[tf.Tensor], steps: tf.Tensor,
                 values: Sequence[tf.Tensor]) -> None:
        self._means = means
        self.saved = [steps, *values]
        self._keys = [STEPS_KEY] + [average_key(variable.name) for variable in variables]
        self._parts = [''] + [variable.part for variable in variables]
        super().__init__(noted, [tf_internal.SaveSpec(*spec) for spec in zip(self.saved, self._parts, self._keys)])

    @classmethod
    def add(cls, noted: tf.Tensor, variables: Sequence[Averaged], means: Sequence[tf.Tensor], steps: tf.Tensor,
            values: Sequence[tf.Tensor]) -> 'AverageSaveable':
        """The saveable object, after adding to the graph the nodes that `from_node` looks for in a MetaGraph."""
        tf.constant(variables, tf.string, [len(variables), len(Averaged._fields)], name=_VARIABLES)
        with tf.device(None), tf.device(device_of_savers(noted)):
            return cls(noted, variables, means, tf.identity(steps, STEPS_KEY), [
                tf.identity(value, average_key(variable.operation)) for variable, value in zip(variables, values)])

    @classmethod
    def from_node(cls, node: tf.NodeDef, import_scope: Optional[str]) -> 'AverageSaveable':
        """See SelfRestoring."""
        find = finder(import_scope)
        variables = [Averaged(*row) for row in tf.get_static_value(find(_VARIABLES)).astype(str).tolist()]
        return cls(find(node.name), variables, [find(mean_name(variable.operation)) for variable in variables],
                   find(STEPS_KEY), [find(average_key(variable.operation)) for variable in variables])

    def restore(self, restored_tensors: Sequence[tf.Tensor], restored_shapes: Optional[Sequence[tf.Tensor]]) -> tf.Operation:
        """An op that reads the state from the checkpoint of the Saver; the arguments, which are empty, are not used."""
        prefix = self.prefix()
        known = tf.reduce_all(tf.stack([ops.checkpoint_has(prefix, key) for key in self._keys]))

        def restored(which: slice) -> List[tf.Tensor]:
            return tf.raw_ops.RestoreV2(prefix=prefix, tensor_names=self._keys[which], shape_and_slices=self._parts[which],
                                        dtypes=[tensor.dtype for tensor in self.saved[which]])

        steps = tf.cond(known, lambda: restored(slice(1))[0], lambda: tf.zeros([2], tf.int64))
        return self.write(steps, lambda: restored(slice(1, None)))

    def write(self, steps: tf.Tensor, values: Callable[[], Sequence[tf.Tensor]]) -> tf.Operation:
        """An op that sets the state.

        Args:
          steps: int64 [2]. values: returns the values of the means; its ops run only if any steps were counted.
        """
        steps = tf.reshape(steps, [2])
        counted = steps[0] > 0
        written = run_case([
            (counted, lambda: tf.group(*[
                tf.raw_ops.AssignVariableOp(resource=mean, value=value) for mean, value in zip(self._means, values())])),
            (tf.logical_not(counted), tf.no_op)])
        with tf.control_dependencies(written):
            return tf.raw_ops.AssignVariableOp(resource=self.op, value=steps)


def saveable_of(graph: tf.Graph) -> Optional[AverageSaveable]:
    """The AverageSaveable of a live graph; None if nothing is averaged."""
    return next((found for found in graph.get_collection(tf.GraphKeys.SAVEABLE_OBJECTS)
                 if isinstance(found, AverageSaveable)), None)
