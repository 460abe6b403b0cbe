import os

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
