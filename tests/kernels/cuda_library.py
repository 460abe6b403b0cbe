"""kernels/fix_neuron_cuda.h by ctypes: the CUDA library on device memory, or its emulation on host memory."""
import ctypes

import numpy as np

from tests.kernels.building import pointer

_FLOAT, _INT, _POINTER, _SIZE = ctypes.c_float, ctypes.c_int, ctypes.c_void_p, ctypes.c_int64
_HOST_TO_DEVICE, _DEVICE_TO_HOST, _DEVICE_TO_DEVICE = 1, 2, 3

_ARGUMENTS = {
    'VaiCudaDeviceCount': [_POINTER],
    'VaiCudaErrorString': [_INT],
    'VaiCudaQuantize': [_POINTER] * 2 + [_SIZE] + [_INT] * 5 + [_POINTER],
    'VaiCudaGradient': [_POINTER] * 3 + [_SIZE] + [_INT] * 3 + [_POINTER],
    'VaiCudaThresholdGradientScratch': [_SIZE],
    'VaiCudaThresholdGradient': [_POINTER] * 2 + [_SIZE] + [_INT] * 4 + [_POINTER] * 3,
    'VaiCudaScaledThresholdGradient': [_POINTER] * 4 + [_SIZE] * 3 + [_INT] * 4 + [_POINTER] * 3,
    'VaiCudaSearchScratch': [_SIZE],
    'VaiCudaSearch': [_POINTER, _SIZE] + [_INT] * 4 + [_FLOAT] + [_POINTER] * 3,
    'VaiCudaPositionErrorsScratch': [_SIZE, _INT, _INT],
    'VaiCudaPositionErrors': [_POINTER, _SIZE] + [_INT] * 4 + [_POINTER] * 4,
    'VaiCudaScaledQuantize': [_POINTER] * 4 + [_SIZE] * 3 + [_INT] * 4 + [_POINTER],
    'VaiCudaScaledGradient': [_POINTER] * 5 + [_SIZE] * 3 + [_INT] * 3 + [_POINTER],
    'VaiCudaScaledSearch': [_POINTER] * 2 + [_SIZE] * 3 + [_INT] * 4 + [_FLOAT] + [_POINTER] * 3,
    'VaiCudaFoldingScales': [_POINTER] * 4 + [_SIZE, _POINTER],
    'VaiCudaScale': [_POINTER] * 3 + [_SIZE] * 3 + [_POINTER],
}


class HostArray:
    """A copy of an array in host memory, for the emulation."""

    def __init__(self, array):
        self._array = np.array(array)
        self.pointer = pointer(self._array)

    def get(self):
        return self._array


class CudaRuntime:
    """The few functions of the CUDA runtime that a test needs. Raises OSError without a device."""

    def __init__(self, path):
        self._library = ctypes.CDLL(path)
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        count = _INT(0)
        self.call('cudaGetDeviceCount', ctypes.byref(count))
        if not count.value:
            raise OSError('no CUDA device')

    def call(self, function, *arguments):
        error = getattr(self._library, function)(*arguments)
        if error:
            raise OSError('{}: {}'.format(function, self._library.cudaGetErrorString(error).decode()))

    def array(self, array):
        return DeviceArray(self, array)

    def copy(self, target, source):
        """Queues a copy of `source` to `target`, both on the device."""
        self.call('cudaMemcpyAsync', target.pointer, source.pointer, _SIZE(source.bytes), _DEVICE_TO_DEVICE, None)

    def wait(self):
        self.call('cudaDeviceSynchronize')


class DeviceArray:
    """An array in device memory, freed with its last reference."""

    def __init__(self, cuda, array):
        self._cuda, self._shape, self._dtype, self.bytes = cuda, array.shape, array.dtype, array.nbytes
        self.pointer = _POINTER()
        cuda.call('cudaMalloc', ctypes.byref(self.pointer), _SIZE(max(1, self.bytes)))
        array = np.ascontiguousarray(array)
        cuda.call('cudaMemcpy', self.pointer, pointer(array), _SIZE(self.bytes), _HOST_TO_DEVICE)

    def get(self):
        array = np.empty(self._shape, self._dtype)
        self._cuda.call('cudaMemcpy', pointer(array), self.pointer, _SIZE(self.bytes), _DEVICE_TO_HOST)
        return array

    def __del__(self):
        if self.pointer:
            self._cuda.call('cudaFree', self.pointer)


