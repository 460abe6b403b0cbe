"""The files of a dump: safe names, values as binary and as text, and the same file under several names."""
import hashlib
import json
import os
import re

import numpy as np

from vai_q_tf import files

_LONGEST = 200  # bytes of a stem; file systems allow 255 for a name
_SUFFIXES = ('', '_float', '_int8', '_int16', '_int32')
_INT8_LINES = [b'%d\n' % value for value in list(range(128)) + list(range(-128, 0))]  # by the byte


class FileNames:
    """A stem for each tensor, of letters that every file system takes; no file of one is that of another.

    '/' and whatever else is not a letter, digit, '.', '_' or '-' become '_'. A stem that is too long or taken gets eight
    digits of a hash of the tensor's name after it. Upper and lower case do not tell stems apart.
    """

    def __init__(self, tensors):
        self._stems, self._taken = {}, set()
        for tensor in tensors:
            self._stems[tensor] = self._stem(tensor)

    def __getitem__(self, tensor):
        return self._stems[tensor]

    def _stem(self, tensor):
        stem, digest = re.sub(r'[^A-Za-z0-9._-]', '_', tensor), hashlib.sha1(tensor.encode()).hexdigest()
        if len(stem) <= _LONGEST and self._take(stem):
            return stem
        for length in range(8, len(digest) + 1, 8):
            changed = '{}_{}'.format(stem[:_LONGEST - 1 - length], digest[:length])
            if self._take(changed):
                return changed
        raise AssertionError(tensor)

    def _take(self, stem):
        names = {(stem + suffix).lower() for suffix in _SUFFIXES}
        if self._taken.isdisjoint(names):
            self._taken |= names
            return True
        return False


class Folders:
    """The directory of a dump, whose folders are made when the first file comes."""

    def __init__(self, directory):
        files.make_directory(directory)
        self._directory, self._made = directory, set()

    def write(self, array, names):
        """Writes the array as <name>.bin, little endian in C order, and as <name>.txt, a value a line.

        names: [(folder, name without extension)]; after the first they are hard links, copies where there are none.
        """
        for extension, data in (('.bin', _binary(array)), ('.txt', _text(array))):
            path = None
            for folder, name in names:
                directory = self._folder(folder)
                if path is None or not files.link(path, directory, name + extension):
                    path = files.write(directory, name + extension, data)

    def write_index(self, index):
        """Writes the dict as dump_results.json."""
        files.write(self._directory, 'dump_results.json', (json.dumps(index, indent=1) + '\n').encode())

    def _folder(self, folder):
        path = os.path.join(self._directory, folder)
        if folder not in self._made:
            files.make_directory(path)
            self._made.add(folder)
        return path


def _binary(array):
    return array.astype(array.dtype.newbyteorder('<')).tobytes()


def _text(array):
    values = np.ravel(array)
    if values.dtype == np.int8:
        return b''.join(map(_INT8_LINES.__getitem__, values.tobytes()))
    if values.dtype == np.bool_:
        values = values.astype(np.int8)
    if values.dtype.kind in 'iu':
        lines = map(str, values.tolist())
    else:
        digits = '%.17g' if values.dtype == np.float64 else '%.9g'
        lines = (digits % value for value in values.tolist())
    return ''.join(line + '\n' for line in lines).encode()
