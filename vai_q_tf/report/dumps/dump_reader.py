"""Reads a dump: one of `dump`, with its index, or one of other tools and of boards, of which the names of files tell all."""
import itertools
import json
import os
import re
from typing import List, NamedTuple, Optional

import numpy as np

from vai_q_tf import errors, fixed_point
from vai_q_tf.report.dumps.dump_files import BATCH_FOLDER, INDEX, WEIGHTS

_FILE = re.compile(r'(.+?)(?:_(int8|int16|int32|float))?\.(bin|txt)$')
_TYPES = ('int8', 'int16', 'int32')


class DumpedTensor(NamedTuple):
    """A quantized tensor of a dump. stem: its file without folder, ending and type.

    What a dump without an index does not tell is None: bits, position, and shape, that in the first batch.
    """
    stem: str
    bits: Optional[int]
    position: Optional[int]
    shape: Optional[List[int]]
    is_weight: bool


def is_dump(path):
    """Whether the path is a folder that holds a dump, or the files of a batch."""
    return any(name == INDEX or BATCH_FOLDER.match(name) or name == WEIGHTS or name.endswith('.bin') for name in _listing(path))


class DumpReader:
    """The quantized tensors of a dump.

    tensors: {name: DumpedTensor}, in the order of the index. Without an index, where `has_index` is False, names are stems,
    sorted. batches: how many batches there are.

    Raises:
      QuantizeError: INVALID_INPUT naming the file, for an index that cannot be read and a folder without tensors.
    """

    def __init__(self, directory):
        self._directory = directory
        self._weights, self._batches, self._plain = self._listed()
        self.has_index = os.path.exists(os.path.join(directory, INDEX))
        self.tensors = self._indexed() if self.has_index else self._unindexed()
        stems = {tensor.stem for tensor in self.tensors.values()}
        self.batches = next(number for number in itertools.count() if stems.isdisjoint(self._batches.get(number, ())))
        if not self.tensors:
            raise self._wrong('Nothing to read', '{!r} has no file of a quantized tensor; give the folder that has {} or the '
                              'folders dump_results_<n>'.format(directory, INDEX))

    def path(self, name, batch):
        """The file of a tensor of that batch (from 0); a QuantizeError INVALID_INPUT where there is none."""
        return self._file(self.tensors[name].stem, batch)[0]

    def read(self, name, batch, bits=8):
        """The integers of a tensor; flat where its shape is not known. bits: those that it has where the dump does not tell.

        Raises:
          QuantizeError: INVALID_INPUT naming the file that is not there, has another size than its tensor, or other words; or
            both files of a tensor that is there under two names, with other values in each.
        """
        tensor = self.tensors[name]
        path, dtype = self._file(tensor.stem, batch)
        self._check_others(tensor.stem, batch, path)
        bits = bits if tensor.bits is None else tensor.bits
        dtype = np.dtype(dtype or ('int8' if bits <= 8 else 'int16' if bits <= 16 else 'int32'))
        values = _read_text(path, dtype) if path.endswith('.txt') else _read_binary(path, dtype)
        if tensor.shape is None:
            return values
        shape = list(tensor.shape)
        if batch and shape and not tensor.is_weight:  # later ones may be larger or smaller
            one = int(np.prod(shape[1:]))
            shape[0] = values.size // one if one else shape[0]
        if values.size != np.prod(shape, dtype=np.int64):
            raise self._wrong('Wrong size', '{!r} has {} values of type {}; {} says that the shape is {}. The file is cut off, '
                              'or of another dump'.format(path, values.size, dtype.name, INDEX, tensor.shape))
        return values.reshape(shape)

    def _file(self, stem, batch):
        """(path, name of the type or None) of the file of a batch."""
        found = self._found(stem, batch)
        if found:
            return found[0]
        raise self._wrong('Not found', 'In {!r} is no file of {!r} for batch {} (from 0), such as {!r}'.format(
            self._directory, stem, batch, os.path.join('dump_results_{}'.format(batch), stem + '.bin')))

    def _found(self, stem, batch):
        """[(path, name of the type or None)] of all files of a batch: there may be one for each of two kinds of readers."""
        kinds = (self._batches.get(batch, {}), self._plain.get(batch, {}), self._weights)
        return [files[stem] for files in kinds if stem in files]

    def _check_others(self, stem, batch, path):
        for other, _ in self._found(stem, batch)[1:]:
            if other.endswith('.bin') and path.endswith('.bin') and other != path and not os.path.samefile(other, path) \
                    and _content(other) != _content(path):
                raise self._wrong('Two versions', '{!r} and {!r} stand for one tensor of one batch, and have other values. '
                                  'Delete the one that is not meant; `dump` writes both alike'.format(other, path))

    def _listed(self):
        """({stem: (path, type)} of the weights, {batch: the same}, the same of those without a type in their names).

        Files whose names have a type count batches from 1 in their folders, and the others from 0: see the head of `dump`. A
        tool that writes one kind alone may begin where it likes.
        """
        folders = {int(found.group(1)): found.group() for found in map(BATCH_FOLDER.match, _listing(self._directory)) if found}
        typed = {number: self._files(folder, True) for number, folder in folders.items()}
        plain = {number: self._files(folder, False) for number, folder in folders.items()}
        if not folders:
            return self._files(WEIGHTS, None), {0: self._files('', None)}, {}
        typed, plain = ({number: found for number, found in kind.items() if found} for kind in (typed, plain))
        batches, untyped = {}, {}
        for kind, is_only in ((plain, not typed), (typed, True)):
            first = min(kind, default=0) if is_only else 0
            for number, found in kind.items():
                batches.setdefault(number - first, {}).update(found)
                if kind is plain:
                    untyped[number - first] = found
        return self._files(WEIGHTS, None), batches, untyped

    def _files(self, folder, typed):
        """{stem: (path, type)} of a folder. typed: whether those with a type in their names, or the others; None: all."""
        found = {}
        for name in sorted(_listing(os.path.join(self._directory, folder)), reverse=True):  # .txt before .bin
            parts = _FILE.match(name)
            if parts and parts.group(2) != 'float' and typed in (None, bool(parts.group(2))):
                found[parts.group(1)] = os.path.join(self._directory, folder, name), parts.group(2)
        return found

    def _unindexed(self):
        stems = sorted(set(self._weights).union(*self._batches.values()))
        return {stem: DumpedTensor(stem, None, None, None, stem in self._weights) for stem in stems}

    def _indexed(self):
        path = os.path.join(self._directory, INDEX)
        try:
            with open(path, encoding='utf-8') as stream:
                index = json.load(stream)
            found = {}
            for name, record in index.items():
                if record['type'] in _TYPES and record.get('bits') is not None:
                    found[name] = _tensor(record, record['file'] in self._weights)
            return found
        except OSError as error:
            raise self._wrong('Not found', 'Cannot read {!r}: {}'.format(path, error.strerror)) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._wrong('Damaged index', '{!r} is not what `vai_q_tensorflow dump` writes ({}: {}). Without the file the '
                              'names of the others are read alone'.format(path, type(error).__name__, error)) from error

    def _wrong(self, summary, detail):
        return errors.QuantizeError(errors.INVALID_INPUT, summary, detail + '.')


