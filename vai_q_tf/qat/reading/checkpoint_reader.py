"""Reads checkpoints: what is wrong with their files is an error that names them."""
import contextlib

import tensorflow.compat.v1 as tf

from vai_q_tf import errors

_FOOTER, _TRAILER = 48, 5  # bytes at the end of an index, and of each of its blocks
_MAGIC = b'\x57\xfb\x80\x8b\x24\x75\x47\xdb'
_PATTERN = frozenset('*?[\\')


class CheckpointReader:
    """What tf.train.load_checkpoint gives.

    Args:
      prefix: prefix of a checkpoint.

    Attributes:
      prefix: the same.

    Raises:
      QuantizeError: INVALID_INPUT naming the checkpoint, where its files are damaged or missing. So do the methods.
    """

    def __init__(self, prefix):
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

    def has_tensor(self, name):
        """Whether the checkpoint has a tensor."""
        return name in self._dtypes

    def get_tensor(self, name):
        """The value of a tensor that the checkpoint has, as a NumPy array."""
        with reading(self.prefix, name):
            return self._reader.get_tensor(name)

    def dtypes(self):
        """{name of a tensor: its tf.DType}."""
        return self._dtypes

    def shapes(self):
        """{name of a tensor: its shape, a list}."""
        return self._shapes

    def check(self, names):
        """Reads those of the tensors that the checkpoint has, so that none of them is damaged when it is restored."""
        for name in names:
            if self.has_tensor(name):
                self.get_tensor(name)

    def damaged(self, what):
        """The QuantizeError for a checkpoint that says of itself what cannot be."""
        return _damaged(self.prefix, what)


@contextlib.contextmanager
def reading(prefix, name=''):
    """In this context what TensorFlow says of the files of a checkpoint, or of the tensor `name` in it, is a QuantizeError."""
    try:
        yield
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        text = str(getattr(error, 'message', error)).strip() or type(error).__name__
        raise _damaged(prefix, '{}{}'.format('{!r}: '.format(name) if name else '', text.splitlines()[0])) from error


def _damaged(prefix, what):
    return errors.QuantizeError(
        errors.INVALID_INPUT, 'Damaged checkpoint', 'The checkpoint {!r} cannot be read ({}). Its files are damaged, '
        'incomplete or of several checkpoints; copy all of them again, or give an earlier checkpoint.'.format(prefix, what))


def _check_index(path):
    """Raises tf.errors.DataLossError where an index says that it has a block beyond its end.

    TensorFlow allocates what is said there, and ends the process where that cannot be.
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


def _varints(data):
    """The first four numbers of the bytes."""
    numbers, value, shift = [], 0, 0
    for byte in data:
        value, shift = value | (byte & 127) << shift, shift + 7
        if byte < 128:
            numbers.append(value)
            value, shift = 0, 0
    return (numbers + [1 << 64] * 4)[:4]
