"""Reads checkpoints; damaged or missing files are an error that names them."""
import contextlib
from typing import Dict, Iterable, Iterator, List

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors

# The format of an index, leveldb's table: each block has a trailer, and the footer has the places of two blocks.
_FOOTER, _TRAILER = 48, 5  # bytes
_MAGIC = b'\x57\xfb\x80\x8b\x24\x75\x47\xdb'
_PATTERN = frozenset('*?[\\')


class CheckpointReader:
    """Reads the tensors of a checkpoint, as tf.train.load_checkpoint does.

    Args:
      prefix: prefix of the checkpoint.

    Attributes:
      prefix: that prefix.

    Raises:
      QuantizeError: INVALID_INPUT naming the checkpoint if its files are damaged or missing; the methods raise it, too.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        if _PATTERN.intersection(prefix) and prefix + '.index' not in tf.io.gfile.glob(prefix + '.index'):
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'Not found', 'TensorFlow takes the path of the checkpoint {!r} for a pattern. Give it a '
                'path without any of * ? [ and \\.'.format(prefix))
        with reading(prefix):
            _check_index(prefix + '.index')
            self._reader = tf.train.load_checkpoint(prefix)
            self._shapes = self._reader.get_variable_to_shape_map()
            self._dtypes = self._reader.get_variable_to_dtype_map()

    def has_tensor(self, name: str) -> bool:
        """Whether the checkpoint has a tensor."""
        return name in self._dtypes

    def get_tensor(self, name: str) -> np.ndarray:
        """The value of a tensor of the checkpoint."""
        with reading(self.prefix, name):
            return self._reader.get_tensor(name)

    def dtypes(self) -> Dict[str, tf.DType]:
        """{name of a tensor: its tf.DType}."""
        return self._dtypes

    def shapes(self) -> Dict[str, List[int]]:
        """{name of a tensor: its shape}."""
        return self._shapes

    def check(self, names: Iterable[str]) -> None:
        """Reads the tensors of these names that the checkpoint has, so that damage is found before they are restored."""
        for name in names:
            if self.has_tensor(name):
                self.get_tensor(name)

    def damaged(self, what: str) -> errors.QuantizeError:
        """The QuantizeError for a checkpoint with impossible contents, described by `what`."""
        return _damaged(self.prefix, what)


@contextlib.contextmanager
def reading(prefix: str, name: str = '') -> Iterator[None]:
    """Turns TensorFlow's errors about the files of a checkpoint, or about the tensor `name` in it, into QuantizeErrors."""
    try:
        yield
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        text = str(getattr(error, 'message', error)).strip() or type(error).__name__
        raise _damaged(prefix, '{}{}'.format('{!r}: '.format(name) if name else '', text.splitlines()[0])) from error


def _damaged(prefix: str, what: str) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.INVALID_INPUT, 'Damaged checkpoint', 'The checkpoint {!r} cannot be read ({}). Its files are damaged, '
        'incomplete or of several checkpoints; copy all of them again, or give an earlier checkpoint.'.format(prefix, what))


def _check_index(path: str) -> None:
    """Raises tf.errors.DataLossError if a block of an index lies beyond the end of the file.

    TensorFlow allocates the size that the index states, and ends the process if it cannot.
    """
    with tf.io.gfile.GFile(path, 'rb') as stream:
        size = stream.size()
        stream.seek(max(size - _FOOTER, 0))
        footer = stream.read()
    if len(footer) == _FOOTER and footer.endswith(_MAGIC):
        numbers = _varints(footer)
        for offset, length in (numbers[:2], numbers[2:4]):
            if offset + length + _TRAILER > size:
                raise tf.errors.DataLossError(None, None, 'the index is damaged')


def _varints(data: bytes) -> List[int]:
    """The first four varints of the bytes; missing ones are 2**64, beyond the end of any file."""
    numbers, value, shift = [], 0, 0
    for byte in data:
        value, shift = value | (byte & 127) << shift, shift + 7
        if byte < 128:
            numbers.append(value)
            value, shift = 0, 0
    return (numbers + [1 << 64] * 4)[:4]
