"""Quantize positions of a live graph: where they come from, how they move, how they travel in a checkpoint.

Training and evaluation ask a `MovingPositions` for the position of each tensor and know nothing else about its state. The
state is one table, a row of votes for each tensor: every training step the position that suits the batch best gets a vote,
older votes decay, and the position with the most votes is the one in use (`fixed_point.vote`, `fixed_point.mode_position`).

The table is a resource variable outside TensorFlow's collections. Its kernel creates it when it is first touched, so no
initializer is needed and `report_uninitialized_variables` does not ask for it; a saveable object carries it in every
checkpoint, and restoring a checkpoint without it (a float one) leaves it empty.
"""
import itertools
import re

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import ops as framework_ops
from tensorflow.python.ops import gen_resource_variable_ops, io_ops
from tensorflow.python.training.saving import saveable_object

from vai_q_tf import errors, fixed_point, ops
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.graphdef_editor import PASS_THROUGH
from vai_q_tf.graph.view import VARIABLE_OPS

STATE_NAME = 'vai_q_tf/positions'
TENSORS_KEY = STATE_NAME + '/tensors'
VOTES_KEY = STATE_NAME + '/votes'
VARIABLES_KEY = STATE_NAME + '/variables'
_KEYS = (TENSORS_KEY, VARIABLES_KEY, VOTES_KEY)
# What TensorFlow calls the parts of a partitioned variable; in a checkpoint it is one tensor.
PART = re.compile(r'(.+)/part_(\d+)$')
_UNTRACKED = STATE_NAME + '/untracked'
_ROWS = STATE_NAME + '/rows'
_ROW_VARIABLES = STATE_NAME + '/row_variables'


