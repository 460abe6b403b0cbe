"""kernels/fix_neuron_cuda.h by ctypes: the CUDA library, or its emulation, which takes host memory."""
import ctypes

import numpy as np

from tests.kernels.building import pointer

_INT, _POINTER, _SIZE = ctypes.c_int, ctypes.c_void_p, ctypes.c_int64


class CudaLibrary:

    def __init__(self, path):
        self._library = library = ctypes.CDLL(path)
        library.VaiCudaErrorString.restype = ctypes.c_char_p
        library.VaiCudaQuantize.argtypes = [_POINTER, _POINTER, _SIZE, _INT, _INT, _INT, _INT, _POINTER]
        library.VaiCudaGradient.argtypes = [_POINTER, _POINTER, _POINTER, _SIZE, _INT, _INT, _INT, _POINTER]
        library.VaiCudaSearchScratch.argtypes = [_SIZE]
        library.VaiCudaSearchScratch.restype = _SIZE
        library.VaiCudaSearch.argtypes = [_POINTER, _SIZE, _INT, _INT, _INT, _INT, _POINTER, _POINTER, _POINTER]

    def device_count(self):
        """(error, count)."""
        count = _INT(0)
        return self._library.VaiCudaDeviceCount(ctypes.byref(count)), count.value

    def error_string(self, error):
        return self._library.VaiCudaErrorString(error).decode()

    def quantize(self, x, position, bits, mode, symmetric):
        """(error, y)."""
        y = np.empty_like(x)
        error = self._library.VaiCudaQuantize(pointer(x), pointer(y), x.size, position, bits, symmetric, mode == 1,
                                              None)
        return error, y

    def gradient(self, dy, x, position, bits, symmetric):
        """(error, dx)."""
        dx = np.empty_like(x)
        error = self._library.VaiCudaGradient(pointer(dy), pointer(x), pointer(dx), x.size, position, bits, symmetric,
                                              None)
        return error, dx

    def search(self, x, bits, method, mode, symmetric):
        """(error, position)."""
        scratch = np.full(self._library.VaiCudaSearchScratch(x.size), 0xa5, np.uint8)
        position = _INT(0)
        error = self._library.VaiCudaSearch(pointer(x), x.size, bits, method, method == 2 and mode == 2, symmetric,
                                            pointer(scratch), ctypes.byref(position), None)
        return error, position.value
