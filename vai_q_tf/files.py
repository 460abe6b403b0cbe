"""Files appear whole or not at all."""
import os
import tempfile

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
    """Writes the bytes `data` under a temporary name and renames it to `name`; returns its path.

    Raises:
      QuantizeError: INVALID_CONFIG where that fails, as on a full disk. What was there before is still there.
    """
    path = os.path.join(directory, name)
    try:
        _write(directory, path, data)
    except OSError as error:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot write', '{!r}: {}.'.format(path, error.strerror)) from error
    return path


def _write(directory, path, data):
    handle, temporary = tempfile.mkstemp(prefix='.', dir=directory)
    try:
        with os.fdopen(handle, 'wb') as stream:
            stream.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