class CudaLibrary:
    """The functions of the library at `path`, for NumPy arrays; `place` copies an array to the memory that they read."""

    def __init__(self, path, place=HostArray):
        self.functions, self.place = ctypes.CDLL(path), place
        for name, arguments in _ARGUMENTS.items():
            getattr(self.functions, name).argtypes = arguments
        self.functions.VaiCudaErrorString.restype = ctypes.c_char_p
        self.functions.VaiCudaSearchScratch.restype = _SIZE
        self.functions.VaiCudaPositionErrorsScratch.restype = _SIZE
        self.functions.VaiCudaThresholdGradientScratch.restype = _SIZE

    def device_count(self):
        """(error, count)."""
        count = _INT(0)
        return self.functions.VaiCudaDeviceCount(ctypes.byref(count)), count.value

    def error_string(self, error):
        return self.functions.VaiCudaErrorString(error).decode()

    def quantize(self, x, position, bits, mode, narrow_range, keep_non_finite=True):
        """(error, y)."""
        return self._map('VaiCudaQuantize', [x], x.size, position, bits, narrow_range, mode == 1, keep_non_finite)

    def gradient(self, dy, x, position, bits, narrow_range):
        """(error, dx)."""
        return self._map('VaiCudaGradient', [dy, x], x.size, position, bits, narrow_range)

    def search(self, x, bits, method, mode, narrow_range, tie=1.0):
        """(error, position)."""
        return self._search('VaiCudaSearch', [x], (x.size,), bits, method, mode, narrow_range, tie)

    def position_errors(self, x, bits, narrow_range, below, above):
        """(error, first, errors)."""
        scratch = self.place(np.full(self.functions.VaiCudaPositionErrorsScratch(x.size, below, above), 0xa5, np.uint8))
        placed, first, errors = self.place(x), _INT(0), np.full(below + above + 1, np.nan)
        error = self.functions.VaiCudaPositionErrors(placed.pointer, x.size, bits, narrow_range, below, above,
                                                     scratch.pointer, ctypes.byref(first), pointer(errors), None)
        return error, first.value, errors

    def scaled_quantize(self, x, scale, rescale, inner, position, bits, mode, narrow_range):
        """(error, y)."""
        return self._map('VaiCudaScaledQuantize', [x, scale, rescale], x.size, scale.size, inner, position, bits,
                         narrow_range, mode == 1)

    def scaled_gradient(self, dy, x, scale, factor, inner, position, bits, narrow_range):
        """(error, dx)."""
        return self._map('VaiCudaScaledGradient', [dy, x, scale, factor], x.size, scale.size, inner, position, bits,
                         narrow_range)

    def scaled_search(self, x, scale, inner, bits, method, mode, narrow_range, tie=1.0):
        """(error, position)."""
        return self._search('VaiCudaScaledSearch', [x, scale], (x.size, scale.size, inner), bits, method, mode,
                            narrow_range, tie)

    def threshold_gradient(self, dy, x, position, bits, mode, narrow_range):
        """(error, the gradient)."""
        return self._threshold('VaiCudaThresholdGradient', [dy, x], (x.size,), position, bits, narrow_range, mode == 1)

    def scaled_threshold_gradient(self, dy, x, scale, factor, inner, position, bits, mode, narrow_range):
        """(error, the gradient)."""
        return self._threshold('VaiCudaScaledThresholdGradient', [dy, x, scale, factor], (x.size, scale.size, inner), position,
                               bits, narrow_range, mode == 1)

    def scale(self, x, factor, inner):
        """(error, x * factor)."""
        return self._map('VaiCudaScale', [x, factor], x.size, factor.size, inner)

    def folding_scales(self, scale, typical, first):
        """(error, weights_scale, rescale); weights_scale stays 7 if not `first`."""
        inputs, results = [self.place(x) for x in (scale, typical)], [self.place(np.full_like(scale, 7)) for _ in range(2)]
        error = self.functions.VaiCudaFoldingScales(*[x.pointer for x in inputs], results[0].pointer if first else None,
                                                    results[1].pointer, scale.size, None)
        return [error] + [result.get() for result in results]

    def _map(self, function, inputs, *arguments):
        """(error, result); the result has the shape of the first input."""
        inputs, result = [self.place(x) for x in inputs], self.place(np.full_like(inputs[0], 7))
        error = getattr(self.functions, function)(*[x.pointer for x in inputs], result.pointer, *arguments, None)
        return error, result.get()

    def _threshold(self, function, inputs, sizes, *arguments):
        inputs, result = [self.place(x) for x in inputs], self.place(np.array([np.nan]))
        scratch = self.place(np.full(self.functions.VaiCudaThresholdGradientScratch(sizes[0]), 0xa5, np.uint8))
        error = getattr(self.functions, function)(*[x.pointer for x in inputs], *sizes, *arguments, scratch.pointer,
                                                  result.pointer, None)
        return error, result.get()[0]

    def _search(self, function, inputs, sizes, bits, method, mode, narrow_range, tie):
        inputs = [self.place(x) for x in inputs]
        scratch = self.place(np.full(self.functions.VaiCudaSearchScratch(sizes[0]), 0xa5, np.uint8))
        position = _INT(0)
        error = getattr(self.functions, function)(*[x.pointer for x in inputs], *sizes, bits, method,
                                                  method == 2 and mode == 2, narrow_range, tie, scratch.pointer,
                                                  ctypes.byref(position), None)
        return error, position.value
