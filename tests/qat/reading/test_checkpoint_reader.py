"""Checkpoints with damaged files are refused with a code and their name, and never misread."""
import contextlib
import os
import random

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import QuantizeError, averaged_checkpoint, errors
from vai_q_tf.qat import checkpoints
from vai_q_tf.qat.averages.average_saveable import STEPS_KEY, average_key
from vai_q_tf.qat.positions.position_saveable import STRUCTURES_KEY, TENSORS_KEY, VARIABLES_KEY, VOTES_KEY
from vai_q_tf.qat.reading import checkpoint_reader
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader

_INDEX, _DATA = '.index', '.data-00000-of-00001'
_VALUES = {'global_step': np.int64(7), 'kernel': np.arange(300, dtype=np.float32).reshape(30, 10)}
_TABLE = {TENSORS_KEY: np.array([b'a', b'b'], object), VARIABLES_KEY: np.array([b'', b'v'], object),
          STRUCTURES_KEY: np.array([b's', b't'], object), VOTES_KEY: np.eye(2, 256, dtype=np.float32)}


def _save(prefix, values):
    with tf.Graph().as_default(), tf.Session() as session:
        names = sorted(values)
        session.run(tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[''] * len(names),
                                      tensors=[tf.constant(values[name]) for name in names]))
    return str(prefix)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return _save(tmp_path_factory.mktemp('whole') / 'model', dict(_VALUES, **_TABLE))


def _copy(whole, directory):
    for end in (_INDEX, _DATA):
        with open(whole + end, 'rb') as source, open(str(directory / ('model' + end)), 'wb') as target:
            target.write(source.read())
    return str(directory / 'model')


def _read_all(prefix):
    checkpoints.checkpoint_step(prefix)
    reader = CheckpointReader(prefix)
    reader.check(reader.dtypes())


def _refused(prefix, read=_read_all, code=errors.INVALID_INPUT):
    with pytest.raises(QuantizeError) as raised:
        read(prefix)
    assert raised.value.code == code and prefix in str(raised.value)
    return str(raised.value)


def test_reads_what_was_saved(whole):
    reader = CheckpointReader(whole)
    assert reader.dtypes().keys() == reader.shapes().keys() == {**_VALUES, **_TABLE}.keys()
    np.testing.assert_array_equal(reader.get_tensor('kernel'), _VALUES['kernel'])
    assert reader.has_tensor('kernel') and not reader.has_tensor('kernels')
    assert reader.shapes()['kernel'] == [30, 10] and reader.dtypes()['kernel'] == tf.float32


@pytest.mark.parametrize('end', [_INDEX, _DATA])
@pytest.mark.parametrize('size', [0, 60, None])
def test_a_file_that_is_cut_off_or_missing(whole, tmp_path, end, size):
    prefix = _copy(whole, tmp_path)
    os.unlink(prefix + end) if size is None else os.truncate(prefix + end, size)
    _refused(prefix)


def test_a_flipped_bit_anywhere_in_the_data(whole, tmp_path):
    choice = random.Random(3)
    for _ in range(25):
        prefix = _copy(whole, tmp_path)
        with open(prefix + _DATA, 'r+b') as stream:
            place = choice.randrange(os.path.getsize(stream.name))
            stream.seek(place)
            byte = stream.read(1)[0]
            stream.seek(place)
            stream.write(bytes([byte ^ 1 << choice.randrange(8)]))
        _refused(prefix)


def test_an_index_that_asks_for_more_memory_than_there_is(whole, tmp_path):
    prefix = _copy(whole, tmp_path)
    with open(prefix + _INDEX, 'r+b') as stream:
        stream.seek(-48, os.SEEK_END)
        stream.write(b'\x01' + b'\xff' * 8 + b'\x3f')  # offset 1, 2^62 bytes
    assert 'the index is damaged' in _refused(prefix)


def test_an_index_of_other_data(whole, tmp_path):
    prefix = _copy(whole, tmp_path)
    other = _save(tmp_path / 'other', dict(_VALUES, **dict(_TABLE, kernel=_VALUES['kernel'] + 1)))
    os.replace(other + _DATA, prefix + _DATA)
    assert "'kernel'" in _refused(prefix)


def test_a_path_that_tensorflow_reads_as_a_glob_pattern(whole, tmp_path):
    directory = tmp_path / 'run[1]'
    directory.mkdir()
    assert 'pattern' in _refused(_copy(whole, directory))


