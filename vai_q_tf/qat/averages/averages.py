"""Means of the trainable variables over the last steps of a training, kept by the training graph itself.

Each run of the training network sees the weights that the step before it left. Where the global step is another one than in
the run before, it counts them. So a step counts once, however often the network runs, and what is not trained counts nothing.
The weights that the last step left are counted when a checkpoint is saved, without a change of the state: the means in a
checkpoint are those over all steps up to its own, and a training that restores it does not count that step again.

The state lies with the variables, in resource variables outside of TensorFlow's collections, which are made when the first step
counts.
"""
import contextlib
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal
from vai_q_tf.graph.view import VARIABLE_OPS
from vai_q_tf.qat.averages.average_saveable import STATE_NAME, AverageSaveable, mean_name
from vai_q_tf.qat.averages.cases import run_case
from vai_q_tf.qat.positions import state_table

_SCOPE = 'vai_q_tf/averaging/'
_WIDER = {tf.float16: tf.float32, tf.bfloat16: tf.float32}


class Averaged(NamedTuple):
    """A variable to average: the name of its op, its name in a checkpoint, and which slice of that it is, '' for all."""
    operation: str
    name: str
    part: str


def averaged_variables(graph, forms, prefixes):
    """The Averaged of each trainable variable of a network, given the InferenceForms of its copies in the live graph."""
    names = {name for form, prefix in zip(forms, prefixes) for variable in form.variables
             for name in (variable, prefix + variable)}
    found = {}
    for variable in graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES):
        part = tf_internal.partition(variable)
        name = variable.op.name
        if name in names and graph.get_operation_by_name(name).type in VARIABLE_OPS:
            found[name] = Averaged(name, part.full_name if part else name, part.spec if part else '')
    return tuple(found.values())


class Averages:
    """The state, in the default graph, with its saveable object.

    Args:
      variables: the Averaged.
      step: int64 scalar, the global step before the step at hand.
      is_early: function without arguments that gives a bool scalar, whether the step before that one does not count yet.
    """

    def __init__(self, graph, variables, step, is_early):
        self._step = step
        self._is_early = is_early
        with tf.name_scope(None), tf.device(None), tf.device(state_table.device()):
            self._noted = tf.raw_ops.VarHandleOp(dtype=tf.int64, shape=[2], shared_name=STATE_NAME, name=STATE_NAME)
            self._means = [_Mean(graph.get_operation_by_name(name), bool(part)) for name, _, part in variables]
            with tf.name_scope(_SCOPE):
                steps, values = self._saved()
            tf.add_to_collection(tf.GraphKeys.SAVEABLE_OBJECTS, AverageSaveable.add(
                self._noted, variables, [mean.handle for mean in self._means], steps, values))

    def keep(self):
        """An op that counts what the step before left; to be run before the variables change."""
        with tf.name_scope(_SCOPE), tf.device(None), tf.device(state_table.device()):
            count, seen = self._read()
            following = self._following(count, seen, self._is_early())
            counts = following > count
            counted = run_case([
                (counts & tf.equal(following, 1), lambda: self._keep(self._first())),
                (counts & tf.greater(following, 1), lambda: self._keep(self._moved(following))),
                (tf.logical_not(counts), tf.no_op)])
            with tf.control_dependencies(counted):
                return tf.raw_ops.AssignVariableOp(resource=self._noted, value=tf.stack([following, self._step + 1]))

    def _read(self):
        """(how many steps were counted, the step after the one that was seen last, 0 where none was), int64 scalars."""
        noted = tf.cond(tf.raw_ops.VarIsInitializedOp(resource=self._noted),
                        lambda: tf.raw_ops.ReadVariableOp(resource=self._noted, dtype=tf.int64),
                        lambda: tf.zeros([2], tf.int64))
        return noted[0], noted[1]

    def _following(self, count, seen, is_early):
        """How many steps are counted with the one before the step at hand."""
        now = self._step + 1
        # A step below the last one is that of another training, which starts from weights of this one.
        begins = is_early | tf.equal(seen, 0) | tf.less(now, seen)
        return tf.where(tf.equal(now, seen), count, tf.where(begins, tf.zeros_like(count), count + 1))

    def _saved(self):
        """(int64 [2], values of the means) as a checkpoint has them; values are empty where no step was counted."""
        count, seen = self._read()
        # Before the first step nothing is known yet that an `is_early` may need.
        following = tf.cond(tf.equal(seen, 0) | tf.equal(self._step + 1, seen), lambda: count,
                            lambda: self._following(count, seen, self._is_early()))
        counts = following > count
        values = run_case([
            (tf.equal(following, 0), lambda: [mean.nothing() for mean in self._means]),
            (counts & tf.equal(following, 1), self._first),
            (counts & tf.greater(following, 1), lambda: self._moved(following)),
            (tf.greater(following, 0) & ~counts, lambda: [mean.kept() for mean in self._means])])
        return tf.stack([following, tf.where(tf.equal(seen, 0), seen, self._step + 1)]), values

    def _first(self):
        """The means over one value."""
        return [mean.first() for mean in self._means]

    def _moved(self, count):
        """The means over `count` values, of which all but the last are in the state."""
        counts = {dtype: tf.cast(count, dtype) for dtype in {mean.dtype for mean in self._means}}
        return [mean.moved(counts[mean.dtype]) for mean in self._means]

    def _keep(self, values):
        """An op that makes the means `values`."""
        return tf.group(*[mean.keep(value) for mean, value in zip(self._means, values)])


class _Mean:
    """The mean of one variable, given its op.

    Args:
      is_part: whether the variable is a slice of what a checkpoint has.

    Attributes:
      handle: of the resource variable of the mean. dtype: its type.
    """

    def __init__(self, variable, is_part):
        self._variable = variable
        self._variable_dtype = variable.get_attr('dtype')
        self.dtype = _WIDER.get(self._variable_dtype, self._variable_dtype)
        shape = tf.TensorShape(variable.get_attr('shape'))
        self._empty = shape if is_part else [0]
        with self._placed():
            self.handle = tf.raw_ops.VarHandleOp(dtype=self.dtype, shape=shape, shared_name=mean_name(variable.name),
                                                 name=mean_name(variable.name))

    @contextlib.contextmanager
    def _placed(self):
        with tf.device(None), tf.device(self._variable.device):
            yield

    def nothing(self):
        """Zeros in place of a mean over no values."""
        with self._placed():
            return tf.zeros(self._empty, self.dtype)

    def kept(self):
        """The mean as it is."""
        with self._placed():
            return tf.raw_ops.ReadVariableOp(resource=self.handle, dtype=self.dtype)

    def first(self):
        """The mean over one value, that of the variable."""
        # A resource variable shares the memory of what it is assigned, and a reference variable is updated in place.
        with self._placed():
            return tf.raw_ops.DeepCopy(x=self._value())

    def moved(self, count):
        """The mean over `count` values, of which that of the variable is the last; `count` has its type."""
        kept = self.kept()
        with self._placed():
            return kept + (self._value() - kept) / count

    def keep(self, value):
        """An op that makes it `value`."""
        with self._placed():
            return tf.raw_ops.AssignVariableOp(resource=self.handle, value=value)

    def _value(self):
        source = self._variable.outputs[0]
        if self._variable.type == 'VarHandleOp':
            source = tf.raw_ops.ReadVariableOp(resource=source, dtype=self._variable_dtype)
        return tf.cast(source, self.dtype)
