"""Means of the trainable variables over the last steps of a training, kept by the training graph itself.

Each run of the training network sees the weights that the previous step left. If the global step differs from that of the
previous run, they are counted. So a step counts once, however often the network runs, and runs without training do not count.
The weights of the last step are counted when a checkpoint is saved, without changing the state: the means in a checkpoint
include its own step, and a training that restores it does not count that step again.

The state is placed with the variables, in resource variables outside TensorFlow's collections, which are created when the first
step counts.
"""
import contextlib
from typing import Callable, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal
from vai_q_tf.qat.averages.average_saveable import STATE_NAME, Averaged, AverageSaveable, mean_name
from vai_q_tf.qat.averages.cases import run_case
from vai_q_tf.qat.network.inference_form import InferenceForm
from vai_q_tf.qat.positions import state_table

_SCOPE = 'vai_q_tf/averaging/'
_WIDER = {tf.float16: tf.float32, tf.bfloat16: tf.float32}


def averaged_variables(graph: tf.Graph, forms: Iterable[InferenceForm], prefixes: Iterable[str]) -> Tuple[Averaged, ...]:
    """The trainable variables of a network, given the InferenceForms of its copies in the live graph and their prefixes."""
    names = {name for form, prefix in zip(forms, prefixes) for variable in form.variables
             for name in (variable, prefix + variable)}
    found = {}
    for variable in graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES):
        part = tf_internal.partition(variable)
        name = variable.op.name
        if name in names:
            found[name] = Averaged(name, part.full_name if part else name, part.spec if part else '')
    return tuple(found.values())


class Averages:
    """The state in `graph`, the default graph, with its saveable object.

    Args:
      step: int64 scalar, the global step before the current step.
      is_early: returns a bool scalar, whether the previous step does not count yet.
      begins: bool scalar, whether a training begins anew in the current step; None: never.
    """

    def __init__(self, graph: tf.Graph, variables: Sequence[Averaged], step: tf.Tensor, is_early: Callable[[], tf.Tensor],
                 begins: Optional[tf.Tensor] = None) -> None:
        self._step = step
        self._is_early = is_early
        self._begins = begins
        with tf.name_scope(None), tf.device(None), tf.device(state_table.device()):
            self._noted = tf.raw_ops.VarHandleOp(dtype=tf.int64, shape=[2], shared_name=STATE_NAME, name=STATE_NAME)
            self._means = [_Mean(graph.get_operation_by_name(variable.operation), bool(variable.part))
                           for variable in variables]
            with tf.name_scope(_SCOPE):
                steps, values = self._saved()
            tf.add_to_collection(tf.GraphKeys.SAVEABLE_OBJECTS, AverageSaveable.add(
                self._noted, variables, [mean.handle for mean in self._means], steps, values))

    def keep(self) -> tf.Operation:
        """An op that counts the weights of the previous step; it has to run before the variables change."""
        with tf.name_scope(_SCOPE), tf.device(None), tf.device(state_table.device()):
            count, seen = self._read()
            following = self._following(count, seen, self._is_early())
            if self._begins is not None:
                following = tf.where(self._begins, tf.zeros_like(count), following)
            counts = following > count
            counted = run_case([
                (counts & tf.equal(following, 1), lambda: self._keep(self._first())),
                (counts & tf.greater(following, 1), lambda: self._keep(self._moved(following))),
                (tf.logical_not(counts), tf.no_op)])
            with tf.control_dependencies(counted):
                return tf.raw_ops.AssignVariableOp(resource=self._noted, value=tf.stack([following, self._step + 1]))

    def _read(self) -> Tuple[tf.Tensor, tf.Tensor]:
        """(the number of counted steps, the step after the last one that was seen or 0), int64 scalars."""
        noted = tf.cond(tf.raw_ops.VarIsInitializedOp(resource=self._noted),
                        lambda: tf.raw_ops.ReadVariableOp(resource=self._noted, dtype=tf.int64),
                        lambda: tf.zeros([2], tf.int64))
        return noted[0], noted[1]

    def _following(self, count: tf.Tensor, seen: tf.Tensor, is_early: tf.Tensor) -> tf.Tensor:
        """The number of counted steps including the previous one."""
        now = self._step + 1
        # A step below the last one belongs to another training, which starts from weights of this one.
        begins = is_early | tf.equal(seen, 0) | tf.less(now, seen)
        return tf.where(tf.equal(now, seen), count, tf.where(begins, tf.zeros_like(count), count + 1))

    def _saved(self) -> Tuple[tf.Tensor, List[tf.Tensor]]:
        """(int64 [2], values of the means) for a checkpoint; values are empty if no step was counted."""
        count, seen = self._read()
        # Before the first step the tensors that `is_early` reads have no values yet.
        following = tf.cond(tf.equal(seen, 0) | tf.equal(self._step + 1, seen), lambda: count,
                            lambda: self._following(count, seen, self._is_early()))
        counts = following > count
        values = run_case([
            (tf.equal(following, 0), lambda: [mean.nothing() for mean in self._means]),
            (counts & tf.equal(following, 1), self._first),
            (counts & tf.greater(following, 1), lambda: self._moved(following)),
            (tf.greater(following, 0) & ~counts, lambda: [mean.kept() for mean in self._means])])
        return tf.stack([following, self._step + 1]), values

    def _first(self) -> List[tf.Tensor]:
        """The means over one value."""
        return [mean.first() for mean in self._means]

    def _moved(self, count: tf.Tensor) -> List[tf.Tensor]:
        """The means over `count` values, all but the last of which are in the state."""
        counts = {dtype: tf.cast(count, dtype) for dtype in {mean.dtype for mean in self._means}}
        return [mean.moved(counts[mean.dtype]) for mean in self._means]

    def _keep(self, values: Sequence[tf.Tensor]) -> tf.Operation:
        """An op that sets the means."""
        return tf.group(*[mean.keep(value) for mean, value in zip(self._means, values)])


