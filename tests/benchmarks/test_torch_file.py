"""Checkpoints of PyTorch, made here byte by byte: their tensors come out, and nothing in them is executed."""
import collections
import io
import pickle
import sys
import types

import numpy as np
import pytest

from tests.benchmarks.scripts import scripts

MAGIC, PROTOCOL, MACHINE = 0x1950a86a20f9469cfc6c, 1001, {'protocol_version': 1001, 'little_endian': True}
STORAGES = {'FloatStorage': np.float32, 'LongStorage': np.int64}


@pytest.fixture(scope='module')
def torch_file():
    with scripts('torch_file') as (module,):
        yield module


class Storage:
    """A storage in a pickle that is being written."""

    def __init__(self, key, kind, values):
        self.key, self.kind, self.values = key, kind, np.asarray(values, STORAGES[kind])


class Tensor:
    """Is pickled as a call of torch._utils._rebuild_tensor_v2."""

    def __init__(self, storage, offset, shape, strides):
        self.arguments = storage, offset, shape, strides, False, collections.OrderedDict()

    def __reduce__(self):
        return sys.modules['torch._utils']._rebuild_tensor_v2, self.arguments


@pytest.fixture
def write(monkeypatch, tmp_path):
    """A function that writes a checkpoint of {name: Tensor}, in whose pickles names of a made-up torch are looked up."""
    torch, utils = types.ModuleType('torch'), types.ModuleType('torch._utils')
    for name in STORAGES:
        setattr(torch, name, type(name, (), {'__module__': 'torch'}))

    def _rebuild_tensor_v2():
        """Only its name is written."""
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = 'torch._utils', '_rebuild_tensor_v2'
    utils._rebuild_tensor_v2, torch._utils = _rebuild_tensor_v2, utils
    monkeypatch.setitem(sys.modules, 'torch', torch)
    monkeypatch.setitem(sys.modules, 'torch._utils', utils)

    def write(tensors, magic=MAGIC, machine=MACHINE):
        storages = collections.OrderedDict()

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                if not isinstance(value, Storage):
                    return None
                storages[value.key] = value
                return 'storage', getattr(torch, value.kind), value.key, 'cpu', len(value.values), None
        stream = io.BytesIO()
        for value in (magic, PROTOCOL, machine, tensors):
            Pickler(stream, 2).dump(value)
        pickle.dump(sorted(storages, reverse=True), stream, 2)
        for key in sorted(storages, reverse=True):
            stream.write(np.int64(len(storages[key].values)).tobytes() + storages[key].values.tobytes())
        path = tmp_path / 'made.pth'
        path.write_bytes(stream.getvalue())
        return str(path)
    return write


def example():
    values = Storage('7', 'FloatStorage', np.arange(24) / 4)
    return collections.OrderedDict([
        ('whole', Tensor(values, 0, (2, 3, 4), (12, 4, 1))),
        ('transposed', Tensor(values, 0, (3, 2), (1, 3))),
        ('part', Tensor(values, 20, (4,), (1,))),
        ('scalar', Tensor(Storage('8', 'LongStorage', [2**40]), 0, (), ()))])


def test_tensors_are_views_of_their_storages(torch_file, write):
    found = torch_file.read(write(example()))
    values = np.arange(24, dtype=np.float32) / 4
    assert list(found) == ['whole', 'transposed', 'part', 'scalar']
    for name, expected in (('whole', values.reshape(2, 3, 4)), ('transposed', values[:6].reshape(2, 3).T),
                           ('part', values[20:]), ('scalar', np.array(2**40))):
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found[name], expected)


class Calls:
    """Calls a function of another module when it is read back."""

    def __reduce__(self):
        return print, ('executed',)


@pytest.mark.parametrize('tensors', [{'evil': Calls()}, Calls()])
def test_nothing_is_executed(torch_file, write, capsys, tensors):
    with pytest.raises(torch_file.TorchFileError, match='print is neither'):
        torch_file.read(write(tensors))
    assert capsys.readouterr().out == ''


def test_a_file_that_is_cut_off_anywhere_is_refused(torch_file, write, tmp_path):
    with open(write(example()), 'rb') as stream:
        content = stream.read()
    path = tmp_path / 'cut.pth'
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(torch_file.TorchFileError):
            torch_file.read(str(path))


@pytest.mark.parametrize('offset, shape, strides', [
    (1, (2, 3, 4), (12, 4, 1)), (0, (25,), (1,)), (-1, (2,), (1,)), (5, (2,), (-1,)), (0, (2, 2), (23, 1)), (0, (2,), (1, 1)),
    (25, (), ())])
def test_tensors_outside_of_their_storage_are_refused(torch_file, write, offset, shape, strides):
    tensor = Tensor(Storage('7', 'FloatStorage', np.arange(24)), offset, shape, strides)
    with pytest.raises(torch_file.TorchFileError, match='cannot be read'):
        torch_file.read(write({'tensor': tensor}))


@pytest.mark.parametrize('changed', [dict(magic=1), dict(machine=dict(MACHINE, little_endian=False))])
def test_other_files_are_refused(torch_file, write, changed):
    with pytest.raises(torch_file.TorchFileError, match='no little-endian checkpoint'):
        torch_file.read(write(example(), **changed))
