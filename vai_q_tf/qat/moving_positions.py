"""Quantize positions of a live graph: where they come from and how they move.

Training and evaluation ask a `MovingPositions` for the position of each tensor and know nothing else about its state. The
state is one table, a row of votes for each tensor: every training step the position that suits the batch best gets a vote,
older votes decay, and the position with the most votes is the one in use (`fixed_point.vote`, `fixed_point.mode_position`).

The table is a resource variable outside TensorFlow's collections. Its kernel creates it when it is first touched, so no
initializer is needed and `report_uninitialized_variables` does not ask for it; `position_saveable` carries it in every
checkpoint, and restoring a checkpoint without it (a float one) leaves it empty.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf import fixed_point, ops
from vai_q_tf.graph import live_editor
from vai_q_tf.qat.position_saveable import STATE_NAME, UNTRACKED, PositionSaveable


class MovingPositions:
    """The positions of the named tensors in the default graph; adds the state and its saveable object to the graph.

    Args:
      rows: {name of a quantized tensor: the name that its position is kept by}; several tensors with one name have the position
        in common, and in a step the least of the positions that suit them gets the vote.
      variables: {name that a position is kept by: the variable that the tensor is made of}.
      decay: what is left of a vote after a step, see `QuantizeConfig.position_decay`.
      track: scalar bool tensor, whether this run counts and moves the positions; None where they are only read. A checkpoint
        from before the first step of a training has none to read; then they are those that suit what the graph runs on.
      update: 'moving' or 'current', see `QuantizeConfig.position_update`.
    """

    def __init__(self, rows, variables, decay=1.0, track=None, update='moving'):
        tensors = list(dict.fromkeys(rows.values()))
        numbers = {name: number for number, name in enumerate(tensors)}
        self._rows = {tensor: numbers[name] for tensor, name in rows.items()}
        self._number = len(tensors)
        self._asked = {}
        self._decay = decay
        self._update = update
        self._device = _state_device()
        with tf.name_scope(None), tf.control_dependencies(None), tf.device(None), tf.device(self._device):
            self._handle = _table(STATE_NAME, len(tensors))
            untracked = _table(UNTRACKED, 1) if track is None else None
            self._track = tf.reduce_any(ops.read_positions(untracked, rows=1) > 0) if track is None else track
            tf.add_to_collection(tf.GraphKeys.SAVEABLE_OBJECTS, PositionSaveable.add(
                self._handle, tensors, [variables.get(name, '') for name in tensors], untracked))

    def position(self, record, search):
        """The position (scalar int32) to quantize a tensor with.

        Args:
          record: its QuantTensor.
          search: an op of the position search with its tensor; it takes `track`, `bit_width`, `mode`, `method` and `name`.
        """
        observed = search(track=self._track, bit_width=record.bits, mode=record.mode, method=record.method,
                          name=record.name + '/search')
        row = self._rows[record.name]
        if row not in self._asked:
            moving = self._vote(record.name, observed)
        else:
            observed, moving = self._vote_in_common(record.name, observed)
        self._asked[row] = observed, moving
        if self._update == 'moving':
            return moving
        with tf.control_dependencies([moving]):
            return tf.raw_ops.Select(condition=self._track, x=observed, y=moving, name=record.name + '/current')

    def _vote(self, tensor, observed):
        with tf.device(None), tf.device(self._device):
            return ops.moving_position(self._handle, observed, rows=self._number, row=self._rows[tensor], decay=self._decay,
                                       tensor=tensor, name=tensor + '/position')

    def _vote_in_common(self, tensor, observed):
        """The least of what is observed so far, and the vote for it; both replace those for the tensors before."""
        before = self._asked[self._rows[tensor]]
        readers = [live_editor.consumers(value) for value in before]
        with tf.device(None), tf.device(self._device):
            least = tf.minimum(before[0], observed, name=tensor + '/least')
        together = least, self._vote(tensor, least)
        for inputs, value in zip(readers, together):
            live_editor.reroute(least.graph, inputs, value)
        return together


def _table(name, rows):
    return tf.raw_ops.VarHandleOp(
        dtype=tf.float32, shape=[rows, fixed_point.HISTOGRAM_BINS], shared_name=name, name=name)


def _state_device():
    """Where the state is: with the first variable, on a parameter server too, so that it is one for all workers.

    It is on the host there, for positions are read on the host, and there is no GPU kernel.
    """
    variables = tf.global_variables()
    place = tf.DeviceSpec.from_string(variables[0].device if variables else '')
    return tf.DeviceSpec(place.job, place.replica, place.task, 'CPU', 0).to_string()
