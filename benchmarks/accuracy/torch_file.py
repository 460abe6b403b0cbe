"""Reads the tensors of a PyTorch checkpoint without PyTorch.

The layout is that of `torch.save` before version 1.6: a magic number, a protocol, facts of the machine, the pickled
{name: tensor}, the list of the storage keys, and after that of each storage its number of elements and the elements.
"""
import collections
import pickle

import numpy as np

_MAGIC = 0x1950a86a20f9469cfc6c
_PROTOCOL = 1001
# Raised while reading a truncated or damaged file.
_SPOILED = (pickle.UnpicklingError, EOFError, OverflowError, ValueError, KeyError, IndexError, TypeError, AttributeError)
_STORAGES = {'FloatStorage': '<f4', 'DoubleStorage': '<f8', 'HalfStorage': '<f2', 'LongStorage': '<i8', 'IntStorage': '<i4'}


class TorchFileError(Exception):
    """The file is not such a checkpoint, is truncated, or contains more than tensors."""


def read(path):
    """The tensors of the file, {name: array}, which may be read-only.

    Nothing in the file is executed: its pickles may name only tensors, storages and OrderedDict.

    Raises:
      TorchFileError: what is wrong with the file.
    """
    with open(path, 'rb') as stream:
        try:
            magic, protocol, machine = (_Unpickler(stream).load() for _ in range(3))
            if (magic, protocol) != (_MAGIC, _PROTOCOL) or not machine['little_endian']:
                raise TorchFileError('{} is no little-endian checkpoint of PyTorch before 1.6'.format(path))
            tensors = _Unpickler(stream).load()
            keys = _Unpickler(stream).load()
            types = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
            storages = {key: _elements(stream, types[key]) for key in keys}
            return {name: _array(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}
        except _SPOILED as error:
            raise TorchFileError('{} cannot be read: {!r}'.format(path, error)) from error


_Storage = collections.namedtuple('_Storage', 'dtype key')
_Tensor = collections.namedtuple('_Tensor', 'storage offset shape strides')  # offset and strides in elements


class _Unpickler(pickle.Unpickler):
    """Knows the names that a {name: tensor} needs."""

    def find_class(self, module, name):
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, tuple(shape), tuple(strides))
        if module == 'torch' and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        raise pickle.UnpicklingError('{}.{} is neither a tensor nor a storage'.format(module, name))

    def persistent_load(self, pid):
        kind, dtype, key, _, _, view = pid
        if kind != 'storage' or view is not None or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError('{} is no storage'.format(pid))
        return _Storage(dtype, key)


def _elements(stream, dtype):
    """The next storage of the stream, one row."""
    (number,) = np.frombuffer(stream.read(8), '<i8')
    values = np.frombuffer(stream.read(int(number) * dtype.itemsize), dtype)
    if len(values) != number:
        raise ValueError('a storage of {} elements ends after {}'.format(number, len(values)))
    return values


def _array(tensor, values):
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides))
    if len(tensor.shape) != len(tensor.strides) or min((tensor.offset,) + tensor.shape + tensor.strides) < 0 or (
            0 not in tensor.shape and last >= len(values)):
        raise ValueError('a tensor lies outside its storage of {} elements'.format(len(values)))
    return np.lib.stride_tricks.as_strided(values[tensor.offset:], tensor.shape,
                                           [stride * values.itemsize for stride in tensor.strides], writeable=False)
