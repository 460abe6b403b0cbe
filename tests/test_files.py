"""Files appear whole or not at all, with the mode that users expect, and leave nothing hidden behind."""
import errno
import os
import stat

import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files


def _mode(path):
    return stat.S_IMODE(os.stat(str(path)).st_mode)


@pytest.fixture(params=['nameless', 'named'])
def kind_of_file(request, monkeypatch):
    """Some file systems have no files without a name."""
    if request.param == 'named':
        def link(*_, **__):
            raise OSError(errno.EOPNOTSUPP, 'Operation not supported')
        monkeypatch.setattr(os, 'link', link)


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

    def test_a_link_goes_on_leading_to_its_file(self, tmp_path):
        (tmp_path / 'elsewhere').mkdir()
        (tmp_path / 'link').symlink_to('elsewhere/model.pb')
        for data in (b'first', b'second'):  # the first one makes the file
            files.write(str(tmp_path), 'link', data)
            assert (tmp_path / 'link').is_symlink()
            assert (tmp_path / 'elsewhere' / 'model.pb').read_bytes() == data

    @pytest.mark.parametrize('failure', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt(), SystemExit()])
    @pytest.mark.parametrize('at', ['_fill', 'replace'])
    def test_what_fails_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch, failure, at):
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
def test_where_no_file_can_be(tmp_path, name, reason):
    (tmp_path / 'directory').mkdir()
    (tmp_path / 'device').symlink_to('/dev/null')
    (tmp_path / 'loop').symlink_to('loop')
    before = sorted(os.listdir(str(tmp_path)))
    with pytest.raises(errors.QuantizeError, match=reason) as caught:
        files.write(str(tmp_path), name, b'data')
    assert caught.value.code == errors.INVALID_CONFIG and name in caught.value.detail
    assert sorted(os.listdir(str(tmp_path))) == before
    assert stat.S_ISCHR(os.stat('/dev/null').st_mode)


def test_appending(tmp_path):
    for line in (b'1\n', b'2\n'):
        files.append(str(tmp_path), 'history', line)
    assert (tmp_path / 'history').read_bytes() == b'1\n2\n'
    with pytest.raises(errors.QuantizeError, match='Is a directory'):
        files.append(str(tmp_path), '.', b'3\n')


def test_a_second_name(tmp_path):
    first = files.write(str(tmp_path), 'first', b'data')
    (tmp_path / 'second').write_bytes(b'old')
    for _ in range(2):  # where it is that file already, renaming does nothing
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


def test_a_message_that_no_file_can_have(tmp_path):
    class Huge:
        def SerializeToString(self, deterministic):
            raise files.EncodeError('Failed to serialize proto')
    with pytest.raises(errors.QuantizeError, match="'model.pb' would have more than 2 GB") as caught:
        files.write_message(str(tmp_path), 'model.pb', Huge())
    assert caught.value.code == errors.UNSUPPORTED_GRAPH and not os.listdir(str(tmp_path))
