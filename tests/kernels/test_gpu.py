"""The CUDA kernels on a GPU against the NumPy definition, bit for bit, and their times compared with a copy.

Needs a GPU, nvcc, NumPy and pytest, but not TensorFlow, since 1.15 does not support recent GPUs. Without TensorFlow:

    python -m pytest --noconftest -s tests/kernels/test_gpu.py
"""
import importlib.util
import os
import shutil
import sys
import time
import types

import numpy as np
import pytest

from tests.kernels import building, folding
from tests.kernels.cuda_library import CudaLibrary, CudaRuntime

if importlib.util.find_spec('tensorflow') is None:
    sys.modules['vai_q_tf'] = package = types.ModuleType('vai_q_tf')
    package.__path__ = [os.path.join(os.path.dirname(building.KERNELS), 'vai_q_tf')]

from vai_q_tf import fixed_point  # noqa: E402

_SIZES = (1, 31, 2048, 2049, 100003, 3000000)
_POSITIONS = (-126, -120, -3, 0, 5, 11, 125, 126, 127)
_TIMED = 1 << 26


def _runtime():
    """The CUDA runtime next to nvcc, or one that the loader finds."""
    next_to_nvcc = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(shutil.which('nvcc')))), 'lib64')
    for path in (os.path.join(os.environ.get('CUDA_HOME', '/usr/local/cuda'), 'lib64', 'libcudart.so'),
                 os.path.join(next_to_nvcc, 'libcudart.so'), 'libcudart.so'):
        try:
            return CudaRuntime(path)
        except OSError as error:
            reason = error
    pytest.skip('no CUDA device answers: {}'.format(reason))


@pytest.fixture(scope='module')
def cuda():
    if shutil.which('nvcc') is None:
        pytest.skip('no nvcc on PATH: nothing can compile CUDA')
    return _runtime()


@pytest.fixture(scope='module')
def library(cuda, tmp_path_factory):
    build = str(tmp_path_factory.mktemp('gpu'))
    building.run_make('cuda-lib', 'BUILD=' + build)
    return CudaLibrary(build + '/libvai_q_tf_cuda.so', cuda.array)


def _values(random, size):
    """float32 of any size and sign: a third are random bits, a third halves of steps."""
    values = random.standard_t(2, size).astype(np.float32) * np.float32(2.0**random.randint(-20, 20))
    kind = random.randint(0, 3, size)
    values = np.where(kind == 1, random.randint(0, 2**32, size, dtype=np.uint32).view(np.float32), values)
    return np.where(kind == 2, (random.randint(-600, 600, size) / 2.0).astype(np.float32), values)


def _same(found, expected):
    """Bit for bit; any NaN equals any other."""
    error, found = found
    assert error == 0
    found, expected = [np.where(np.isnan(a), np.float32(np.nan), a) for a in (found, expected)]
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize('size', _SIZES)
@pytest.mark.parametrize('mode', [0, 1])
def test_forward_and_gradient(library, size, mode):
    random = np.random.RandomState(size)
    for position in _POSITIONS:
        x, dy, bits = _values(random, size), _values(random, size), random.randint(1, 25)
        rounding = fixed_point.rounding_of(mode)
        _same(library.quantize(x, position, bits, mode, False), fixed_point.quantize(x, position, bits, rounding))
        _same(library.gradient(dy, x, position, bits, True), fixed_point.gradient(dy, x, position, bits, True))
        np.testing.assert_array_equal(library.threshold_gradient(dy, x, position, bits, mode, True), (
            0, fixed_point.threshold_gradient(dy, x, position, bits, rounding, True)))


@pytest.mark.parametrize('size', _SIZES)
@pytest.mark.parametrize('method, mode', [(0, 0), (1, 1), (2, 2)])
def test_search(library, size, method, mode):
    random = np.random.RandomState(size)
    for scale in (1e-38, 1e-3, 1.0, 1e30):
        x = random.standard_t(2, size).astype(np.float32) * np.float32(scale)
        for values in (x, np.where(random.uniform(size=size) < 0.01, _values(random, size), x)):
            for tie in (1.0, 1.3, 100.0):
                assert library.search(values, 8, method, mode, False, tie) == (
                    0, fixed_point.search_position(values, 8, method, mode, tie=tie))


@pytest.mark.parametrize('size', _SIZES)
@pytest.mark.parametrize('window', [(0, 4), (5, 10), (18, 18)])
def test_position_errors(library, size, window):
    random = np.random.RandomState(size)
    for scale in (1e-38, 1.0, 1e30):
        x = random.standard_t(2, size).astype(np.float32) * np.float32(scale)
        for values in (x, np.where(random.uniform(size=size) < 0.01, _values(random, size), x)):
            first, errors = fixed_point.position_errors(values, 8, 1, *window)
            found = library.position_errors(values, 8, False, *window)
            assert found[:2] == (0, first) and found[2].tobytes() == errors.tobytes()


