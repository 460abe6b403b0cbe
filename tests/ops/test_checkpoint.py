"""The tensors of a checkpoint, and those restored from one that lacks some."""
import os

import numpy as np
import pytest
import tensorflow as tf

from vai_q_tf import ops


def _save(path, sharded=False, partitioned=False):
    with tf.Graph().as_default():
        tf.compat.v1.get_variable('net/weights', [3, 3])
        tf.compat.v1.get_variable('net/bias', [3], use_resource=True)
        partitioner = tf.compat.v1.fixed_size_partitioner(2) if partitioned else None
        tf.compat.v1.get_variable('embedding', [10, 2], partitioner=partitioner)
        saver = tf.compat.v1.train.Saver(sharded=sharded)
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            return saver.save(session, path)


def _has(prefix, name):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return bool(session.run(ops.checkpoint_has(prefix, name)))


@pytest.mark.parametrize('sharded', [False, True])
@pytest.mark.parametrize('partitioned', [False, True])
def test_names_of_a_saved_checkpoint(tmp_path, sharded, partitioned):
    prefix = _save(str(tmp_path / 'model.ckpt'), sharded, partitioned)
    for name in ('net/weights', 'net/bias', 'embedding'):
        assert _has(prefix, name)
    for name in ('net', 'net/weights2', 'net/weight', 'a', 'zzz', 'embedding/part_0'):
        assert not _has(prefix, name)


def test_many_names(tmp_path):
    names = ['scope_{}/variable_{}'.format(i % 7, i) for i in range(2000)]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        values = [tf.constant(0.0)] * len(names)
        session.run(tf.raw_ops.SaveV2(prefix=str(tmp_path / 'many'), tensor_names=names,
                                      shape_and_slices=[''] * len(names), tensors=values))
        name = tf.compat.v1.placeholder(tf.string, [])
        present = ops.checkpoint_has(str(tmp_path / 'many'), name)
        assert all(session.run(present, {name: n}) for n in names[::37])
        assert not any(session.run(present, {name: n + 'x'}) for n in names[::37])


def test_no_checkpoint_holds_nothing(tmp_path):
    assert not _has(str(tmp_path / 'missing'), 'net/weights')
    assert not _has('', 'net/weights')


@pytest.mark.parametrize('content', [b'', b'no table', b'x' * 100])
def test_damaged_index_is_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / 'bad.index').write_bytes(content)
    with pytest.raises(tf.errors.OpError, match='bad.index'):
        _has(str(tmp_path / 'bad'), 'net/weights')


def test_truncated_index_is_an_error(tmp_path):
    prefix = _save(str(tmp_path / 'model.ckpt'))
    index = prefix + '.index'
    size = os.path.getsize(index)
    with open(index, 'r+b') as file:
        file.truncate(size // 2)
    with pytest.raises(tf.errors.OpError, match='index'):
        _has(prefix, 'net/weights')


def test_empty_name_and_several_names_are_errors(tmp_path):
    prefix = _save(str(tmp_path / 'model.ckpt'))
    with pytest.raises(tf.errors.InvalidArgumentError, match='empty'):
        _has(prefix, '')
    names = tf.compat.v1.placeholder(tf.string)
    with tf.compat.v1.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match='one string each'):
        session.run(ops.checkpoint_has(prefix, names), {names: ['a', 'b']})


def test_answer_is_not_folded_into_a_constant(tmp_path):
    present = ops.checkpoint_has(str(tmp_path / 'model.ckpt'), 'net/weights')
    with tf.compat.v1.Session() as session:
        assert not session.run(present)
        _save(str(tmp_path / 'model.ckpt'))
        assert session.run(present)


_VALUES = {'names': np.array([b'a', b'', b'\xff' * 300], object), 'votes': np.arange(6, dtype=np.float32).reshape(2, 3) - 0.1,
           'scalar': np.float32(3), 'none': np.zeros([0, 4], np.float32), 'no text': np.array([], object)}
_SHAPES = {'names': [0], 'votes': [2, 1], 'scalar': [], 'none': [3], 'no text': [2, 2]}  # of the defaults


def _write(path, names):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tensors = [tf.constant(_VALUES[name], tf.string if _VALUES[name].dtype == object else tf.float32) for name in names]
        session.run(tf.raw_ops.SaveV2(prefix=path, tensor_names=names, shape_and_slices=[''] * len(names), tensors=tensors))


def _restore(prefix, names, **dtypes):
    defaults = {name: (dtypes.get(name, tf.string if _VALUES[name].dtype == object else tf.float32), _SHAPES[name])
                for name in names}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return session.run(ops.restore_tensors(prefix, defaults))


