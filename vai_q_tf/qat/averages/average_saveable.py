"""How averaged weights travel in checkpoints and MetaGraphs."""
import tensorflow.compat.v1 as tf

from vai_q_tf import ops, tf_internal
from vai_q_tf.qat.averages.cases import run_case
from vai_q_tf.qat.positions.self_restoring import SelfRestoring, device_of_savers, finder

STATE_NAME = 'vai_q_tf/averaged_steps'
STEPS_KEY = STATE_NAME + '/count'  # how many steps were counted, and the global step after the last one
_VARIABLES = STATE_NAME + '/variables'
_AVERAGES = 'vai_q_tf/averages/'
_HANDLES = 'vai_q_tf/means/'


def average_key(variable):
    """What the mean of a variable, given its name in a checkpoint, is called there."""
    return _AVERAGES + variable


def averaged_variable(key):
    """The name of the variable whose mean has that name in a checkpoint; '' where it is no mean."""
    return key[len(_AVERAGES):] if key.startswith(_AVERAGES) else ''


def mean_name(operation):
    """The name of the state of a variable, given its op."""
    return _HANDLES + operation


class AverageSaveable(SelfRestoring):
    """Saves the means with the number of steps; restores them where a checkpoint has those of all variables.

    Args:
      noted: the handle of the number of steps.
      variables: [name of its op, its name in a checkpoint, which slice of that it is] of each variable.
      means: the handles of the means.
      steps, values: the tf.Tensors that go into a checkpoint.

    Attributes:
      saved: these tensors.
    """
    state_name = STATE_NAME

    def __init__(self, noted, variables, means, steps, values):
        self._means = means
        self.saved = [steps] + values
        self._keys = [STEPS_KEY] + [average_key(name) for _, name, _ in variables]
        self._parts = [''] + [part for _, _, part in variables]
        super().__init__(noted, [tf_internal.SaveSpec(*spec) for spec in zip(self.saved, self._parts, self._keys)])

    @classmethod
    def add(cls, noted, variables, means, steps, values):
        """The same, with what a MetaGraph needs added to the graph."""
        tf.constant(variables, tf.string, [len(variables), 3], name=_VARIABLES)
        with tf.device(None), tf.device(device_of_savers(noted)):
            return cls(noted, variables, means, tf.identity(steps, STEPS_KEY), [
                tf.identity(value, average_key(variable[0])) for variable, value in zip(variables, values)])

    @classmethod
    def from_node(cls, node, import_scope):
        find = finder(import_scope)
        variables = tf.get_static_value(find(_VARIABLES)).astype(str).tolist()
        return cls(find(node.name), variables, [find(mean_name(operation)) for operation, _, _ in variables], find(STEPS_KEY),
                   [find(average_key(operation)) for operation, _, _ in variables])

    def restore(self, restored_tensors, restored_shapes):
        prefix = self.prefix()
        known = tf.reduce_all(tf.stack([ops.checkpoint_has(prefix, key) for key in self._keys]))

        def restored(which):
            return tf.raw_ops.RestoreV2(prefix=prefix, tensor_names=self._keys[which], shape_and_slices=self._parts[which],
                                        dtypes=[tensor.dtype for tensor in self.saved[which]])

        steps = tf.cond(known, lambda: restored(slice(1))[0], lambda: tf.zeros([2], tf.int64))
        return self.write(steps, lambda: restored(slice(1, None)))

    def write(self, steps, values):
        """An op that sets the state.

        Args:
          steps: int64 [2]. values: function without arguments that gives the values of the means, whose ops run where there
            are any.
        """
        steps = tf.reshape(steps, [2])
        counted = steps[0] > 0
        written = run_case([
            (counted, lambda: tf.group(*[
                tf.raw_ops.AssignVariableOp(resource=mean, value=value) for mean, value in zip(self._means, values())])),
            (tf.logical_not(counted), tf.no_op)])
        with tf.control_dependencies(written):
            return tf.raw_ops.AssignVariableOp(resource=self.op, value=steps)


def saveable_of(graph):
    """The AverageSaveable of a live graph; None where nothing is averaged."""
    return next((found for found in graph.get_collection(tf.GraphKeys.SAVEABLE_OBJECTS)
                 if isinstance(found, AverageSaveable)), None)
