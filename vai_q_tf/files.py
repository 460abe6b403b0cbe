"""Writes files that appear whole or not at all."""
import contextlib
import errno
import os
import stat
import tempfile
import uuid
from typing import BinaryIO, Iterable, Iterator, Optional, Union

from google.protobuf.message import EncodeError, Message

from vai_q_tf import errors

# The pieces are iterated again if writing has to start anew.
_Data = Union[bytes, Iterable[bytes]]


def make_directory(path: str) -> None:
    """Creates the directory `path` and its parents.

    Raises:
      QuantizeError: INVALID_CONFIG, it cannot be created or written to.
    """
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot write',
                                   'output_dir {!r}: {}.'.format(path, error.strerror)) from error


def write(directory: str, name: str, data: _Data) -> str:
    """Writes `data` to a nameless file that then replaces `name`, and returns the path.

    An existing file keeps its mode, and a symbolic link still leads to it; the mode of a new file depends on the umask.

    Raises:
      QuantizeError: INVALID_CONFIG, writing fails, for example because the disk is full. An existing file is unchanged.
    """
    path = os.path.join(directory, name)
    with _coded(path):
        _write(os.path.realpath(path), data)
    return path


def write_message(directory: str, name: str, message: Message) -> str:
    """Writes a protocol buffer message as `write` does, and returns the path; equal messages have equal bytes.

    Raises:
      QuantizeError: as `write`; UNSUPPORTED_GRAPH, more than the two gigabytes that a protocol buffer can have.
    """
    return write(directory, name, to_bytes(name, message))


def to_bytes(name: str, message: Message) -> bytes:
    """The bytes that `write_message` writes to the file `name`, with its error UNSUPPORTED_GRAPH."""
    try:
        return message.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise too_large(name) from error


def too_large(name: str) -> errors.QuantizeError:
    """The QuantizeError for a protocol buffer message of more bytes than the file `name` can have."""
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Too large', '{!r} would have more than 2 GB, which no file of this format can have; '
        'quantize a part of the network.'.format(name))


def append(directory: str, name: str, data: bytes) -> None:
    """Appends `data` to a file.

    Raises:
      QuantizeError: INVALID_CONFIG, writing fails.
    """
    path = os.path.join(directory, name)
    with _coded(path), open(path, 'ab') as stream:
        stream.write(data)


def link(path: str, directory: str, name: str) -> bool:
    """Makes `name` a hard link to the file `path`; False if the file system has no hard links."""
    temporary = _unused_name(directory)
    try:
        os.link(path, temporary)
        os.replace(temporary, os.path.join(directory, name))
    except OSError:
        return False
    finally:
        _remove(temporary)  # os.replace leaves it there if `name` is a link to the same file already
    return True


@contextlib.contextmanager
def _coded(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Cannot write', '{!r}: {}. An existing file is unchanged; choose another directory, or make '
            'room in this one.'.format(path, error.strerror)) from error


def _write(path: str, data: _Data) -> None:
    temporary = _unused_name(os.path.dirname(path))
    try:
        _write_new(temporary, data, _mode(path))
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _write_new(path: str, data: _Data, mode: Optional[int]) -> None:
    """Writes a file that has no name until it is complete, if the file system has nameless files."""
    try:
        with open(os.open(os.path.dirname(path), os.O_TMPFILE | os.O_WRONLY, 0o666), 'wb') as stream:
            _fill(stream, data, mode)
            os.link('/proc/self/fd/{}'.format(stream.fileno()), path, src_dir_fd=stream.fileno())
    except OSError:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), 'wb') as stream:
            _fill(stream, data, mode)


def _mode(path: str) -> Optional[int]:
    """The mode of the file, None if there is none; an OSError if it is not a regular file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(errno.EEXIST, 'Not a regular file')
    return stat.S_IMODE(mode)


def _fill(stream: BinaryIO, data: _Data, mode: Optional[int]) -> None:
    stream.writelines([data] if isinstance(data, bytes) else data)
    stream.flush()
    if mode is not None:
        os.fchmod(stream.fileno(), mode)


def _unused_name(directory: str) -> str:
    return os.path.join(directory, '.' + uuid.uuid4().hex)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
