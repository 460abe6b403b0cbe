"""Files appear whole or not at all."""
import contextlib
import errno
import os
import stat
import tempfile
import uuid

from google.protobuf.message import EncodeError  # type: ignore

from vai_q_tf import errors


def make_directory(path):
    """Makes the directory `path`, with its parents; a QuantizeError INVALID_CONFIG where that, or writing there, fails."""
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot write',
                                   'output_dir {!r}: {}.'.format(path, error.strerror)) from error


def write(directory, name, data):
    """Writes `data` without a name first, then as `name`; returns its path.

    data: bytes, or what gives pieces of them each time that it is iterated over.

    A file that is there keeps its mode, and a symbolic link goes on leading to it; a new one has the mode that the umask gives.

    Raises:
      QuantizeError: INVALID_CONFIG where that fails, as on a full disk. What was there before is still there.
    """
    path = os.path.join(directory, name)
    with _coded(path):
        _write(os.path.realpath(path), data)
    return path


def write_message(directory, name, message):
    """As `write`, of a protocol buffer message; equal messages give equal bytes.

    Raises:
      QuantizeError: as `write`; UNSUPPORTED_GRAPH for more than the two gigabytes that a protocol buffer can have.
    """
    return write(directory, name, to_bytes(name, message))


def to_bytes(name, message):
    """The bytes of a protocol buffer message for the file `name`; raises and promises what `write_message` does."""
    try:
        return message.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise too_large(name) from error


def too_large(name):
    """The QuantizeError for a protocol buffer message with more bytes than the file `name` can have."""
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Too large', '{!r} would have more than 2 GB, which no file of this format can have; '
        'quantize a part of the network.'.format(name))


def append(directory, name, data):
    """Adds the bytes `data` to the end of a file; a QuantizeError INVALID_CONFIG where that fails."""
    path = os.path.join(directory, name)
    with _coded(path), open(path, 'ab') as stream:
        stream.write(data)


def link(path, directory, name):
    """Makes `name` a hard link to the file `path`; False where the file system has none."""
    temporary = _unused_name(directory)
    try:
        os.link(path, temporary)
        os.replace(temporary, os.path.join(directory, name))
    except OSError:
        return False
    finally:
        _remove(temporary)  # renaming a link to another of the same file does nothing
    return True


@contextlib.contextmanager
def _coded(path):
    try:
        yield
    except OSError as error:
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Cannot write', '{!r}: {}. What was there before is still there; choose another '
            'directory, or make room in this one.'.format(path, error.strerror)) from error


def _write(path, data):
    directory, mode, temporary = os.path.dirname(path), _mode(path), _unused_name(os.path.dirname(path))
    try:
        try:
            with open(os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o666), 'wb') as stream:
                _fill(stream, data, mode)
                os.link('/proc/self/fd/{}'.format(stream.fileno()), temporary, src_dir_fd=stream.fileno())
        except OSError:  # not all file systems have files without a name
            with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), 'wb') as stream:
                _fill(stream, data, mode)
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _mode(path):
    """The mode of the file, None where there is none; an OSError for what is no file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(errno.EEXIST, 'Not a regular file')
    return stat.S_IMODE(mode)


def _fill(stream, data, mode):
    stream.writelines([data] if isinstance(data, bytes) else data)
    stream.flush()
    if mode is not None:
        os.fchmod(stream.fileno(), mode)


def _unused_name(directory):
    return os.path.join(directory, '.' + uuid.uuid4().hex)


def _remove(path):
    with contextlib.suppress(OSError):
        os.unlink(path)
