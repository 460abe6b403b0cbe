"""The recipe of a training: when batch norms use which statistics, when positions are calibrated, move and stay.

A start from float weights calibrates first: while the first images pass, nothing is rounded, and each tensor votes for the
position that suits its float values. Positions stay as they are then, and batch norms use their moving statistics from the
first step. Statistics of the batch that change while positions vote are what costs accuracy. A start from scratch needs both,
as nothing is there yet that could stay: statistics are those of the batch, and positions move until a share of the training.
docs/accuracy.md has the figures.
"""
from typing import NamedTuple, Optional, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import live_editor
from vai_q_tf.qat.recipe.begin import Begin, TrainingBegin
from vai_q_tf.qat.recipe.length import add_length

TRACK = 'vai_q_tf/track'
USE_BATCH = 'vai_q_tf/use_batch_statistics'
_SCOPE = 'vai_q_tf/positions/recipe/'
CALIBRATION_IMAGES = 64
FREEZE_SHARE = 2 / 3  # of a training that does not start from float weights, after which its positions stay
_ALWAYS = {'auto': None, 'finetune': Begin.FLOAT, 'scratch': Begin.SCRATCH}
_MESSAGES = {
    Begin.FLOAT: 'starts from float weights',
    Begin.PARTLY: 'starts from float weights, of which some look untrained or do not tell ({})',
    Begin.SCRATCH: 'starts from scratch',
    Begin.STATISTICS: 'starts from weights whose batch norms have moving averages that look untrained ({}); restore them with the '
                      'weights, which tf.estimator.WarmStartSettings does not by itself',
    Begin.CONTINUED: 'goes on from one that did not look where it started',
}


class Phases(NamedTuple):
    """Scalar bool tensors of a training graph, about the step at hand.

    track: whether positions may move. calibrating: whether values are left as they are while positions are searched; None:
    never. use_batch: whether batch norms use the statistics of the batch; None: always, False: never.
    start: the handle of the table that says where the training started; None where nobody looks. voting: whether tensors that
    have no learned position may vote; None: as track.
    """
    track: tf.Tensor
    calibrating: Optional[tf.Tensor]
    use_batch: Union[tf.Tensor, bool, None]
    start: Optional[tf.Tensor] = None
    voting: Optional[tf.Tensor] = None


def never_uses_batch(config):
    """Whether batch norms use their moving statistics in every step, which is known before there is a value."""
    if config.freeze_bn_step is not None:
        return config.freeze_bn_step == 0
    return config.bn_fold == 'batch' and config.recipe == 'finetune'