class _Mean:
    """The mean of one variable, given its op.

    Args:
      is_part: whether the variable is a slice of a variable in a checkpoint.

    Attributes:
      handle: of the resource variable of the mean. dtype: its type.
    """

    def __init__(self, variable: tf.Operation, is_part: bool) -> None:
        self._variable = variable
        self._variable_dtype = variable.get_attr('dtype')
        self.dtype = _WIDER.get(self._variable_dtype, self._variable_dtype)
        shape = tf.TensorShape(variable.get_attr('shape'))
        self._empty: Union[tf.TensorShape, List[int]] = shape if is_part else [0]
        with self._placed():
            self.handle: tf.Tensor = tf.raw_ops.VarHandleOp(
                dtype=self.dtype, shape=shape, shared_name=mean_name(variable.name), name=mean_name(variable.name))

    @contextlib.contextmanager
    def _placed(self) -> Iterator[None]:
        with tf.device(None), tf.device(self._variable.device):
            yield

    def nothing(self) -> tf.Tensor:
        """Placeholder of a mean over no values: zeros, in the shape of the variable if a checkpoint stores slices."""
        with self._placed():
            return tf.zeros(self._empty, self.dtype)

    def kept(self) -> tf.Tensor:
        """The current mean."""
        with self._placed():
            return tf.raw_ops.ReadVariableOp(resource=self.handle, dtype=self.dtype)

    def first(self) -> tf.Tensor:
        """The mean over one value, that of the variable."""
        # A resource variable shares the memory of the tensor it is assigned, and a reference variable is updated in place.
        with self._placed():
            return tf.raw_ops.DeepCopy(x=self._value())

    def moved(self, count: tf.Tensor) -> tf.Tensor:
        """The mean over `count` values, the last of which is that of the variable; `count` has the type of the mean."""
        kept = self.kept()
        with self._placed():
            return kept + (self._value() - kept) / count

    def keep(self, value: tf.Tensor) -> tf.Operation:
        """An op that sets the mean."""
        with self._placed():
            return tf.raw_ops.AssignVariableOp(resource=self.handle, value=value)

    def _value(self) -> tf.Tensor:
        source = self._variable.outputs[0]
        if self._variable.type == 'VarHandleOp':
            source = tf.raw_ops.ReadVariableOp(resource=source, dtype=self._variable_dtype)
        return tf.cast(source, self.dtype)
