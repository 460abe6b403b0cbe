"""The saveable object that carries the votes for the quantize positions in checkpoints and MetaGraphs."""
from typing import Dict, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf import ops, position_histogram, tf_internal
from vai_q_tf.qat.network.identity import Identity
from vai_q_tf.qat.positions.self_restoring import SelfRestoring, device_of_savers, finder

STATE_NAME = 'vai_q_tf/positions'
TENSORS_KEY = STATE_NAME + '/tensors'
VOTES_KEY = STATE_NAME + '/votes'
VARIABLES_KEY = STATE_NAME + '/variables'
STRUCTURES_KEY = STATE_NAME + '/structures'
UNTRACKED = STATE_NAME + '/untracked'
BITS_KEY = STATE_NAME + '/bits'
START = STATE_NAME + '/start'  # the table of `begin.TrainingBegin`
START_KEY = START + '/noted'
_KEYS = (TENSORS_KEY, VARIABLES_KEY, VOTES_KEY)  # of version 0.1.0
ROWS = STATE_NAME + '/rows'
ROW_VARIABLES = STATE_NAME + '/row_variables'
ROW_STRUCTURES = STATE_NAME + '/row_structures'
ROW_EARLIER = STATE_NAME + '/row_earlier_names'
ROW_BITS = STATE_NAME + '/row_bits'
BEGINS_ANEW = 'This training begins anew from the weights of its checkpoint, whose positions are for other bits or nodes: {}.'


class PositionSaveable(SelfRestoring):
    """Saves the table of votes with the names of its rows; restores the rows that the checkpoint has.

    A row takes over the saved row of the same structure, because TensorFlow numbers unnamed ops; else the one of its name, of
    a name that it had in version 0.1.0, or of the variable that its tensor is computed from (see `identity.Identity`).

    Positions of other bits say nothing. A training that finds some drops all votes, as if it restored a float checkpoint, and
    prints a line; so does one with tensors that the checkpoint lacks. In an evaluation they are an error.

    Args:
      handle: the handle of the table.
      rows: the `_Rows`.
      saved: {key in a checkpoint: the tensor to save}.
      untracked: a table that gets votes if a checkpoint has none yet; None in a training graph.
      start: the table that notes where the training started from; None if nothing notes it.
    """
    state_name = STATE_NAME

    def __init__(self, handle: tf.Tensor, rows: '_Rows', saved: Dict[str, tf.Tensor], untracked: Optional[tf.Tensor],
                 start: Optional[tf.Tensor]) -> None:
        self._untracked = untracked
        self._start = start
        self._rows = rows
        super().__init__(handle, [tf_internal.SaveSpec(tensor, '', key) for key, tensor in saved.items()])

    @property
    def is_of_training(self) -> bool:
        """Whether the graph is a training graph."""
        return self._untracked is None

    @classmethod
    def add(cls, handle: tf.Tensor, tensors: Sequence[str], identities: Sequence[Identity], untracked: Optional[tf.Tensor],
            start: Optional[tf.Tensor]) -> 'PositionSaveable':
        """Adds the ops of a saveable object to the default graph; its rows have the names `tensors` and these Identities."""
        rows = _add_rows(tensors, identities)
        values = {TENSORS_KEY: rows.tensors, VARIABLES_KEY: rows.variables, STRUCTURES_KEY: rows.structures,
                  BITS_KEY: rows.bits, VOTES_KEY: ops.read_positions(handle, rows=rows.number, name=STATE_NAME + '/read_votes')}
        if start is not None:
            values[START_KEY] = ops.read_positions(start, rows=1, name=STATE_NAME + '/read_start')
        with tf.device(None), tf.device(device_of_savers(handle)):
            saved = {key: tf.identity(value, name=key) for key, value in values.items()}
            return cls(handle, rows, saved, untracked, start)

    @classmethod
    def from_node(cls, node: tf.NodeDef, import_scope: Optional[str]) -> 'PositionSaveable':
        """Same as in SelfRestoring."""
        find = finder(import_scope)
        # A graph of version 0.1.0, or one that does not note where it started, lacks some of them.
        saved = {key: find(key) for key in _KEYS + (STRUCTURES_KEY, BITS_KEY, START_KEY)}
        return cls(find(node.name), _Rows(*map(find, (ROWS, ROW_VARIABLES, ROW_STRUCTURES, ROW_EARLIER, ROW_BITS))),
                   {key: tensor for key, tensor in saved.items() if tensor is not None}, find(UNTRACKED), find(START))

    def restore(self, restored_tensors: Sequence[tf.Tensor],
                restored_shapes: Optional[Sequence[tf.TensorShape]]) -> tf.Operation:
        """The op that restores the table from the checkpoint of the Saver; the arguments are empty, see SelfRestoring."""
        bins = position_histogram.HISTOGRAM_BINS
        *saved, start = ops.restore_tensors(self.prefix(), {
            TENSORS_KEY: (tf.string, [0]), VARIABLES_KEY: (tf.string, [0]), STRUCTURES_KEY: (tf.string, [0]),
            VOTES_KEY: (tf.float32, [0, bins]), BITS_KEY: (tf.float32, [0]), START_KEY: (tf.float32, [1, bins])})
        rows = self._rows
        bits = tf.zeros([rows.number]) if rows.bits is None else rows.bits
        found = ops.match_rows(*rows[:4], bits, saved, begins_anew=self.is_of_training)
        restored = ops.write_positions(self.op, found.votes, rows=rows.number)
        if self._untracked is not None:
            mark = tf.fill([1, bins], tf.cast(found.before_training, tf.float32))
            return tf.group(restored, ops.write_positions(self._untracked, mark, rows=1))
        is_other = tf.not_equal(found.other, '')
        restored = tf.group(restored, ops.say(is_other, [BEGINS_ANEW], names=found.other))
        if self._start is None:
            return restored
        start = tf.where(is_other, tf.zeros([1, bins]), start)
        return tf.group(restored, ops.write_positions(self._start, start, rows=1))


class _Rows(NamedTuple):
    """By what a row is found in a checkpoint, and its bits.

    tensors, variables, structures: string [rows]; earlier: string [rows, names]; bits: float32 [rows]. The last three are None
    in a graph of version 0.1.0.
    """
    tensors: tf.Tensor
    variables: tf.Tensor
    structures: Optional[tf.Tensor]
    earlier: Optional[tf.Tensor]
    bits: Optional[tf.Tensor]

    @property
    def number(self) -> int:
        """How many rows there are."""
        return self.tensors.shape[0].value


def _add_rows(tensors: Sequence[str], identities: Sequence[Identity]) -> _Rows:
    """Adds the constants of the `_Rows` to the default graph."""
    number, most = len(tensors), max([1] + [len(identity.earlier) for identity in identities])
    earlier = [list(identity.earlier) + [''] * (most - len(identity.earlier)) for identity in identities]
    return _Rows(tf.constant(tensors, tf.string, [number], name=ROWS),
                 tf.constant([identity.variable for identity in identities], tf.string, [number], name=ROW_VARIABLES),
                 tf.constant([identity.structure for identity in identities], tf.string, [number], name=ROW_STRUCTURES),
                 tf.constant(earlier, tf.string, [number, most], name=ROW_EARLIER),
                 tf.constant([identity.bits for identity in identities], tf.float32, [number], name=ROW_BITS))