@pytest.mark.parametrize('share_of_zeros', [0, 0.5, 1])
@pytest.mark.parametrize('size', _SIZES)
def test_folding_scales(library, size, share_of_zeros):
    scale, typical = folding.sample(size, share_of_zeros)
    error, *found = library.folding_scales(scale, typical, True)
    expected = folding.nonzero(scale, typical)
    for one, other in zip(found, (expected, 1 / expected)):
        _same((error, one), other)
    error, _, rescale = library.folding_scales(scale, typical, False)
    _same((error, rescale), np.ones_like(scale))


@pytest.mark.parametrize('shape, channels, inner', [
    ((1, 1), 1, 1), ((31, 64), 64, 1), ((3, 3, 512, 512), 512, 1), ((1000, 2049), 1000, 2049), ((9, 300, 64), 300, 64),
    ((1000000, 3), 3, 1), ((3, 1000000), 3, 1000000)])
def test_scaled(library, shape, channels, inner):
    random = np.random.RandomState(channels)
    for position in _POSITIONS:
        x, dy = _values(random, shape), _values(random, shape)
        scale, rescale = _values(random, (2, channels))
        _same(library.scaled_quantize(x, scale, rescale, inner, position, 8, 0, False),
              fixed_point.scaled_quantize(x, scale, rescale, position, inner=inner))
        _same(library.scaled_gradient(dy, x, scale, rescale, inner, position, 8, False),
              fixed_point.scaled_gradient(dy, x, scale, rescale, position, 8, inner))
        expected = fixed_point.threshold_gradient(
            fixed_point.scaled(dy, rescale, inner), fixed_point.scaled(x, scale, inner), position, 8, 'half_away')
        np.testing.assert_array_equal(
            library.scaled_threshold_gradient(dy, x, scale, rescale, inner, position, 8, 0, False), (0, expected))
    _same(library.scale(x, scale, inner), fixed_point.scaled(x, scale, inner))
    x = random.standard_normal(shape).astype(np.float32)
    for tie in (1.0, 1.3):
        assert library.scaled_search(x, scale, inner, 8, 1, 0, False, tie) == (
            0, fixed_point.search_position(fixed_point.scaled(x, scale, inner), tie=tie))


def test_times_compared_with_a_copy(library, cuda):
    random, size, channels = np.random.RandomState(0), _TIMED, 512
    x = cuda.array(random.standard_normal(size).astype(np.float32))
    y = cuda.array(np.empty(size, np.float32))
    scale = cuda.array(random.uniform(0.5, 2, channels).astype(np.float32))
    scratch = cuda.array(np.empty(library.functions.VaiCudaSearchScratch(size), np.uint8))
    position = np.zeros(1, np.int32)
    errors = np.zeros(16)
    call = library.functions
    window_scratch = cuda.array(np.empty(call.VaiCudaPositionErrorsScratch(size, 5, 10), np.uint8))
    searched = (8, 1, 0, 0, 1.0, scratch.pointer, building.pointer(position), None)
    kernels = {
        'copy': lambda: cuda.copy(y, x),
        'forward': lambda: call.VaiCudaQuantize(x.pointer, y.pointer, size, 5, 8, 0, 1, None),
        'gradient': lambda: call.VaiCudaGradient(x.pointer, x.pointer, y.pointer, size, 5, 8, 0, None),
        'search': lambda: call.VaiCudaSearch(x.pointer, size, *searched),
        '16 errors': lambda: call.VaiCudaPositionErrors(
            x.pointer, size, 8, 0, 5, 10, window_scratch.pointer, building.pointer(position), building.pointer(errors),
            None),
        'scaled forward': lambda: call.VaiCudaScaledQuantize(
            x.pointer, scale.pointer, scale.pointer, y.pointer, size, channels, 1, 5, 8, 0, 0, None),
        'scaled gradient': lambda: call.VaiCudaScaledGradient(
            x.pointer, x.pointer, scale.pointer, scale.pointer, y.pointer, size, channels, 1, 5, 8, 0, None),
        'scale': lambda: call.VaiCudaScale(x.pointer, scale.pointer, y.pointer, size, channels, 1, None),
        'scaled search': lambda: call.VaiCudaScaledSearch(x.pointer, scale.pointer, size, channels, 1, *searched),
    }
    times = {name: _time(cuda, kernel) / size for name, kernel in kernels.items()}
    for name, seconds in times.items():
        print('\n{:16} {:8.4f} ns per element, {:5.2f} times the copy'.format(name, seconds * 1e9,
                                                                             seconds / times['copy']), end='')


def _time(cuda, kernel, runs=20):
    best = np.inf
    for _ in range(5):
        cuda.wait()
        begin = time.perf_counter()
        for _ in range(runs):
            assert not kernel()
        cuda.wait()
        best = min(best, (time.perf_counter() - begin) / runs)
    return best
