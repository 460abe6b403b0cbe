"""Names and contents of the files of a dump, and how they appear in its directory."""
import os

import numpy as np
import pytest

from vai_q_tf import errors
from vai_q_tf.report.dumps.dump_files import FileNames, Folders


def test_stems_are_safe_and_no_two_tensors_share_a_file():
    tensors = ['a/b', 'a_b', 'A_b', 'a/b_int8', 'a/b_float', 'a:1', 'n' * 300, 'n' * 299 + 'm', '..', 'o/../../up', 'ä b']
    names = FileNames(tensors)
    stems = [names[tensor] for tensor in tensors]
    assert names['a/b'] == 'a_b' and names['a:1'] == 'a_1' and names['o/../../up'] == 'o_.._.._up'
    assert all(set(stem) <= set('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-') for stem in stems)
    assert all(0 < len(stem) <= 200 for stem in stems)
    files = [(stem + suffix).lower() for stem in stems for suffix in ('', '_float', '_int8', '_int16', '_int32')]
    assert len(files) == len(set(files))


@pytest.mark.parametrize('values, lines', [
    (np.array([[-128, 127], [0, -1]], np.int8), ['-128', '127', '0', '-1']), (np.array([300, -2], '>i2'), ['300', '-2']),
    (np.array([True, False]), ['1', '0']), (np.array([1 / 3, 1e-8], np.float32), ['0.333333343', '9.99999994e-09']),
    (np.array(1 / 3), ['0.33333333333333331']), (np.array([], np.float32), [])])
def test_values_in_binary_and_as_text(tmp_path, values, lines):
    with Folders(str(tmp_path)) as folders:
        folders.write(values, [('one', 'a')])
    stored = np.fromfile(str(tmp_path / 'one' / 'a.bin'), values.dtype.newbyteorder('<'))
    assert np.array_equal(stored, values.ravel())
    assert (tmp_path / 'one' / 'a.txt').read_text().splitlines() == lines


@pytest.mark.parametrize('has_links', [True, False])
def test_several_names_are_links_or_copies(tmp_path, monkeypatch, has_links):
    def no_links(*_, **__):
        raise OSError
    if not has_links:
        monkeypatch.setattr(os, 'link', no_links)
    with Folders(str(tmp_path / 'new' / 'out')) as folders:
        folders.write(np.int8([5]), [('one', 'a'), ('two', 'b')])
    first, second = (tmp_path / 'new' / 'out' / name for name in ('one/a.bin', 'two/b.bin'))
    assert first.read_bytes() == second.read_bytes() == b'\5'
    assert os.path.samefile(str(first), str(second)) == has_links


def test_nothing_appears_after_an_error(tmp_path):
    with pytest.raises(KeyError), Folders(str(tmp_path)) as folders:
        folders.write(np.int8([5]), [('one', 'a')])
        folders.write_index({'a': {'file': 'a'}})
        raise KeyError
    assert os.listdir(str(tmp_path)) == []


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(errors.QuantizeError, match='output_dir') as caught, Folders(str(tmp_path / 'file' / 'out')):
        pass
    assert caught.value.code == errors.INVALID_CONFIG
