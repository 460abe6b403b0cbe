"""Losses in event files: which tags count, restarts, and damaged or too large files."""
import logging
import os

import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.qat.reading import losses
from vai_q_tf.qat.reading.losses import read_losses


def _write(directory, values, suffix=''):
    """Writes an event file of (step, tag, value); returns its path."""
    before = set(os.listdir(str(directory)))
    writer = tf.summary.FileWriter(str(directory), filename_suffix=suffix)
    for step, tag, value in values:
        writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)]), step)
    writer.close()
    (name,) = set(os.listdir(str(directory))) - before
    return os.path.join(str(directory), name)


def test_scalars_called_loss_and_no_others(tmp_path):
    with tf.Graph().as_default():
        _write(tmp_path, [(2, 'loss', 2.5), (1, 'loss', 3.0), (1, 'loss_1', 4.0), (1, 'head/total_loss', 5.0),
                          (1, 'lossless', 6.0), (1, 'accuracy', 0.5), (1, 'loss/mean', 7.0)])
    assert read_losses(str(tmp_path)) == {'loss': [(1, 3.0), (2, 2.5)], 'loss_1': [(1, 4.0)], 'head/total_loss': [(1, 5.0)]}


def test_the_directory_is_not_a_glob_pattern(tmp_path):
    for name, value in (('run[1]', 2.0), ('run1', 3.0)):
        (tmp_path / name).mkdir()
        with tf.Graph().as_default():
            _write(tmp_path / name, [(1, 'loss', value)])
    assert read_losses(str(tmp_path / 'run[1]')) == {'loss': [(1, 2.0)]}


def test_values_that_are_tensors(tmp_path):
    path = str(tmp_path / 'events.out.tfevents.1')
    with tf.io.TFRecordWriter(path) as writer:
        for step, array in enumerate(([2.5], [1.0, 2.0], ['text'])):
            value = tf.Summary.Value(tag='loss', tensor=tf.make_tensor_proto(array))
            writer.write(tf.Event(step=step, summary=tf.Summary(value=[value])).SerializeToString())
    assert read_losses(str(tmp_path)) == {'loss': [(0, 2.5)]}


def test_the_later_file_counts_where_both_have_a_step(tmp_path):
    with tf.Graph().as_default():
        first = _write(tmp_path, [(1, 'loss', 3.0), (2, 'loss', 2.0)])
        second = _write(tmp_path, [(2, 'loss', 1.5), (3, 'loss', 1.0)], '.later')
    os.utime(first, (100, 100))
    os.utime(second, (200, 200))
    assert read_losses(str(tmp_path)) == {'loss': [(1, 3.0), (2, 1.5), (3, 1.0)]}


@pytest.mark.parametrize('damage', ['cut', 'changed', 'no event'])
def test_a_damaged_file_is_read_up_to_the_damage(tmp_path, caplog, damage):
    caplog.set_level(logging.INFO, 'tensorflow')
    with tf.Graph().as_default():
        path = _write(tmp_path, [(step, 'loss', 1.0) for step in range(20)])
    with open(path, 'rb') as stream:
        data = bytearray(stream.read())
    if damage == 'cut':
        data = data[:-10]
    elif damage == 'changed':
        data[len(data) // 2] ^= 255
    else:
        with tf.io.TFRecordWriter(path) as writer:
            writer.write(b'\xff' * 20)
        with open(path, 'rb') as stream:
            data += stream.read()
    with open(path, 'wb') as stream:
        stream.write(data)
    found = read_losses(str(tmp_path)).get('loss', [])
    assert found == [(step, 1.0) for step in range({'cut': 19, 'no event': 20}.get(damage, len(found)))] and len(found) > 5
    assert damage == 'cut' or 'is read up to where it is damaged' in caplog.text


def test_a_file_that_is_too_large_is_left_out(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, 'tensorflow')
    with tf.Graph().as_default():
        _write(tmp_path, [(1, 'loss', 3.0)])
    monkeypatch.setattr(losses, '_LARGEST', 10)
    assert read_losses(str(tmp_path)) == {} and 'left out' in caplog.text


def test_a_directory_without_events(tmp_path):
    (tmp_path / 'folder.tfevents').mkdir()
    assert read_losses(str(tmp_path)) == read_losses(str(tmp_path / 'missing[1]')) == {}
