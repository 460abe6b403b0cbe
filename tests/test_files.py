"""Files appear whole or not at all, with the mode that users expect, and leave no hidden files."""
import errno
import os
import resource
import stat

import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files
from vai_q_tf.command_line import supervision


def _mode(path):
    return stat.S_IMODE(os.stat(str(path)).st_mode)


@pytest.fixture(params=['nameless', 'named'])
def kind_of_file(request, monkeypatch):
    """Some file systems have no nameless files."""
    if request.param == 'named':
        def link(*_, **__):
            raise OSError(errno.EOPNOTSUPP, 'Operation not supported')
        monkeypatch.setattr(os, 'link', link)
    return request.param


@pytest.mark.usefixtures('kind_of_file')
class TestWrite:
    @pytest.mark.parametrize('umask', [0o022, 0o077, 0o002])
    def test_a_new_file_has_the_mode_of_the_umask(self, tmp_path, umask):
        before = os.umask(umask)
        try:
            path = files.write(str(tmp_path), 'model.pb', b'data')
        finally:
            os.umask(before)
        assert _mode(path) == 0o666 & ~umask
        assert (tmp_path / 'model.pb').read_bytes() == b'data'

    @pytest.mark.parametrize('mode', [0o600, 0o664, 0o444])
    def test_a_file_keeps_its_mode(self, tmp_path, mode):
        path = tmp_path / 'model.pb'
        path.write_bytes(b'old')
        path.chmod(mode)
        files.write(str(tmp_path), 'model.pb', b'new')
        assert (_mode(path), path.read_bytes()) == (mode, b'new')

    def test_a_link_still_leads_to_its_file(self, tmp_path):
        (tmp_path / 'elsewhere').mkdir()
        (tmp_path / 'link').symlink_to('elsewhere/model.pb')
        for data in (b'first', b'second'):  # the first one creates the file
            files.write(str(tmp_path), 'link', data)
            assert (tmp_path / 'link').is_symlink()
            assert (tmp_path / 'elsewhere' / 'model.pb').read_bytes() == data

    def test_pieces_have_no_name_before_they_are_all_there(self, tmp_path, kind_of_file):
        class Pieces:
            def __iter__(self):
                yield b'first'
                found.append(sorted(os.listdir(str(tmp_path))))
                yield b' second'
        (tmp_path / 'model.pb').write_bytes(b'old')
        for _ in range(2):
            found = []
            files.write(str(tmp_path), 'model.pb', Pieces())
            assert (tmp_path / 'model.pb').read_bytes() == b'first second'
            hidden, old = found[-1][:-1], found[-1][-1]
            assert old == 'model.pb' and len(hidden) == (kind_of_file == 'named')
            assert all(supervision._UNFINISHED.match(name) for name in hidden), 'the command removes them when it is killed'

    def test_a_file_that_is_too_large(self, tmp_path):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            with pytest.raises(errors.QuantizeError, match='File too large'):
                files.write(str(tmp_path), 'model.pb', bytes(101))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert os.listdir(str(tmp_path)) == []

    @pytest.mark.parametrize('failure', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt(), SystemExit()])
    @pytest.mark.parametrize('at', ['_fill', 'replace'])
    def test_a_failure_leaves_only_the_old_file(self, tmp_path, monkeypatch, failure, at):
        def fail(*_):
            raise failure
        (tmp_path / 'model.pb').write_bytes(b'old')
        monkeypatch.setattr(*(files, at) if at == '_fill' else (os, at), fail)
        expected = errors.QuantizeError if isinstance(failure, OSError) else type(failure)
        with pytest.raises(expected) as caught:
            files.write(str(tmp_path), 'model.pb', b'new')
        assert expected is not errors.QuantizeError or 'No space left' in caught.value.detail
        assert os.listdir(str(tmp_path)) == ['model.pb'] and (tmp_path / 'model.pb').read_bytes() == b'old'


@pytest.mark.parametrize('name, reason', [
    ('directory', 'Not a regular file'), ('device', 'Not a regular file'), ('nowhere/model.pb', 'No such file'),
    ('x' * 300, 'name too long'), ('loop', 'symbolic link')])
def test_a_path_that_cannot_be_a_file(tmp_path, name, reason):
    (tmp_path / 'directory').mkdir()
    (tmp_path / 'device').symlink_to('/dev/null')
    (tmp_path / 'loop').symlink_to('loop')
    before = sorted(os.listdir(str(tmp_path)))
    with pytest.raises(errors.QuantizeError, match=reason) as caught:
        files.write(str(tmp_path), name, b'data')
    assert caught.value.code == errors.INVALID_CONFIG and name in caught.value.detail
    assert sorted(os.listdir(str(tmp_path))) == before
    assert stat.S_ISCHR(os.stat('/dev/null').st_mode)


def test_a_directory_that_can_be_written_to(tmp_path):
    for _ in range(2):
        files.make_directory(str(tmp_path / 'a' / 'b'))
        assert os.listdir(str(tmp_path / 'a')) == ['b'] and os.listdir(str(tmp_path / 'a' / 'b')) == []
    (tmp_path / 'file').write_bytes(b'')
    for path, reason in [(str(tmp_path / 'file' / 'a'), 'Not a directory'), (str(tmp_path / 'file'), 'exists'), ('/proc', '')]:
        with pytest.raises(errors.QuantizeError, match=reason) as caught:
            files.make_directory(path)
        assert caught.value.code == errors.INVALID_CONFIG and repr(path) in caught.value.detail


def test_appending(tmp_path):
    for line in (b'1\n', b'2\n'):
        files.append(str(tmp_path), 'history', line)
    assert (tmp_path / 'history').read_bytes() == b'1\n2\n'
    with pytest.raises(errors.QuantizeError, match='Is a directory'):
        files.append(str(tmp_path), '.', b'3\n')


def test_a_second_name(tmp_path):
    first = files.write(str(tmp_path), 'first', b'data')
    (tmp_path / 'second').write_bytes(b'old')
    for _ in range(2):  # the second time, renaming does nothing
        assert files.link(first, str(tmp_path), 'second')
        assert os.path.samefile(first, str(tmp_path / 'second'))
        assert sorted(os.listdir(str(tmp_path))) == ['first', 'second']
    assert not files.link(first, str(tmp_path / 'nowhere'), 'second')


def test_equal_messages_have_equal_bytes(tmp_path):
    node = tf.NodeDef()
    for key in 'qwertyuiopasdfgh':
        node.attr[key].i = 1
    data = (tmp_path / os.path.basename(files.write_message(str(tmp_path), 'node', node))).read_bytes()
    keys = [data[place + 4:place + 5] for place in range(len(data) - 4) if data[place:place + 1] == b'*']
    assert len(keys) == 16 and keys == sorted(keys)


@pytest.mark.parametrize('failure', [files.EncodeError('Failed to serialize proto'), ValueError('Message exceeds 2GB')])
def test_a_message_that_is_too_large(tmp_path, failure):
    """The failures are those of protobuf in C++ and in Python."""
    class Huge:
        def SerializeToString(self, deterministic):
            raise failure
    with pytest.raises(errors.QuantizeError, match="'model.pb' would have more than 2 GB") as caught:
        files.write_message(str(tmp_path), 'model.pb', Huge())
    assert caught.value.code == errors.UNSUPPORTED_GRAPH and not os.listdir(str(tmp_path))
