"""The recipe of a training: which statistics batch norms use, and when positions are calibrated, move and stay.

A training that starts from float weights calibrates first: in its first step nothing is rounded, and each tensor votes for the
position that suits its float values. From then on positions stay, and batch norms use their moving statistics from the first
step: statistics of the batch that change while positions vote cost accuracy. A training from scratch needs both, as it has
nothing yet that could stay: batch norms use the statistics of the batch, and positions move for a share of the training.
docs/background/accuracy_in_training.md has the figures.
"""
from typing import List, NamedTuple, Optional, Sequence, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import live_editor
from vai_q_tf.qat.averages.average_saveable import Averaged
from vai_q_tf.qat.averages.averages import Averages
from vai_q_tf.qat.positions.phases import Phases
from vai_q_tf.qat.recipe import message
from vai_q_tf.qat.recipe.begin import Begin, Started, TrainingBegin
from vai_q_tf.qat.recipe.evidence import Evidence
from vai_q_tf.qat.recipe.length import add_length

TRACK = 'vai_q_tf/track'
USE_BATCH = 'vai_q_tf/use_batch_statistics'
_SCOPE = 'vai_q_tf/positions/recipe/'
# A training that does not start from float weights moves its positions for this share of its steps, if it has at least so many:
# votes do not settle in fewer.
FREEZE_SHARE = 2 / 3
_SHORTEST = 100
# The Begin that a recipe assumes; None: it looks at the weights.
_ALWAYS = {'auto': None, 'finetune': Begin.FLOAT, 'scratch': Begin.SCRATCH, 'manual': Begin.CONTINUED}


class _Movement(NamedTuple):
    """Bool tensors: whether positions may move, and whether they may do so by votes, not only by learning."""
    moves: tf.Tensor
    votes_move: tf.Tensor


class Recipe:
    """The recipe that a QuantizeConfig asks for.

    Args:
      config: the QuantizeConfig.
      step: name of the variable of the global step; None if the graph has none.
      found: the Evidence about the network.
      inputs: names of the input nodes of all copies of the network.
      averaged: the variables to average, if the config has an average_step.
    """

    def __init__(self, config: QuantizeConfig, step: Optional[str], found: Evidence, inputs: Sequence[str],
                 averaged: Sequence[Averaged] = ()) -> None:
        self._config = config
        self._step = step
        self._found = found
        self._inputs = inputs
        self._averaged = averaged

    def phases(self, positions: tf.Tensor, rows: int) -> Phases:
        """Adds the Phases to the default graph; positions: the handle of the table of votes, which has so many rows."""
        with tf.name_scope(_SCOPE):
            step = None if self._step is None else tf.cast(_value(positions.graph, self._step), tf.int64)
            always = _ALWAYS[self._config.recipe]
            if always == Begin.CONTINUED and not self._has_shares():
                return self._as_set(_Schedule(step), None)
            length, since = add_length() if self._has_shares() or self._moves_by_itself() else (None, 0.)
            votes = ops.read_positions(positions, rows=rows)
            begin = TrainingBegin(positions.graph, self._found, always, votes,
                                  tf.constant(-1.) if step is None else tf.cast(step, tf.float32))
            schedule = _Schedule(step, length, tf.maximum(begin.started.first_step, since))
            return self._as_set(schedule, begin) if always == Begin.CONTINUED else self._of_begin(schedule, begin)

    def _has_shares(self) -> bool:
        """Whether a step of the config is a share of the training."""
        limits = self._config.freeze_bn_step, self._config.freeze_position_step, self._config.average_step
        return any(isinstance(limit, float) for limit in limits)

    def _track(self, value: tf.Tensor, schedule: '_Schedule', noted: Sequence[tf.Operation] = (),
               begins: Optional[tf.Tensor] = None) -> tf.Tensor:
        """The tensor TRACK. The whole network waits for it, so also for the averages and the ops `noted`.

        begins: whether the averages are those of a training that ended, a bool tensor.
        """
        kept: List[tf.Operation] = list(noted)
        if self._averaged:
            kept.append(Averages(
                tf.get_default_graph(), self._averaged, schedule.step,
                lambda: schedule.step_before().before('average_step', self._config.average_step), begins).keep())
        with tf.control_dependencies(kept):
            return _named(value, TRACK)

    def _moves_by_itself(self) -> bool:
        """Whether the recipe, not the config, decides how long positions move."""
        config = self._config
        return (config.recipe in ('auto', 'scratch') or self._learns()) and (
            config.freeze_position_step is None and self._step is not None)

    def _learns(self) -> bool:
        """Whether positions are learned, also in a training that starts from float weights."""
        return self._config.position_update == 'learned'

    def _as_set(self, schedule: '_Schedule', begin: Optional[TrainingBegin]) -> Phases:
        """The Phases of the recipe 'manual'; begin: notes the step from which shares count."""
        config = self._config
        use_batch = _named(schedule.before('freeze_bn_step', config.freeze_bn_step), USE_BATCH)
        track = schedule.before('freeze_position_step', config.freeze_position_step)
        track = tf.constant(True) if track is None else track
        track = self._track(track, schedule, [begin.note(begin.started.is_new)] if begin else [])
        return Phases(track, use_batch=use_batch, start=begin.handle if begin else None)

    def _of_begin(self, schedule: '_Schedule', begin: TrainingBegin) -> Phases:
        """The Phases of a recipe that depends on how the training began."""
        started = begin.started
        calibrates = started.is_new & tf.less_equal(started.mode, int(Begin.PARTLY))
        waits = calibrates & tf.cond(started.is_new, self._lacks_values, lambda: tf.constant(False))
        moves, votes_move = self._movement(schedule, started)
        allowed = (calibrates | moves) & ~waits
        begins = started.is_new & tf.not_equal(started.mode, int(Begin.CONTINUED))
        track = self._track(allowed, schedule, begins=begins)
        use_batch = self._use_batch(schedule, started)
        # An evaluation of the training graph feeds TRACK with false and notes nothing.
        notes = (started.is_new | started.is_other) & tf.equal(track, allowed) & ~waits
        with tf.control_dependencies([begin.note(notes), self._say(notes, begin, schedule), ops.say(waits, [message.WAITS])]):
            calibrating = tf.identity(calibrates & (track | waits))
        return Phases(track, calibrating, _named(use_batch, USE_BATCH), begin.handle, track & (calibrates | votes_move))

    def _movement(self, schedule: '_Schedule', started: Started) -> _Movement:
        config = self._config
        if config.freeze_position_step is not None:
            before = schedule.before('freeze_position_step', config.freeze_position_step)
            return _Movement(before, before)
        moves = schedule.before_share_if_known(FREEZE_SHARE) if self._moves_by_itself() else tf.constant(True)
        votes_move = moves & tf.not_equal(started.mode, int(Begin.FLOAT))
        return _Movement(moves if self._learns() else votes_move, votes_move)

    def _use_batch(self, schedule: '_Schedule', started: Started) -> Optional[tf.Tensor]:
        """Whether batch norms use the statistics of the batch; None: always."""
        config = self._config
        if config.freeze_bn_step is not None:
            return schedule.before('freeze_bn_step', config.freeze_bn_step)
        return tf.greater(started.mode, int(Begin.PARTLY)) if config.bn_fold == 'batch' else None

    def _lacks_values(self) -> tf.Tensor:
        """Whether a batch is unfit for calibration: the network's input is empty, all zeros, or not finite."""
        inputs = [live_editor.tensor(tf.get_default_graph(), name) for name in self._inputs]
        inputs = [tensor for tensor in inputs if tensor.dtype.is_floating]
        if not inputs:
            return tf.constant(False)
        size = tf.add_n([tf.reduce_sum(tf.abs(tf.cast(tensor, tf.float32))) for tensor in inputs])
        return tf.logical_not((size > 0) & (size < np.inf))

    def _say(self, when: tf.Tensor, begin: TrainingBegin, schedule: '_Schedule') -> tf.Operation:
        """An op that prints how the training began and what the recipe does about it."""
        number = tf.raw_ops.Select(condition=begin.started.is_new, x=begin.started.mode, y=0)
        configs = [self._config]
        for field in ('freeze_bn_step', 'freeze_position_step'):
            limit = getattr(self._config, field)
            if limit and not isinstance(limit, float):  # the global step may be that of the float training, and past it
                past = tf.cast(tf.greater_equal(schedule.step, limit), tf.int32)
                number += past * (len(Begin) + 1) * len(configs)
                configs += [config.replace(**{field: 0}) for config in configs]
        lines = [message.lines(config, bool(self._found.norms), self._moves_by_itself(), FREEZE_SHARE) for config in configs]
        return ops.say(when, sum(lines, []), number, begin.names)


