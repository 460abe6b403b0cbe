"""How the quantize positions travel in checkpoints and MetaGraphs: a saveable object with the votes for them."""
import itertools

import tensorflow.compat.v1 as tf

from vai_q_tf import fixed_point, ops, tf_internal

STATE_NAME = 'vai_q_tf/positions'
TENSORS_KEY = STATE_NAME + '/tensors'
VOTES_KEY = STATE_NAME + '/votes'
VARIABLES_KEY = STATE_NAME + '/variables'
UNTRACKED = STATE_NAME + '/untracked'
_KEYS = (TENSORS_KEY, VARIABLES_KEY, VOTES_KEY)
_ROWS = STATE_NAME + '/rows'
_ROW_VARIABLES = STATE_NAME + '/row_variables'


class PositionSaveable(tf_internal.SaveableObject):
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
        specs = [tf_internal.SaveSpec(tensor, '', key) for tensor, key in zip(saved, _KEYS)]
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
            untracked = graph.get_tensor_by_name('{}{}:0'.format(scope, UNTRACKED))
        except KeyError:
            untracked = None
        return cls(handle, rows, variables, saved, untracked)

    @property
    def specs(self):
        prefix = self._prefix()
        saved = prefix is not None and any(
            op.type.startswith('Save') and tf_internal.creation_number(op) > tf_internal.creation_number(prefix.op)
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
            lambda: tf.raw_ops.RestoreV2(prefix=prefix, tensor_names=_KEYS, shape_and_slices=[''] * len(_KEYS),
                                         dtypes=[tf.string, tf.string, tf.float32]),
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
    return saveable.op.op.node_def if isinstance(saveable, PositionSaveable) else None


try:
    # So that MetaGraphs carry it, and a Saver that is made after importing one saves positions.
    tf_internal.register_proto_function(tf.GraphKeys.SAVEABLE_OBJECTS, tf.NodeDef, _to_node, PositionSaveable.from_node)
except KeyError:  # a second import in one process
    pass
