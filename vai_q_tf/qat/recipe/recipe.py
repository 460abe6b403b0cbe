"""The recipe of a training: when batch norms use which statistics, when positions are calibrated, move and stay.

A start from float weights calibrates first: in the first step nothing is rounded, and each tensor votes for the position that
suits its float values. Positions stay as they are then, and batch norms use their moving statistics from the
first step. Statistics of the batch that change while positions vote are what costs accuracy. A start from scratch needs both,
as nothing is there yet that could stay: statistics are those of the batch, and positions move until a share of the training.
docs/accuracy.md has the figures.
"""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import live_editor
from vai_q_tf.qat.averages.averages import Averages
from vai_q_tf.qat.positions.phases import Phases
from vai_q_tf.qat.recipe import message
from vai_q_tf.qat.recipe.begin import Begin, TrainingBegin
from vai_q_tf.qat.recipe.length import add_length

TRACK = 'vai_q_tf/track'
USE_BATCH = 'vai_q_tf/use_batch_statistics'
_SCOPE = 'vai_q_tf/positions/recipe/'
FREEZE_SHARE = 2 / 3  # of a training that does not start from float weights, after which its positions stay
_SHORTEST = 100  # steps that such a training has at least; in fewer, votes do not settle
_ALWAYS = {'auto': None, 'finetune': Begin.FLOAT, 'scratch': Begin.SCRATCH, 'manual': Begin.CONTINUED}


class Recipe:
    """What a QuantizeConfig asks for.

    Args:
      step: the name of the variable of the global step, None where there is none. found: the Evidence about the network.
      inputs: names of the input nodes of all copies of the network.
      averaged: the Averaged of the variables, where the config has an average_step.
    """

    def __init__(self, config, step, found, inputs, averaged=()):
        self._config = config
        self._step = step
        self._found = found
        self._inputs = inputs
        self._averaged = averaged

    def phases(self, positions, rows):
        """The Phases, in the default graph; positions: the handle of the table of votes, with so many rows."""
        with tf.name_scope(_SCOPE):
            return self._phases(positions, rows)

    def _phases(self, positions, rows):
        step = None if self._step is None else tf.cast(_value(positions.graph, self._step), tf.int64)
        length, since = add_length() if self._has_shares() or self._moves_by_itself() else (None, 0.)
        always = _ALWAYS[self._config.recipe]
        if always == Begin.CONTINUED and not self._has_shares():
            return self._as_set(_Schedule(step), None)
        votes = ops.read_positions(positions, rows=rows)
        begin = TrainingBegin(positions.graph, self._found, always, votes,
                              tf.zeros([]) if step is None else tf.cast(step, tf.float32))
        schedule = _Schedule(step, length, tf.maximum(begin.started.first_step, since))
        return self._as_set(schedule, begin) if always == Begin.CONTINUED else self._of_begin(schedule, begin)

    def _has_shares(self):
        limits = self._config.freeze_bn_step, self._config.freeze_position_step, self._config.average_step
        return any(isinstance(limit, float) for limit in limits)

    def _track(self, value, schedule, noted=()):
        """The tensor TRACK. The whole network waits for it, and so for the averages and for the ops `noted`."""
        kept = list(noted)
        if self._averaged:
            kept.append(Averages(
                tf.get_default_graph(), self._averaged, schedule.step,
                lambda: schedule.step_before().before('average_step', self._config.average_step)).keep())
        with tf.control_dependencies(kept):
            return _named(value, TRACK)

    def _moves_by_itself(self):
        """Whether the recipe decides how long positions move."""
        config = self._config
        return (config.recipe in ('auto', 'scratch') or self._learns()) and config.recipe != 'manual' and (
            config.freeze_position_step is None and self._step is not None)

    def _learns(self):
        """Whether positions are trained, which a start from float weights does as well."""
        return self._config.position_update == 'learned'

    def _as_set(self, schedule, begin):
        """The Phases of the recipe 'manual'; begin: a TrainingBegin, for the step that shares count from."""
        config = self._config
        use_batch = _named(schedule.before('freeze_bn_step', config.freeze_bn_step), USE_BATCH)
        track = schedule.before('freeze_position_step', config.freeze_position_step)
        track = tf.constant(True) if track is None else track
        track = self._track(track, schedule, [begin.note(begin.started.is_new)] if begin else [])
        return Phases(track, None, use_batch, begin.handle if begin else None)

    def _of_begin(self, schedule, begin):
        config = self._config
        started = begin.started
        calibrates = started.is_new & tf.less_equal(started.mode, int(Begin.PARTLY))
        waits = calibrates & tf.cond(started.is_new, self._lacks_values, lambda: tf.constant(False))
        if config.freeze_position_step is not None:
            moves = votes_move = schedule.before('freeze_position_step', config.freeze_position_step)
        else:
            moves = schedule.before_share_if_known(FREEZE_SHARE) if self._moves_by_itself() else tf.constant(True)
            votes_move = moves & tf.not_equal(started.mode, int(Begin.FLOAT))
            if not self._learns():
                moves = votes_move
        allowed = (calibrates | moves) & ~waits
        track = self._track(allowed, schedule)
        if config.freeze_bn_step is not None:
            use_batch = schedule.before('freeze_bn_step', config.freeze_bn_step)
        else:
            use_batch = tf.greater(started.mode, int(Begin.PARTLY)) if config.bn_fold == 'batch' else None
        # An evaluation of the training graph, which is told not to track, keeps nothing of what it finds.
        notes = (started.is_new | started.is_other) & tf.equal(track, allowed) & ~waits
        with tf.control_dependencies([begin.note(notes), self._say(notes, begin), ops.say(waits, [message.WAITS])]):
            calibrating = tf.identity(calibrates & (track | waits))
        return Phases(track, calibrating, _named(use_batch, USE_BATCH), begin.handle, track & (calibrates | votes_move))

    def _lacks_values(self):
        """Whether a batch has nothing to calibrate on: the network's input is empty or all zeros, or not finite."""
        inputs = [live_editor.tensor(tf.get_default_graph(), name) for name in self._inputs]
        inputs = [tensor for tensor in inputs if tensor.dtype.is_floating]
        if not inputs:
            return tf.constant(False)
        size = tf.add_n([tf.reduce_sum(tf.abs(tf.cast(tensor, tf.float32))) for tensor in inputs])
        return tf.logical_not((size > 0) & (size < np.inf))

    def _say(self, when, begin):
        """An op that says what was found and what is done about it."""
        has_norms = bool(self._found.norms)
        lines = message.lines(self._config, has_norms, self._moves_by_itself(), FREEZE_SHARE)
        number = tf.raw_ops.Select(condition=begin.started.is_new, x=begin.started.mode, y=0)
        return ops.say(when, [message.changed_line(self._config, has_norms)] + lines, number, begin.names)


