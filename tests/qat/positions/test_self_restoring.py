"""A state that a checkpoint need not have, with a saveable object of one tensor."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import ops, tf_internal
from vai_q_tf.qat.positions import self_restoring


class _Counter(self_restoring.SelfRestoring):
    """Saves the number 7; its restore op shows the number in the checkpoint, 0 without one."""
    state_name = 'test_counter'
    restored = None

    @classmethod
    def add(cls):
        state = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name='', name='test_counter')
        return cls(state, [tf_internal.SaveSpec(tf.constant([7.], name='counted'), '', 'counter')])

    @classmethod
    def from_node(cls, node, import_scope):
        find = self_restoring.finder(import_scope)
        assert find('not_there') is None
        return cls(find(node.name), [tf_internal.SaveSpec(find('counted'), '', 'counter')])

    def restore(self, restored_tensors, restored_shapes):
        assert not restored_tensors
        value, = ops.restore_tensors(self.prefix(), {'counter': (tf.float32, [1])})
        with tf.name_scope(None):
            return tf.identity(value, 'shown').op


def _graph(with_counter=True):
    tf.get_variable('weights', [2])
    if with_counter:
        tf.add_to_collection(tf.GraphKeys.SAVEABLE_OBJECTS, _Counter.add())


def _saved(directory, with_counter, sharded=False):
    with tf.Graph().as_default(), tf.Session() as session:
        _graph(with_counter)
        session.run(tf.global_variables_initializer())
        return tf.train.Saver(sharded=sharded).save(session, str(directory / 'model'))


@pytest.mark.parametrize('sharded', [False, True])
@pytest.mark.parametrize('has_state', [False, True])
def test_a_checkpoint_is_restored_with_and_without_the_state(tmp_path, has_state, sharded):
    prefix = _saved(tmp_path, has_state, sharded)
    assert tf.train.load_checkpoint(prefix).has_tensor('counter') == has_state
    with tf.Graph().as_default(), tf.Session() as session:
        _graph()
        saver = tf.train.Saver(sharded=sharded)
        saver.restore(session, prefix)
        feed = {saver.saver_def.filename_tensor_name: prefix}
        np.testing.assert_array_equal(session.run('shown:0', feed), [7. * has_state])


@pytest.mark.parametrize('scope', [None, 'imported'])
def test_a_meta_graph_carries_the_saveable_object(tmp_path, scope):
    prefix = _saved(tmp_path, True)
    with tf.Graph().as_default():
        tf.train.import_meta_graph(prefix + '.meta', import_scope=scope)
        found, = tf.get_collection(tf.GraphKeys.SAVEABLE_OBJECTS)
        assert type(found) is _Counter
        assert found.op.op.name == ('imported/' if scope else '') + 'test_counter'


def test_saved_tensors_are_on_the_device_of_the_first_variable():
    with tf.device('/gpu:0'):
        state = tf.placeholder(tf.resource, [])
    assert self_restoring.device_of_savers(state) == '/device:GPU:0'
    with tf.device('/job:ps/task:1'):
        tf.get_variable('first', [1])
    assert self_restoring.device_of_savers(state) == '/job:ps/task:1'
