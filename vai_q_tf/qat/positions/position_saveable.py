"""How the quantize positions travel in checkpoints and MetaGraphs: a saveable object with the votes for them."""
from typing import NamedTuple, Optional

import tensorflow.compat.v1 as tf

from vai_q_tf import fixed_point, ops, tf_internal
from vai_q_tf.qat.positions.self_restoring import SelfRestoring, device_of_savers, finder

STATE_NAME = 'vai_q_tf/positions'
TENSORS_KEY = STATE_NAME + '/tensors'
VOTES_KEY = STATE_NAME + '/votes'
VARIABLES_KEY = STATE_NAME + '/variables'
STRUCTURES_KEY = STATE_NAME + '/structures'
UNTRACKED = STATE_NAME + '/untracked'
START = STATE_NAME + '/start'  # the table of `begin.TrainingBegin`
START_KEY = START + '/noted'
_KEYS = (TENSORS_KEY, VARIABLES_KEY, VOTES_KEY)  # of version 0.1.0
ROWS = STATE_NAME + '/rows'
ROW_VARIABLES = STATE_NAME + '/row_variables'
ROW_STRUCTURES = STATE_NAME + '/row_structures'
ROW_EARLIER = STATE_NAME + '/row_earlier_names'


class PositionSaveable(SelfRestoring):
    """Saves the table of votes with the names of its rows; restores the rows that the checkpoint has.

    A row takes over that of the same structure, for names are numbered where users give none; else that of its name, of a name
    that it had in version 0.1.0, or of the variable that its tensor is made of (see `identity.Identity`).
    """
    state_name = STATE_NAME

    def __init__(self, handle, rows, saved, untracked, start):
        """rows: the `_Rows`. saved: {key: the tensor that goes into a checkpoint under it}.

        untracked: a table that gets votes where a checkpoint has no votes yet; None in a training graph.
        start: the table of where the training started; None where nobody looks.
        """
        self._untracked = untracked
        self._start = start
        self._rows = rows
        self._saved = saved
        super().__init__(handle, [tf_internal.SaveSpec(tensor, '', key) for key, tensor in saved.items()])

    @property
    def is_of_training(self):
        return self._untracked is None

    @classmethod
    def add(cls, handle, tensors, identities, untracked, start):
        """The one for the state `handle`, with rows of the names `tensors` and the Identities; adds its ops to the graph."""
        number, most = len(tensors), max([1] + [len(identity.earlier) for identity in identities])
        earlier = [list(identity.earlier) + [''] * (most - len(identity.earlier)) for identity in identities]
        rows = _Rows(tf.constant(tensors, tf.string, [number], name=ROWS),
                     tf.constant([identity.variable for identity in identities], tf.string, [number], name=ROW_VARIABLES),
                     tf.constant([identity.structure for identity in identities], tf.string, [number], name=ROW_STRUCTURES),
                     tf.constant(earlier, tf.string, [number, most], name=ROW_EARLIER))
        values = {TENSORS_KEY: rows.tensors, VARIABLES_KEY: rows.variables, STRUCTURES_KEY: rows.structures,
                  VOTES_KEY: ops.read_positions(handle, rows=number, name=STATE_NAME + '/read_votes')}
        if start is not None:
            values[START_KEY] = ops.read_positions(start, rows=1, name=STATE_NAME + '/read_start')
        with tf.device(None), tf.device(device_of_savers(handle)):
            saved = {key: tf.identity(value, name=key) for key, value in values.items()}
            return cls(handle, rows, saved, untracked, start)

    @classmethod
    def from_node(cls, node, import_scope):
        find = finder(import_scope)
        # A graph of version 0.1.0, or one that does not look where it starts, has not all of them.
        saved = {key: find(key) for key in _KEYS + (STRUCTURES_KEY, START_KEY)}
        return cls(find(node.name), _Rows(*map(find, (ROWS, ROW_VARIABLES, ROW_STRUCTURES, ROW_EARLIER))),
                   {key: tensor for key, tensor in saved.items() if tensor is not None}, find(UNTRACKED), find(START))

    def restore(self, restored_tensors, restored_shapes):
        bins = fixed_point.HISTOGRAM_BINS
        *saved, start = ops.restore_tensors(self.prefix(), {
            TENSORS_KEY: (tf.string, [0]), VARIABLES_KEY: (tf.string, [0]), STRUCTURES_KEY: (tf.string, [0]),
            VOTES_KEY: (tf.float32, [0, bins]), START_KEY: (tf.float32, [1, bins])})
        votes, before_training = ops.match_rows(*self._rows, saved)
        restored = ops.write_positions(self.op, votes, rows=self._rows.number)
        if self._start is not None:
            return tf.group(restored, ops.write_positions(self._start, start, rows=1))
        if self._untracked is None:
            return restored
        mark = tf.fill([1, bins], tf.cast(before_training, tf.float32))
        return tf.group(restored, ops.write_positions(self._untracked, mark, rows=1))


class _Rows(NamedTuple):
    """What the rows of the table are known by. tensors, variables, structures: string [rows]; earlier: string [rows, names].

    The last two are None in a graph of version 0.1.0.
    """
    tensors: tf.Tensor
    variables: tf.Tensor
    structures: Optional[tf.Tensor]
    earlier: Optional[tf.Tensor]

    @property
    def number(self):
        """How many there are."""
        return self.tensors.shape[0].value
