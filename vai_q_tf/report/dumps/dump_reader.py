"""Reads a dump: one of `dump`, with its index, or one of another tool or a board, which has only the names of its files."""
import itertools
import json
import os
import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from vai_q_tf import errors, fixed_point
from vai_q_tf.report.dumps.dump_files import BATCH_FOLDER, INDEX, WEIGHTS

_FILE = re.compile(r'(.+?)(?:_(int8|int16|int32|float))?\.(bin|txt)$')
_TYPES = ('int8', 'int16', 'int32')


class DumpedTensor(NamedTuple):
    """A quantized tensor of a dump. stem: its file name without type and extension.

    Without an index, bits, position and shape (in the first batch) are None.
    """
    stem: str
    bits: Optional[int]
    position: Optional[int]
    shape: Optional[List[int]]
    is_weight: bool


def is_dump(path: str) -> bool:
    """Whether the path is a folder with a dump, or with the files of one batch."""
    return any(name == INDEX or BATCH_FOLDER.match(name) or name == WEIGHTS or name.endswith('.bin') for name in _listing(path))


class _File(NamedTuple):
    """A file of a tensor. stem, type: the parts of its name; the type may be missing."""
    stem: str
    path: str
    type: Optional[str]


_Files = Dict[str, _File]  # {stem: file}