class _Schedule:
    """Limits in global steps, or in shares of a training that began at `first`.

    Args:
      step: int64 scalar. length, first: float32 scalars. None where nothing asks for them.
    """

    def __init__(self, step, length=None, first=None):
        self.step = step
        self._length = length
        self._first = first

    def step_before(self):
        """The schedule one step earlier."""
        return _Schedule(self.step - 1, self._length, self._first)

    def before(self, field, limit):
        """Whether the training is before `limit`, a step or a share; None where there is no limit."""
        if limit is None:
            return None
        if not isinstance(limit, float):
            return tf.less(self.step, tf.constant(limit, tf.int64))
        known = tf.Assert(self._length > 0, [
            'The length of the training is not known, so {} cannot be a share of it, {}. Give a global step, or train with '
            'max_steps, a StopAtStepHook, number_of_steps or QuantizeCallback.'.format(field, limit)])
        with tf.control_dependencies([known]):
            return self._before_share(limit)

    def before_share_if_known(self, share):
        is_short = tf.less(self._length - self._first, _SHORTEST)  # also where it is not known
        return is_short | self._before_share(share)

    def _before_share(self, share):
        return tf.less(tf.cast(self.step, tf.float32), self._first + share * (self._length - self._first))


def _value(graph, variable):
    operation = graph.get_operation_by_name(variable)
    if operation.type != 'VarHandleOp':
        return operation.outputs[0]
    return tf.raw_ops.ReadVariableOp(resource=operation.outputs[0], dtype=operation.get_attr('dtype'))


def _named(value, name):
    if value is None:
        return None
    with tf.name_scope(None):
        return tf.identity(value, name=name)
