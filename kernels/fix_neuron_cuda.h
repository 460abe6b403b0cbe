// The kernels on a CUDA device, independent of TensorFlow: raw device pointers, sizes, a stream.
//
// Every function returns a cudaError_t as an int (0 is success) and, except for those that search, returns once the work is
// queued on `stream`, a cudaStream_t. Sizes may be 0. A result may be written in place of an input.
#ifndef VAI_Q_TF_KERNELS_FIX_NEURON_CUDA_H_
#define VAI_Q_TF_KERNELS_FIX_NEURON_CUDA_H_

#include <stdint.h>

#define VAI_CUDA_API extern "C" __attribute__((visibility("default")))

VAI_CUDA_API int VaiCudaDeviceCount(int* count);

VAI_CUDA_API const char* VaiCudaErrorString(int error);

// y = x quantized. half_up: 1 for activations, 0 for weights. keep_non_finite: whether NaN and
// infinities stay, or become the limits, NaN the lower one.
VAI_CUDA_API int VaiCudaQuantize(const float* x, float* y, int64_t size, int position, int bits, int symmetric,
                                 int half_up, int keep_non_finite, void* stream);

// dx = dy if x is in the representable range or NaN, else 0.
VAI_CUDA_API int VaiCudaGradient(const float* dy, const float* x, float* dx, int64_t size, int position, int bits,
                                 int symmetric, void* stream);

// Bytes of device memory that the gradient of a threshold needs for `size` elements.
VAI_CUDA_API int64_t VaiCudaThresholdGradientScratch(int64_t size);

// *result, in device memory, is the gradient with respect to the log2 of the threshold of x, from that of the quantized x.
VAI_CUDA_API int VaiCudaThresholdGradient(const float* dy, const float* x, int64_t size, int position, int bits,
                                          int symmetric, int half_up, void* scratch, double* result, void* stream);

// Bytes of device memory that a search needs for `size` elements.
VAI_CUDA_API int64_t VaiCudaSearchScratch(int64_t size);

// The position for x, written to host memory; waits for the stream. relative: method 2 in mode 2. tie: at least 1; a finer
// position may have up to `tie` times the least error.
VAI_CUDA_API int VaiCudaSearch(const float* x, int64_t size, int bits, int method, int relative, int symmetric,
                               float tie, void* scratch, int* position, void* stream);

// Bytes of device memory that the errors of a window need for `size` elements.
VAI_CUDA_API int64_t VaiCudaPositionErrorsScratch(int64_t size, int below, int above);

// The squared errors of x at below + above + 1 positions from *first on; both written to host memory; waits for the
// stream.
VAI_CUDA_API int VaiCudaPositionErrors(const float* x, int64_t size, int bits, int symmetric, int below, int above,
                                       void* scratch, int* first, double* errors, void* stream);

// The same on x * scale, where element i takes the scale of channel (i / inner) % channels; `size` is a multiple of
// channels * inner.

// y = Q(x * scale) * rescale.
VAI_CUDA_API int VaiCudaScaledQuantize(const float* x, const float* scale, const float* rescale, float* y, int64_t size,
                                       int64_t channels, int64_t inner, int position, int bits, int symmetric,
                                       int half_up, void* stream);

// dx = dy * factor if x * scale is in the representable range or NaN, else 0.
VAI_CUDA_API int VaiCudaScaledGradient(const float* dy, const float* x, const float* scale, const float* factor,
                                       float* dx, int64_t size, int64_t channels, int64_t inner, int position,
                                       int bits, int symmetric, void* stream);

// Same as VaiCudaThresholdGradient, for dy * factor and x * scale.
VAI_CUDA_API int VaiCudaScaledThresholdGradient(const float* dy, const float* x, const float* scale,
                                                const float* factor, int64_t size, int64_t channels, int64_t inner,
                                                int position, int bits, int symmetric, int half_up, void* scratch,
                                                double* result, void* stream);

VAI_CUDA_API int VaiCudaScaledSearch(const float* x, const float* scale, int64_t size, int64_t channels, int64_t inner,
                                     int bits, int method, int relative, int symmetric, float tie, void* scratch,
                                     int* position, void* stream);

// y = x * factor. y may be x.
VAI_CUDA_API int VaiCudaScale(const float* x, const float* factor, float* y, int64_t size, int64_t channels,
                              int64_t inner, void* stream);

// weights_scale = scale with its largest magnitude in place of zeros, or typical if all are zeros; rescale = 1 / weights_scale.
// If weights_scale is null, rescale = 1.
VAI_CUDA_API int VaiCudaFoldingScales(const float* scale, const float* typical, float* weights_scale, float* rescale,
                                      int64_t size, void* stream);

#endif  // VAI_Q_TF_KERNELS_FIX_NEURON_CUDA_H_