class Recipe:
    """What a QuantizeConfig asks for.

    Args:
      step: the name of the variable of the global step, None where there is none.
      found: the Evidence about the network. inputs: names of the first input of each copy of the network.
    """

    def __init__(self, config, step, found, inputs):
        self._config = config
        self._step = step
        self._found = found
        self._inputs = inputs

    def phases(self, positions, rows):
        """The Phases, in the default graph; positions: the handle of the table of votes, with so many rows."""
        with tf.name_scope(_SCOPE):
            return self._phases(positions, rows)

    def _phases(self, positions, rows):
        config, graph = self._config, positions.graph
        step = None if self._step is None else tf.cast(_value(graph, self._step), tf.int64)
        length = None
        if self._asks_for_length():
            length = add_length()
        if config.recipe == 'manual':
            schedule = _Schedule(step, length, tf.zeros([]))
            track = schedule.before('freeze_position_step', config.freeze_position_step)
            use_batch = schedule.before('freeze_bn_step', config.freeze_bn_step)
            return Phases(_named(tf.constant(True) if track is None else track, TRACK), None,
                          False if never_uses_batch(config) else _named(use_batch, USE_BATCH))
        return self._of_begin(graph, ops.read_positions(positions, rows=rows), step, length)

    def _asks_for_length(self):
        shares = [limit for limit in (self._config.freeze_bn_step, self._config.freeze_position_step)
                  if isinstance(limit, float)]
        return bool(shares) or self._moves_by_itself()

    def _moves_by_itself(self):
        """Whether the recipe decides how long positions move."""
        config = self._config
        return (config.recipe in ('auto', 'scratch') or self._learns()) and config.recipe != 'manual' and (
            config.freeze_position_step is None and self._step is not None)

    def _learns(self):
        """Whether positions are trained, which a start from float weights does as well."""
        return self._config.position_update == 'learned'

    def _of_begin(self, graph, votes, step, length):
        config = self._config
        begin = TrainingBegin(graph, self._found, _ALWAYS[config.recipe], votes,
                              tf.zeros([]) if step is None else tf.cast(step, tf.float32))
        started = begin.started
        schedule = _Schedule(step, length, started.first_step)
        calibrates = tf.less_equal(started.mode, int(Begin.PARTLY))
        wants_images = calibrates & tf.less(started.images, CALIBRATION_IMAGES)
        if config.freeze_position_step is not None:
            moves = votes_move = schedule.before('freeze_position_step', config.freeze_position_step)
        else:
            moves = schedule.before_share_if_known(FREEZE_SHARE) if self._moves_by_itself() else tf.constant(True)
            votes_move = moves & tf.not_equal(started.mode, int(Begin.FLOAT))
            if not self._learns():
                moves = votes_move
        allowed = wants_images | moves
        track = _named(allowed, TRACK)
        if config.freeze_bn_step is not None:
            use_batch = schedule.before('freeze_bn_step', config.freeze_bn_step)
        else:
            use_batch = tf.greater(started.mode, int(Begin.PARTLY)) if config.bn_fold == 'batch' else None
        calibrating = wants_images & track
        images = started.images + tf.where(calibrating, self._images(graph), 0.)
        # An evaluation of the training graph, which is told not to track, keeps nothing of what it finds.
        notes = (started.is_new & tf.equal(track, allowed)) | calibrating
        noted = tf.cond(notes, lambda: tf.group(begin.note(images), self._say(begin)), tf.no_op)
        with tf.control_dependencies([noted]):
            calibrating = tf.identity(calibrating)
        return Phases(track, calibrating, False if never_uses_batch(config) else _named(use_batch, USE_BATCH), begin.handle,
                      track & (wants_images | votes_move))

    def _images(self, graph):
        shapes = [tf.shape(live_editor.tensor(graph, name)) for name in self._inputs]
        return tf.cast(tf.add_n([tf.reduce_prod(shape[:1]) for shape in shapes]), tf.float32)

    def _say(self, begin):
        """An op that says once what was found and what is done about it."""
        config, started = self._config, begin.started
        rounding = ('batch norms use moving statistics', 'batch norms use the statistics of the batch')
        if config.freeze_bn_step is not None:
            rounding = ('batch norms use moving statistics from freeze_bn_step on',) * 2
        elif config.bn_fold == 'moving':
            rounding = ('batch norms use moving statistics, which move',) * 2
        first = 'positions are calibrated on {} images of the float network'.format(CALIBRATION_IMAGES)
        until = ''
        if config.freeze_position_step is not None:
            until = ' until freeze_position_step'
        elif self._moves_by_itself():
            until = ' until {:.0%} of the training, where its length is known'.format(FREEZE_SHARE)
        lines = []
        for mode in Begin:
            calibrates = mode <= Begin.PARTLY
            stays = mode == Begin.FLOAT and config.freeze_position_step is None and not self._learns()
            moved = 'stay' if stays else ('are learned' if self._learns() else 'move') + until
            positions = '{} and {} then'.format(first, moved) if calibrates else 'positions {}'.format(moved)
            warning = 'Warning: ' if mode == Begin.STATISTICS else ''
            lines.append('{}This training {}: {}, {}.'.format(warning, _MESSAGES[mode], rounding[not calibrates], positions))
        line = tf.gather(tf.constant(lines), started.mode - 1)
        line = tf.regex_replace(line, r'\{\}', begin.names, replace_global=False)
        # Not by tf.logging, which has no op, nor by a log stream, which TF_CPP_MIN_LOG_LEVEL closes.
        return tf.cond(started.is_new, lambda: tf.group(tf.raw_ops.PrintV2(input=line, output_stream='stderr')), tf.no_op)


class _Schedule:
    """Limits in global steps, or in shares of a training that began at `first`.

    Args:
      step: int64 scalar. length, first: float32 scalars. step and length are None where nothing asks for them.
    """

    def __init__(self, step, length, first):
        self._step = step
        self._length = length
        self._first = first

    def before(self, field, limit):
        """Whether the training is before `limit`, a step or a share; None where there is no limit."""
        if limit is None:
            return None
        if not isinstance(limit, float):
            return tf.less(self._step, tf.constant(limit, tf.int64))
        known = tf.Assert(self._length > 0, [
            'The length of the training is not known, so {} cannot be a share of it, {}. Give a global step, or train with '
            'max_steps, a StopAtStepHook, number_of_steps or QuantizeCallback.'.format(field, limit)])
        with tf.control_dependencies([known]):
            return self._before_share(limit)

    def before_share_if_known(self, share):
        return tf.logical_not(self._length > 0) | self._before_share(share)

    def _before_share(self, share):
        return tf.less(tf.cast(self._step, tf.float32), self._first + share * (self._length - self._first))


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