@pytest.mark.parametrize('changed, words', [
    ({VOTES_KEY: np.zeros([3, 256], np.float32)}, 'no table of votes'), ({VOTES_KEY: np.zeros([2, 256])}, 'no table of votes'),
    ({VOTES_KEY: np.full([2, 256], np.nan, np.float32)}, 'no table of votes'), ({TENSORS_KEY: np.float32(1)}, 'no table'),
    ({TENSORS_KEY: np.array([b'\xff', b'b'], object)}, 'no text'),
    ({VOTES_KEY: None}, 'no {!r}'.format(VOTES_KEY)), ({TENSORS_KEY: None}, 'no {!r}'.format(TENSORS_KEY))])
def test_a_damaged_table_of_positions(tmp_path, changed, words):
    values = {key: value for key, value in {**_TABLE, **changed}.items() if value is not None}
    prefix = _save(tmp_path / 'model', values)
    assert words in _refused(prefix, lambda prefix: checkpoints.read_positions(CheckpointReader(prefix), {}))


def test_the_step_is_a_number_or_the_name(tmp_path):
    assert checkpoints.checkpoint_step(_save(tmp_path / 'a', {'global_step': np.int32(7)})) == 7
    assert checkpoints.checkpoint_step(_save(tmp_path / 'b', {'global_step': np.zeros([2], np.int64)})) == 'b'


@pytest.mark.parametrize('text', [b'\xff\xfe', b'nonsense', b'', b'model_checkpoint_path: 7'])
def test_a_damaged_list_of_checkpoints(tmp_path, text):
    (tmp_path / 'checkpoint').write_bytes(text)
    assert 'Delete it' in _refused(str(tmp_path), checkpoints.find_checkpoint)


def test_paths_without_a_checkpoint(tmp_path):
    find = checkpoints.find_checkpoint
    assert 'no checkpoint at' in _refused(str(tmp_path), find)
    (tmp_path / 'checkpoint').write_text('model_checkpoint_path: "gone"')
    assert 'gone' in _refused(str(tmp_path), find)
    (tmp_path / 'old').write_bytes(b'V1')
    assert 'first format' in _refused(str(tmp_path / 'old'), find)
    _save(tmp_path / 'gone', _VALUES)
    assert find(str(tmp_path)) == find(os.fsencode(str(tmp_path))) == str(tmp_path / 'gone')


def test_damaged_averages(tmp_path):
    averages = dict(_VALUES, **{STEPS_KEY: np.array([3, 7]), average_key('kernel'): _VALUES['kernel'] + 1})
    prefix = _save(tmp_path / 'model', averages)
    (tmp_path / 'file').write_text('')
    with pytest.raises(QuantizeError, match='Cannot write'):
        averaged_checkpoint(prefix, str(tmp_path / 'file' / 'averaged'))
    with open(prefix + _DATA, 'r+b') as stream:
        stream.truncate(40)
    _refused(prefix, averaged_checkpoint)
    assert not os.path.exists(str(tmp_path / 'averaged'))
    _refused(_save(tmp_path / 'other', dict(averages, **{STEPS_KEY: np.float32(3)})), averaged_checkpoint)


def _varint(number):
    data = b''
    while number > 127:
        data, number = data + bytes([number & 127 | 128]), number >> 7
    return data + bytes([number])


@pytest.mark.parametrize('handle', [0, 1])
@pytest.mark.parametrize('beyond', [0, 1])
def test_a_block_ends_with_the_index_at_most(tmp_path, handle, beyond):
    """A block is followed by a trailer of five bytes."""
    size = 500
    numbers = [0, 10, 0, 10]
    numbers[2 * handle:2 * handle + 2] = [300, size - 300 - 5 + beyond]
    footer = b''.join(map(_varint, numbers)).ljust(40, b'\0') + checkpoint_reader._MAGIC
    (tmp_path / 'index').write_bytes(b'x' * (size - 48) + footer)
    with pytest.raises(tf.errors.DataLossError) if beyond else contextlib.ExitStack():
        checkpoint_reader._check_index(str(tmp_path / 'index'))


def test_numbers_without_an_end_are_too_large(tmp_path):
    (tmp_path / 'index').write_bytes(b'\xff' * 40 + checkpoint_reader._MAGIC)
    with pytest.raises(tf.errors.DataLossError):
        checkpoint_reader._check_index(str(tmp_path / 'index'))


@pytest.mark.parametrize('name', ['back\\slash', 'a*', 'a?'])
def test_each_character_of_a_pattern(whole, tmp_path, name):
    directory = tmp_path / name
    directory.mkdir()
    prefix = _copy(whole, directory)
    try:
        found = CheckpointReader(prefix)
    except QuantizeError as error:
        assert 'pattern' in error.detail and error.code == errors.INVALID_INPUT
    else:
        assert found.has_tensor('kernel')


def test_undecodable_text_is_damage():
    with pytest.raises(QuantizeError, match="'model'.*'name'"), checkpoint_reader.reading('model', 'name'):
        b'\xff'.decode()