class _Schedule:
    """Compares the global step with limits, which are steps or shares of the training.

    Args (None if no limit needs it):
      step: the global step, int64 scalar.
      length: the last step of the training, float32 scalar, 0 while it is unknown.
      first: the step from which shares count, float32 scalar.
    """

    def __init__(self, step: Optional[tf.Tensor], length: Optional[tf.Tensor] = None,
                 first: Optional[tf.Tensor] = None) -> None:
        self.step: tf.Tensor = step
        self._length: tf.Tensor = length
        self._first: tf.Tensor = first

    def step_before(self) -> '_Schedule':
        """The schedule one step earlier."""
        return _Schedule(self.step - 1, self._length, self._first)

    def before(self, field: str, limit: Union[int, float, None]) -> Optional[tf.Tensor]:
        """Whether the training is before `limit`, a step or a share; None without a limit. field: its name in the config."""
        if limit is None:
            return None
        if not isinstance(limit, float):
            return tf.less(self.step, tf.constant(limit, tf.int64))
        known = tf.Assert(self._length > 0, [
            'The length of the training is not known, so {} cannot be a share of it, {}. Give a global step, or train with '
            'max_steps, a StopAtStepHook, slim_training_arguments and number_of_steps, or QuantizeCallback and '
            'steps_per_epoch.'.format(field, limit)])
        with tf.control_dependencies([known]):
            return self._before_share(limit)

    def before_share_if_known(self, share: float) -> tf.Tensor:
        """Whether the training is before a share of its length; true if it is short or of unknown length."""
        is_short = tf.less(self._length - self._first, _SHORTEST)
        return is_short | self._before_share(share)

    def _before_share(self, share: float) -> tf.Tensor:
        return tf.less(tf.cast(self.step, tf.float32), self._first + share * (self._length - self._first))


def _value(graph: tf.Graph, variable: str) -> tf.Tensor:
    """The value of a variable, given the name of its op."""
    operation = graph.get_operation_by_name(variable)
    if operation.type != 'VarHandleOp':
        return operation.outputs[0]
    return tf.raw_ops.ReadVariableOp(resource=operation.outputs[0], dtype=operation.get_attr('dtype'))


def _named(value: Optional[tf.Tensor], name: str) -> Optional[tf.Tensor]:
    """An Identity of `value` with the full name `name`."""
    if value is None:
        return None
    with tf.name_scope(None):
        return tf.identity(value, name=name)