@pytest.mark.parametrize('saved', [
    sorted(_VALUES), ['votes'], ['names', 'scalar'], ['scalar', 'votes'], ['no text', 'none'], ['none', 'names', 'votes']])
def test_the_tensors_that_are_there_and_what_stands_for_the_others(tmp_path, saved):
    prefix = str(tmp_path / 'model.ckpt')
    _write(prefix, saved)
    for names in (list(_VALUES), list(_VALUES)[::-1], ['votes']):
        for name, value in zip(names, _restore(prefix, names)):
            empty = b'' if _VALUES[name].dtype == object else 0
            expected = _VALUES[name] if name in saved else np.full(_SHAPES[name], empty, _VALUES[name].dtype)
            assert np.shape(value) == np.shape(expected) and np.array(value).dtype == expected.dtype
            assert np.array(value, object).tolist() == np.array(expected, object).tolist()


def test_nothing_is_restored_of_no_checkpoint_and_of_the_first_format(tmp_path):
    assert _restore(str(tmp_path / 'none'), ['votes', 'names'])[0].tolist() == [[0], [0]]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        session.run(tf.raw_ops.Save(filename=str(tmp_path / 'first'), tensor_names=['scalar'], data=[tf.constant(3.)]))
    assert _restore(str(tmp_path / 'first'), ['scalar']) == [0]


def test_a_tensor_saved_in_parts_is_whole(tmp_path):
    prefix = _save(str(tmp_path / 'model.ckpt'), sharded=True, partitioned=True)
    with tf.compat.v1.Session() as session:
        restored, = session.run(ops.restore_tensors(prefix, {'embedding': (tf.float32, [])}))
    np.testing.assert_array_equal(restored, tf.train.load_variable(prefix, 'embedding'))
    assert restored.shape == (10, 2) and restored.any()


def test_restoring_is_not_folded_into_a_constant(tmp_path):
    restored = ops.restore_tensors(str(tmp_path / 'model.ckpt'), {'scalar': (tf.float32, [])})
    with tf.compat.v1.Session() as session:
        assert session.run(restored) == [0]
        _write(str(tmp_path / 'model.ckpt'), ['scalar'])
        assert session.run(restored) == [3]


def test_a_tensor_of_another_type_is_an_error(tmp_path):
    _write(str(tmp_path / 'model.ckpt'), ['scalar', 'votes'])
    with pytest.raises(tf.errors.InvalidArgumentError, match='votes.*string.*float'):
        _restore(str(tmp_path / 'model.ckpt'), ['scalar', 'votes'], votes=tf.string)


def test_damage_is_an_error(tmp_path):
    prefix = str(tmp_path / 'model.ckpt')
    _write(prefix, ['votes'])
    data = tmp_path / 'model.ckpt.data-00000-of-00001'
    data.write_bytes(data.read_bytes()[:-1] + b'x')
    with pytest.raises(tf.errors.DataLossError, match='RestoreTensors'):
        _restore(prefix, ['votes'])
    data.unlink()
    with pytest.raises(tf.errors.NotFoundError, match='data-00000'):
        _restore(prefix, ['votes'])
    (tmp_path / 'model.ckpt.index').write_bytes(b'no table')
    with pytest.raises(tf.errors.OpError, match='RestoreTensors.*model.ckpt.index'):
        _restore(prefix, ['votes'])


def test_names_types_and_shapes_that_are_no_list_of_tensors_are_errors():
    op = ops.load_library().vai_restore_tensors
    prefixes = tf.compat.v1.placeholder(tf.string)
    with tf.compat.v1.Session() as session:
        for names, shapes, reason in ((['a'], [[], []], '1 names and 2 shapes for 2'), (['a', ''], [[], []], 'is empty'),
                                      (['a', 'b'], [[]], '2 names and 1 shapes for 2')):
            with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
                session.run(op('prefix', names, [tf.float32, tf.string], shapes))
        with pytest.raises(tf.errors.InvalidArgumentError, match='RestoreTensors.*prefix'):
            session.run(op(prefixes, ['a'], [tf.float32], [[]]), {prefixes: ['a', 'b']})
        with pytest.raises(tf.errors.OpError, match='shape'):
            session.run(op('prefix', ['a'], [tf.float32], [[None]]))
    with pytest.raises((TypeError, ValueError), match='not in|allowed|passed'):
        op('prefix', ['a'], [tf.int32], [[]])
