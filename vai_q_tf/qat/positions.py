"""Quantize positions of a live graph: where they come from, how they move, how they travel in a checkpoint.

Training and evaluation ask a `MovingPositions` for the position of each tensor and know nothing else about its state. The
state is one table, a row of votes for each tensor: every training step the position that suits the batch best gets a vote,
older votes decay, and the position with the most votes is the one in use (`fixed_point.vote`, `fixed_point.mode_position`).

The table is a resource variable outside TensorFlow's collections. Its kernel creates it when it is first touched, so no
initializer is needed and `report_uninitialized_variables` does not ask for it; a saveable object carries it in every
checkpoint, and restoring a checkpoint without it (a float one) leaves it empty.
"""
import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.ops import gen_resource_variable_ops, io_ops
from tensorflow.python.training.saving import saveable_object

from vai_q_tf import errors, fixed_point, ops

STATE_NAME = 'vai_q_tf/positions'
TENSORS_KEY = STATE_NAME + '/tensors'
VOTES_KEY = STATE_NAME + '/votes'
_STATE_DEVICE = '/CPU:0'  # integers that are read on the host; there is no GPU kernel


class MovingPositions:
    """The positions of the named tensors in the default graph; adds the state and its saveable object to the graph.

    Args:
      tensors: names of the quantized tensors.
      decay: what is left of a vote after a step, see `QuantizeConfig.position_decay`.
      track: scalar bool tensor, whether this run counts and moves the positions; None where they never move.
      update: 'moving' or 'current', see `QuantizeConfig.position_update`.
    """

    def __init__(self, tensors, decay=1.0, track=None, update='moving'):
        self._rows = {name: row for row, name in enumerate(tensors)}
        self._decay = decay
        self._track = track
        self._update = update
        with tf.name_scope(None), tf.control_dependencies(None), tf.device(_STATE_DEVICE):
            self._handle = gen_resource_variable_ops.var_handle_op(
                dtype=tf.float32, shape=[len(tensors), fixed_point.HISTOGRAM_BINS], shared_name=STATE_NAME,
                name=STATE_NAME)
            tf.add_to_collection(tf.GraphKeys.SAVEABLE_OBJECTS, _VotesSaveable(self._handle, list(tensors)))

    def position(self, record, search):
        """The position (scalar int32) to quantize a tensor with.

        Args:
          record: its QuantTensor.
          search: an op of the position search with its tensor; it takes `track`, `bit_width`, `mode`, `method` and `name`.
        """
        observed = fixed_point.NO_OBSERVATION
        if self._track is not None:
            observed = search(track=self._track, bit_width=record.bits, mode=record.mode, method=record.method,
                              name=record.name + '/search')
        with tf.device(_STATE_DEVICE):
            moving = ops.moving_position(
                self._handle, observed, rows=len(self._rows), row=self._rows[record.name], decay=self._decay,
                tensor=record.name, name=record.name + '/position')
        if self._update == 'moving' or self._track is None:
            return moving
        with tf.control_dependencies([moving]):
            return tf.raw_ops.Select(condition=self._track, x=observed, y=moving, name=record.name + '/current')


class _VotesSaveable(saveable_object.SaveableObject):
    """Saves the table of votes with the names of its rows; restores the rows that the checkpoint has.

    A Saver asks for `specs` twice, for its save ops and then for its restore ops, and would demand from the checkpoint what
    it finds the second time. There it finds nothing, and `restore` looks into the checkpoint itself.
    """

    def __init__(self, handle, tensors):
        self._rows = len(tensors)
        self._tensors = tf.constant(tensors, tf.string, [self._rows], name=STATE_NAME + '/rows')
        votes = ops.read_positions(handle, rows=self._rows)
        # A sharded Saver groups by device, and cannot restore a group that has no ordinary variable.
        variables = tf.global_variables()
        self._device = variables[0].device if variables else handle.device
        with tf.device(None), tf.device(self._device):
            self._saved = [tf.identity(self._tensors, name=TENSORS_KEY), tf.identity(votes, name=VOTES_KEY)]
        specs = [saveable_object.SaveSpec(tensor, '', key) for tensor, key in zip(self._saved, (TENSORS_KEY, VOTES_KEY))]
        super().__init__(handle, specs, handle.name)

    @property
    def specs(self):
        scope = self.op.graph.get_name_scope()
        saved = any(op.type.startswith('Save') and op.name.startswith(scope + '/') for op in self._saved[0].consumers())
        return [] if saved else self._specs

    @specs.setter
    def specs(self, specs):
        self._specs = specs

    @property
    def device(self):
        return self._device

    def restore(self, restored_tensors, restored_shapes):
        graph = self.op.graph
        prefix = graph.get_tensor_by_name(graph.get_name_scope() + '/Const:0')
        names, votes = tf.cond(
            ops.checkpoint_has(prefix, VOTES_KEY),
            lambda: io_ops.restore_v2(prefix, [TENSORS_KEY, VOTES_KEY], ['', ''], [tf.string, tf.float32]),
            lambda: [tf.zeros([0], tf.string), tf.zeros([0, fixed_point.HISTOGRAM_BINS])])
        same_row = tf.cast(tf.equal(self._tensors[:, tf.newaxis], names[tf.newaxis, :]), tf.float32)
        return ops.write_positions(self.op, tf.matmul(same_row, votes), rows=self._rows)


def read_checkpoint(reader, tensors):
    """The position of each of `tensors` in a checkpoint.

    Args:
      reader: what tf.train.load_checkpoint gives.
      tensors: names of quantized tensors.

    Returns:
      {name: position}, positions in fractional bits.

    Raises:
      QuantizeError: MISSING_QUANTIZE_INFO naming the tensors that the checkpoint has no position of.
    """
    if not reader.has_tensor(VOTES_KEY):
        raise errors.QuantizeError(
            errors.MISSING_QUANTIZE_INFO, 'Not found',
            'The checkpoint has no quantize positions: it was saved by a float training, by a tf.train.Saver that was made '
            'before the graph was rewritten, or by one with a list of variables that lacks the objects of the collection '
            'tf.GraphKeys.SAVEABLE_OBJECTS. Train with CreateQuantizeTrainingGraph and save at least one step.')
    names = [name.decode() for name in reader.get_tensor(TENSORS_KEY).tolist()]
    votes = dict(zip(names, reader.get_tensor(VOTES_KEY)))
    missing = [name for name in tensors if name not in votes or not np.any(votes[name])]
    if missing:
        raise errors.QuantizeError(
            errors.MISSING_QUANTIZE_INFO, 'Not found',
            'The checkpoint has no position of {} of {} quantized tensors: {}. They did not run in training, or the '
            'training graph was rewritten with other nodes.'.format(len(missing), len(tensors), ', '.join(missing)))
    return {name: fixed_point.mode_position(votes[name]) for name in tensors}
