"""The files of a dump: safe names, values in binary and as text, and several names for one file."""
import hashlib
import json
import os
import re
import shutil
import tempfile
from typing import Any, Dict, Iterable, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files
from vai_q_tf.wording import some_of

INDEX = 'dump_results.json'
WEIGHTS = 'dump_results_weights'
BATCH_FOLDER = re.compile(r'dump_results_(\d+)$')
_LONGEST = 200  # bytes of a stem; file systems allow 255 for a name
_SUFFIXES = ('', '_float', '_int8', '_int16', '_int32')
_INT8_LINES = [b'%d\n' % value for value in list(range(128)) + list(range(-128, 0))]  # indexed by the byte


class FileNames:
    """{tensor: stem of its file names}, in characters that every file system accepts; no two tensors share a file.

    Every character except letters, digits, '.', '_' and '-' becomes '_'. A stem that is too long or taken is cut, and digits of
    a hash of the tensor's name are appended. Stems that differ only in case count as equal.
    """

    def __init__(self, tensors: Iterable[str]) -> None:
        self._stems: Dict[str, str] = {}
        self._taken: Set[str] = set()
        for tensor in tensors:
            self._stems[tensor] = self._stem(tensor)

    def __getitem__(self, tensor: str) -> str:
        return self._stems[tensor]

    def _stem(self, tensor: str) -> str:
        stem, digest = re.sub(r'[^A-Za-z0-9._-]', '_', tensor), hashlib.sha1(tensor.encode()).hexdigest()
        if len(stem) <= _LONGEST and self._take(stem):
            return stem
        for length in range(8, len(digest) + 1, 8):
            changed = '{}_{}'.format(stem[:_LONGEST - 1 - length], digest[:length])
            if self._take(changed):
                return changed
        raise AssertionError(tensor)

    def _take(self, stem: str) -> bool:
        names = {(stem + suffix).lower() for suffix in _SUFFIXES}
        if self._taken.isdisjoint(names):
            self._taken |= names
            return True
        return False


class Folders:
    """The directory of a dump; a context manager. Files appear in it at the end, and only if there was no error."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._made: Set[str] = set()

    def __enter__(self) -> 'Folders':
        files.make_directory(self._directory)
        self._staged = tempfile.mkdtemp(prefix='.dump-', dir=self._directory)
        return self

    def __exit__(self, kind: Optional[type], *error: Any) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self._staged, ignore_errors=True)

    def _publish(self) -> None:
        """Moves all files, the index last."""
        for folder in self._made:
            files.make_directory(os.path.join(self._directory, folder))
        written = set()
        for folder in sorted(self._made) + ['']:
            source, target = os.path.join(self._staged, folder), os.path.join(self._directory, folder)
            for name in os.listdir(source):
                if name not in self._made:
                    _move(os.path.join(source, name), os.path.join(target, name))
                    written.add(os.path.join(folder, name))
        self._warn_of_others(written)

    def _warn_of_others(self, written: Set[str]) -> None:
        """Other files may be from a board, so they stay."""
        folders = [entry for entry in os.scandir(self._directory)
                   if (BATCH_FOLDER.match(entry.name) or entry.name == WEIGHTS) and entry.is_dir()]
        others = sorted({os.path.join(folder.name, name) for folder in folders for name in os.listdir(folder.path)} - written)
        if others:
            tf.logging.warning('%r keeps files of another dump, which compare takes for further batches: %s. Delete those that '
                               'you do not need, or give another output_dir.', self._directory, some_of(others))

    def write(self, array: np.ndarray, names: Sequence[Tuple[str, str]]) -> None:
        """Writes the array as <name>.bin, little endian in C order, and as <name>.txt, one value per line.

        names: [(folder, name without extension)]; all but the first are hard links, or copies if the file system has no links.
        """
        for extension, data in (('.bin', _binary(array)), ('.txt', _text(array))):
            path = None
            for folder, name in names:
                directory = self._folder(folder)
                if path is None or not files.link(path, directory, name + extension):
                    path = files.write(directory, name + extension, data)

    def write_index(self, index: Dict[str, Dict]) -> None:
        """Writes the records {tensor: {...}} as the INDEX."""
        files.write(self._staged, INDEX, (json.dumps(index, indent=1) + '\n').encode())

    def _folder(self, folder: str) -> str:
        path = os.path.join(self._staged, folder)
        if folder not in self._made:
            files.make_directory(path)
            self._made.add(folder)
        return path


def _move(source: str, target: str) -> None:
    try:
        os.replace(source, target)
        if os.path.exists(source):  # renaming a link onto another link to the same file does nothing
            os.unlink(source)
    except OSError as error:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot write', '{!r}: {}.'.format(target, error.strerror)) from error


def _binary(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder('<')).tobytes()


def _text(array: np.ndarray) -> bytes:
    values = np.ravel(array)
    if values.dtype == np.int8:
        return b''.join(map(_INT8_LINES.__getitem__, values.tobytes()))
    if values.dtype == np.bool_:
        values = values.astype(np.int8)
    form = '%d\n' if values.dtype.kind in 'iu' else '%.17g\n' if values.dtype == np.float64 else '%.9g\n'
    return ''.join(form % value for value in values.tolist()).encode()