class DumpReader:
    """The quantized tensors of a dump.

    tensors: {name: DumpedTensor}, in the order of the index. Without an index (`has_index` is False) names are stems, sorted.
    batches: the number of batches.

    Raises:
      QuantizeError: INVALID_INPUT naming the file, for an index that cannot be read and a folder without tensors.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._weights = _by_stem(self._files(WEIGHTS))
        self._batches, self._plain = self._find_batches()
        self.has_index = os.path.exists(os.path.join(directory, INDEX))
        self.tensors = self._indexed() if self.has_index else self._unindexed()
        stems = {tensor.stem for tensor in self.tensors.values()}
        self.batches = next(number for number in itertools.count() if stems.isdisjoint(self._batches.get(number, ())))
        if not self.tensors:
            raise self._wrong('Nothing to read', '{!r} has no file of a quantized tensor; give the folder that has {} or the '
                              'folders dump_results_<n>'.format(directory, INDEX))

    def path(self, name: str, batch: int) -> str:
        """The file of a tensor in a batch (from 0); a QuantizeError INVALID_INPUT if there is none."""
        return self._file(self.tensors[name].stem, batch).path

    def read(self, name: str, batch: int, bits: int = 8) -> np.ndarray:
        """The integers of a tensor; flat if the dump does not say its shape. bits: used if the dump does not say them.

        Raises:
          QuantizeError: INVALID_INPUT naming the file that is missing, has another size than its tensor, or other words; or
            both files of a tensor that has two, with different values.
        """
        tensor = self.tensors[name]
        file = self._file(tensor.stem, batch)
        bits = bits if tensor.bits is None else tensor.bits
        dtype = np.dtype(file.type or ('int8' if bits <= 8 else 'int16' if bits <= 16 else 'int32'))
        self._check_others(file, batch, dtype)
        values = _read(file.path, dtype)
        return values if tensor.shape is None else self._reshaped(values, tensor, batch, file.path)

    def _reshaped(self, values: np.ndarray, tensor: DumpedTensor, batch: int, path: str) -> np.ndarray:
        shape = list(tensor.shape or ())
        if batch and shape and not tensor.is_weight:  # the shape is that of the first batch
            one = int(np.prod(shape[1:]))
            shape[0] = values.size // one if one else shape[0]
        if values.size != np.prod(shape, dtype=np.int64):
            raise self._wrong('Wrong size', '{!r} has {} values of type {}; {} says that the shape is {}. The file is cut off, '
                              'or of another dump'.format(path, values.size, values.dtype.name, INDEX, tensor.shape))
        return values.reshape(shape)

    def _file(self, stem: str, batch: int) -> _File:
        found = self._found(stem, batch)
        if found:
            return found[0]
        raise self._wrong('Not found', '{!r} has no file of {!r} for batch {} (from 0), such as {!r}{}'.format(
            self._directory, stem, batch, os.path.join('dump_results_{}'.format(batch), stem + '.bin'),
            '. Delete {} to compare only the files that are there'.format(INDEX) if self.has_index else ''))

    def _found(self, stem: str, batch: int) -> List[_File]:
        """All files of a tensor in a batch: there may be one for each of the two kinds of readers."""
        kinds = (self._batches.get(batch, {}), self._plain.get(batch, {}), self._weights)
        return [files[stem] for files in kinds if stem in files]

    def _check_others(self, file: _File, batch: int, dtype: np.dtype) -> None:
        for other in self._found(file.stem, batch)[1:]:
            if _differ(other.path, file.path, dtype):
                raise self._wrong('Two versions', '{!r} and {!r} are the same tensor of the same batch, with different values. '
                                  'Delete the wrong one; `dump` writes both alike'.format(other.path, file.path))

    def _find_batches(self) -> Tuple[Dict[int, _Files], Dict[int, _Files]]:
        """({batch: files}, {batch: files without a type in their names}); the first prefers files with a type.

        Files with a type in their names count batches from 1 in their folders, the others from 0: see the docstring of `dump`.
        A tool that writes only one kind may start anywhere.
        """
        folders = {int(found.group(1)): found.group() for found in map(BATCH_FOLDER.match, _listing(self._directory)) if found}
        if not folders:
            return {0: _by_stem(self._files(''))}, {}
        files = {number: self._files(folder) for number, folder in folders.items()}
        typed = {number: [file for file in found if file.type] for number, found in files.items()}
        plain = {number: [file for file in found if not file.type] for number, found in files.items()}
        plain_batches = _numbered(plain, any(typed.values()))
        typed_batches = _numbered(typed, False)
        batches = {number: dict(plain_batches.get(number, {}), **typed_batches.get(number, {}))
                   for number in set(plain_batches).union(typed_batches)}
        return batches, plain_batches

    def _files(self, folder: str) -> List[_File]:
        """The files of quantized tensors in a folder, .txt before .bin."""
        names = sorted(_listing(os.path.join(self._directory, folder)), reverse=True)
        return [_File(parts.group(1), os.path.join(self._directory, folder, parts.group()), parts.group(2))
                for parts in map(_FILE.match, names) if parts and parts.group(2) != 'float']

    def _unindexed(self) -> Dict[str, DumpedTensor]:
        stems = sorted(set(self._weights).union(*self._batches.values()))
        return {stem: DumpedTensor(stem, None, None, None, stem in self._weights) for stem in stems}

    def _indexed(self) -> Dict[str, DumpedTensor]:
        path = os.path.join(self._directory, INDEX)
        try:
            with open(path, encoding='utf-8') as stream:
                index = json.load(stream)
            return {name: _tensor(record, record['file'] in self._weights) for name, record in index.items()
                    if record['type'] in _TYPES and record.get('bits') is not None}
        except OSError as error:
            raise self._wrong('Not found', 'Cannot read {!r}: {}'.format(path, error.strerror)) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._wrong('Damaged index', '{!r} is not an index of `vai_q_tensorflow dump` ({}: {}). Without it the '
                              'other files are read by their names'.format(path, type(error).__name__, error)) from error

    def _wrong(self, summary: str, detail: str) -> errors.QuantizeError:
        return errors.QuantizeError(errors.INVALID_INPUT, summary, detail + '.')


def _by_stem(files: Iterable[_File]) -> _Files:
    return {file.stem: file for file in files}


def _numbered(folders: Dict[int, List[_File]], from_zero: bool) -> Dict[int, _Files]:
    """{batch: files} of the folders that have some; the first one is batch 0, or with `from_zero` folder 0 is."""
    found = {number: _by_stem(files) for number, files in folders.items() if files}
    first = 0 if from_zero else min(found, default=0)
    return {number - first: files for number, files in found.items()}


def _tensor(record: Dict, is_weight: bool) -> DumpedTensor:
    shape, bits, position = record['shape'], record['bits'], record['position']
    if not isinstance(record['file'], str) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError('file {!r}, shape {!r}'.format(record['file'], shape))
    if not 1 <= bits <= fixed_point.MAX_BITS or not fixed_point.POSITION_MIN <= position <= fixed_point.POSITION_ZERO:
        raise ValueError('bits {!r}, position {!r}'.format(bits, position))
    return DumpedTensor(record['file'], int(bits), int(position), list(shape), is_weight)


def _listing(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _differ(one: str, other: str, dtype: np.dtype) -> bool:
    """Whether two files of a tensor have different values."""
    if one == other or os.path.samefile(one, other):
        return False
    if one.endswith('.bin') and other.endswith('.bin'):
        return _content(one) != _content(other)
    return not np.array_equal(_read(one, dtype), _read(other, dtype))


def _read(path: str, dtype: np.dtype) -> np.ndarray:
    return _read_text(path, dtype) if path.endswith('.txt') else _read_binary(path, dtype)


def _read_binary(path: str, dtype: np.dtype) -> np.ndarray:
    data = _content(path)
    if len(data) % dtype.itemsize:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Wrong size', '{!r} has {} bytes, which is not a whole number of {}; '
                                   'the file is cut off, or of another type.'.format(path, len(data), dtype.name))
    return np.frombuffer(data, dtype.newbyteorder('<'))


def _read_text(path: str, dtype: np.dtype) -> np.ndarray:
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
        errors.INVALID_INPUT, 'Wrong values', '{!r} has {!r}, which is not of type {}; expected one integer per line.'.format(
            path, _first_wrong(words, dtype), dtype.name))


def _first_wrong(words: Sequence[bytes], dtype: np.dtype) -> str:
    for word in words:
        try:
            if np.dtype(dtype).type(int(word)) == int(word):
                continue
        except (ValueError, OverflowError):
            pass
        return word.decode(errors='replace')[:40]
    return ''


def _content(path: str) -> bytes:
    try:
        with open(path, 'rb') as stream:
            return stream.read()
    except OSError as error:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Not found', 'Cannot read {!r}: {}.'.format(
            path, error.strerror)) from error