def _tensor(record, is_weight):
    shape, bits, position = record['shape'], record['bits'], record['position']
    if not isinstance(record['file'], str) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError('file {!r}, shape {!r}'.format(record['file'], shape))
    if not 1 <= bits <= fixed_point.MAX_BITS or not fixed_point.POSITION_MIN <= position <= fixed_point.POSITION_ZERO:
        raise ValueError('bits {!r}, position {!r}'.format(bits, position))
    return DumpedTensor(record['file'], int(bits), int(position), list(shape), is_weight)


def _listing(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read_binary(path, dtype):
    data = _content(path)
    if len(data) % dtype.itemsize:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Wrong size', '{!r} has {} bytes, which is no whole number of {}; the '
                                   'file is cut off, or of another type.'.format(path, len(data), dtype.name))
    return np.frombuffer(data, dtype.newbyteorder('<'))


def _read_text(path, dtype):
    words = _content(path).split()
    try:
        values = np.array(words, dtype=np.float64)
        with np.errstate(invalid='ignore'):
            integers = values.astype(dtype)
        if np.array_equal(integers, values):
            return integers
    except ValueError:
        pass
    raise errors.QuantizeError(
        errors.INVALID_INPUT, 'Wrong values', '{!r} has {!r}, which is not of type {}; expected an integer a line.'.format(
            path, _first_wrong(words, dtype), dtype.name))


def _first_wrong(words, dtype):
    for word in words:
        try:
            if np.dtype(dtype).type(int(word)) == int(word):
                continue
        except (ValueError, OverflowError):
            pass
        return word.decode(errors='replace')[:40]
    return ''


def _content(path):
    try:
        with open(path, 'rb') as stream:
            return stream.read()
    except OSError as error:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Not found', 'Cannot read {!r}: {}.'.format(
            path, error.strerror)) from error