class MovingPositions:
    """The positions of the named tensors in the default graph; adds the state and its saveable object to the graph.

    Args:
      rows: {name of a quantized tensor: the name that its position is kept by}; several tensors with one name have the position
        in common, and in a step the least of the positions that suit them gets the vote.
      variables: {name of a quantized tensor: the variable that it reads}, see `read_variables`.
      decay: what is left of a vote after a step, see `QuantizeConfig.position_decay`.
      track: scalar bool tensor, whether this run counts and moves the positions; None where they are only read. A checkpoint
        from before the first step of a training has none to read; then they are those that suit what the graph runs on.
      update: 'moving' or 'current', see `QuantizeConfig.position_update`.
    """

    def __init__(self, rows, variables, decay=1.0, track=None, update='moving'):
        tensors = list(dict.fromkeys(rows.values()))
        numbers = {name: number for number, name in enumerate(tensors)}
        variables = {rows[tensor]: variable for tensor, variable in variables.items()}
        self._rows = {tensor: numbers[name] for tensor, name in rows.items()}
        self._number = len(tensors)
        self._asked = {}
        self._decay = decay
        self._update = update
        self._device = _state_device()
        with tf.name_scope(None), tf.control_dependencies(None), tf.device(None), tf.device(self._device):
            self._handle = _table(STATE_NAME, len(tensors))
            untracked = _table(_UNTRACKED, 1) if track is None else None
            self._track = tf.reduce_any(ops.read_positions(untracked, rows=1) > 0) if track is None else track
            tf.add_to_collection(tf.GraphKeys.SAVEABLE_OBJECTS, _VotesSaveable.add(
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
            live_editor.repoint(least.graph, inputs, value)
        return together


def _table(name, rows):
    return gen_resource_variable_ops.var_handle_op(
        dtype=tf.float32, shape=[rows, fixed_point.HISTOGRAM_BINS], shared_name=name, name=name)


def _state_device():
    """Where the state is: with the first variable, on a parameter server too, so that it is one for all workers.

    It is on the host there, for positions are read on the host, and there is no GPU kernel.
    """
    variables = tf.global_variables()
    place = tf.DeviceSpec.from_string(variables[0].device if variables else '')
    return tf.DeviceSpec(place.job, place.replica, place.task, 'CPU', 0).to_string()


class _VotesSaveable(saveable_object.SaveableObject):
    """Saves the table of votes with the names of its rows; restores the rows that the checkpoint has.

    A row that the checkpoint does not have by name takes over that of the variable which its tensor reads: a resource variable
    is read by nodes of other names than a reference variable, and a distribution strategy makes one of the other.

    A Saver asks for `specs` twice, for its save ops and then for its restore ops, and would demand from the checkpoint what
    it finds the second time. There it finds nothing, and `restore` looks into the checkpoint itself.
    """

    def __init__(self, handle, tensors, variables, saved, untracked):
        """tensors, variables: string [rows], names of the rows. saved: the tensors that go into a checkpoint.

        untracked: a table that gets votes where a checkpoint has no votes yet; None in a training graph.
        """
        self._untracked = untracked
        self._rows = tensors.shape[0].value
        self._tensors, self._variables, self._saved = tensors, variables, saved
        specs = [saveable_object.SaveSpec(tensor, '', key) for tensor, key in zip(saved, _KEYS)]
        super().__init__(handle, specs, handle.name)

    @classmethod
    def add(cls, handle, tensors, variables, untracked):
        """The one for the state `handle`, with rows of the names `tensors`; adds its ops to the graph."""
        rows = tf.constant(tensors, tf.string, [len(tensors)], name=_ROWS)
        row_variables = tf.constant(variables, tf.string, [len(tensors)], name=_ROW_VARIABLES)
        votes = ops.read_positions(handle, rows=len(tensors))
        # A sharded Saver groups by device, and cannot restore a group that has no ordinary variable.
        variables = tf.global_variables()
        device = variables[0].device if variables else handle.device
        with tf.device(None), tf.device(device):
            saved = [tf.identity(value, name=key) for value, key in zip((rows, row_variables, votes), _KEYS)]
            return cls(handle, rows, row_variables, saved, untracked)

    @classmethod
    def from_node(cls, node, import_scope=None):
        """The one whose state is the NodeDef `node`, in the default graph, into which a MetaGraph was imported."""
        graph, scope = tf.get_default_graph(), import_scope + '/' if import_scope else ''
        handle, rows, variables, *saved = (graph.get_tensor_by_name('{}{}:0'.format(scope, name))
                                           for name in (node.name, _ROWS, _ROW_VARIABLES) + _KEYS)
        try:
            untracked = graph.get_tensor_by_name('{}{}:0'.format(scope, _UNTRACKED))
        except KeyError:
            untracked = None
        return cls(handle, rows, variables, saved, untracked)

    @property
    def specs(self):
        prefix = self._prefix()
        saved = prefix is not None and any(op.type.startswith('Save') and op._id > prefix.op._id
                                           for op in self._saved[0].consumers())
        return [] if saved else self._specs

    @specs.setter
    def specs(self, specs):
        self._specs = specs

    @property
    def device(self):
        return self._saved[0].device

    def _prefix(self):
        """The tensor for the name of the checkpoint of the Saver that is being made; None where none is.

        In an imported graph it may be in a name scope with others, of which it is the last.
        """
        graph, prefix = self.op.graph, None
        name = first = graph.get_name_scope() + '/Const'
        for number in itertools.count(1):
            try:
                operation = graph.get_operation_by_name(name)
            except KeyError:
                return prefix
            if operation.type == 'PlaceholderWithDefault':
                prefix = operation.outputs[0]
            name = '{}_{}'.format(first, number)

    def restore(self, restored_tensors, restored_shapes):
        prefix = self._prefix()
        names, variables, votes = tf.cond(
            ops.checkpoint_has(prefix, VARIABLES_KEY),
            lambda: io_ops.restore_v2(prefix, _KEYS, [''] * len(_KEYS), [tf.string, tf.string, tf.float32]),
            lambda: [tf.zeros([0], tf.string), tf.zeros([0], tf.string), tf.zeros([0, fixed_point.HISTOGRAM_BINS])])
        same_name = tf.equal(self._tensors[:, tf.newaxis], names[tf.newaxis, :])
        same_variable = tf.equal(self._variables[:, tf.newaxis], variables[tf.newaxis, :]) & tf.not_equal(variables, '')
        # The names of variables follow those of tensors, and the first that is found counts.
        found = tf.cast(tf.concat([same_name, same_variable], 1), tf.int32)
        first = tf.cast(tf.equal(tf.cumsum(found, 1, exclusive=True), 0), tf.float32) * tf.cast(found, tf.float32)
        restored = ops.write_positions(self.op, tf.matmul(first, tf.concat([votes, votes], 0)), rows=self._rows)
        if self._untracked is None:
            return restored
        before_training = tf.size(names) > 0, tf.reduce_all(tf.equal(votes, 0))
        mark = tf.fill([1, fixed_point.HISTOGRAM_BINS], tf.cast(tf.reduce_all(before_training), tf.float32))
        return tf.group(restored, ops.write_positions(self._untracked, mark, rows=1))


def _to_node(saveable, export_scope=None):
    return saveable.op.op.node_def if isinstance(saveable, _VotesSaveable) else None


try:
    # So that MetaGraphs carry it, and a Saver that is made after importing one saves positions.
    framework_ops.register_proto_function(tf.GraphKeys.SAVEABLE_OBJECTS, tf.NodeDef, _to_node, _VotesSaveable.from_node)
except KeyError:  # a second import in one process
    pass


def read_variables(graph, plan):
    """{name of a quantized tensor: the variable that it reads} for the tensors of the plan that are read from a variable."""
    found = {record.name: _variable(live_editor.tensor(graph, record.tensor)) for record in plan.tensors if record.tensor}
    return {name: variable for name, variable in found.items() if variable}


def _variable(value):
    """The variable that the tf.Tensor `value` reads, whole though it may be kept in parts; '' if it reads none."""
    operation = value.op
    while operation.type in PASS_THROUGH:
        operation = operation.inputs[0].op
    if operation.type in VARIABLE_OPS:
        return operation.name
    if operation.type == 'ConcatV2':
        parts = {PART.match(_variable(part)) for part in operation.inputs[:-1]}
        wholes = {part and part.group(1) for part in parts}
        return (wholes.pop() or '') if len(wholes) == 1 else ''
    return ''


def is_before_training(reader):
    """Whether a checkpoint (a reader of tf.train.load_checkpoint) is from before the first quantized step: it has no votes."""
    return reader.has_tensor(VOTES_KEY) and not np.any(reader.get_tensor(VOTES_KEY))


def read_checkpoint(reader, tensors, variables=None):
    """The position of each of `tensors` in a checkpoint.

    Args:
      reader: what tf.train.load_checkpoint gives.
      tensors: names of quantized tensors.
      variables: what `read_variables` tells of them; a tensor that the checkpoint does not have by name has the position of
        its variable.

    Returns:
      {name: position}, positions in fractional bits.

    Raises:
      QuantizeError: MISSING_QUANTIZE_INFO naming the tensors that the checkpoint has no position of.
    """
    if not reader.has_tensor(VARIABLES_KEY):
        raise errors.QuantizeError(
            errors.MISSING_QUANTIZE_INFO, 'Not found',
            'The checkpoint has no quantize positions: it was saved by a float training, by a tf.train.Saver that was made '
            'before the graph was rewritten, or by one with a list of variables that lacks the objects of the collection '
            'tf.GraphKeys.SAVEABLE_OBJECTS. Train with CreateQuantizeTrainingGraph and save at least one step.')
    rows = list(zip(*(reader.get_tensor(key).tolist() for key in (TENSORS_KEY, VARIABLES_KEY)), reader.get_tensor(VOTES_KEY)))
    by_variable = {variable.decode(): row for _, variable, row in reversed(rows) if variable}
    votes = {tensor: by_variable[variable] for tensor, variable in (variables or {}).items() if variable in by_variable}
    votes.update((name.decode(), row) for name, _, row in rows)
    missing = [name for name in tensors if name not in votes or not np.any(votes[name])]
    if missing:
        raise errors.QuantizeError(
            errors.MISSING_QUANTIZE_INFO, 'Not found',
            'The checkpoint has no position of {} of {} quantized tensors: {}. They did not run in training, or the '
            'training graph was rewritten with other nodes.'.format(len(missing), len(tensors), ', '.join(missing)))
    return {name: fixed_point.mode_position(votes[name]) for name in tensors}
