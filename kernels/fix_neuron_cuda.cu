#include "fix_neuron_cuda.h"

#ifdef VAI_Q_TF_EMULATION
#include "cuda_emulation.h"
#else
#include <cuda_runtime.h>
#define VAI_LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#endif

#include "cuda_elements.h"
#include "cuda_search.h"
#include "cuda_threshold.h"
#include "fix_neuron.h"

namespace vai_q_tf {
namespace {

int Grid(int64_t work, int64_t per_block, int64_t most) {
  const int64_t blocks = (work + per_block - 1) / per_block;
  return (int)(blocks < most ? blocks : most);
}

template <bool kHalfUp>
__global__ void QuantizeKernel(const float* x, float* y, int64_t size, Format format) {
  for (int64_t i = GlobalThread(); i < size; i += GlobalStride()) y[i] = Quantize<kHalfUp, true>(x[i], format);
}

__global__ void GradientKernel(const float* dy, const float* x, float* dx, int64_t size, Format format) {
  for (int64_t i = GlobalThread(); i < size; i += GlobalStride()) dx[i] = Gradient(dy[i], x[i], format);
}

template <bool kHalfUp>
__global__ void ScaledQuantizeKernel(const float* x, const float* scale, const float* rescale, float* y, int64_t size,
                                     Channels channels, Format format) {
  ChannelWalk walk(channels, GlobalThread(), GlobalStride());
  for (int64_t i = GlobalThread(); i < size; i += GlobalStride(), walk.Next()) {
    const float product = Product(x[i], scale[walk.Channel()]);
    y[i] = Product(Quantize<kHalfUp, true>(product, format), rescale[walk.Channel()]);
  }
}

__global__ void ScaledGradientKernel(const float* dy, const float* x, const float* scale, const float* factor,
                                     float* dx, int64_t size, Channels channels, Format format) {
  ChannelWalk walk(channels, GlobalThread(), GlobalStride());
  for (int64_t i = GlobalThread(); i < size; i += GlobalStride(), walk.Next()) {
    const float product = Product(x[i], scale[walk.Channel()]);
    dx[i] = Gradient(Product(dy[i], factor[walk.Channel()]), product, format);
  }
}

__global__ void ScaleKernel(const float* x, const float* factor, float* y, int64_t size, Channels channels) {
  ChannelWalk walk(channels, GlobalThread(), GlobalStride());
  for (int64_t i = GlobalThread(); i < size; i += GlobalStride(), walk.Next()) {
    y[i] = Product(x[i], factor[walk.Channel()]);
  }
}

// One block.
__global__ void FoldingScalesKernel(const float* scale, const float* typical, float* weights_scale, float* rescale,
                                    int64_t size) {
  __shared__ float mins[kThreads];
  __shared__ float maxs[kThreads];
  float largest = 0.0f;
  for (int64_t i = threadIdx.x; i < size; i += kThreads) {
    const float magnitude = Magnitude(scale[i]);
    largest = magnitude > largest ? magnitude : largest;
  }
  mins[threadIdx.x] = 0.0f;
  maxs[threadIdx.x] = largest;
  ReduceExtremes(mins, maxs);
  __syncthreads();
  for (int64_t i = threadIdx.x; i < size; i += kThreads) {
    const float nonzero = FoldingScale(scale[i], maxs[0], typical[i]);
    weights_scale[i] = nonzero;
    rescale[i] = 1.0f / nonzero;
  }
}

__global__ void FillKernel(float* y, float value, int64_t size) {
  for (int64_t i = GlobalThread(); i < size; i += GlobalStride()) y[i] = value;
}

int64_t SearchBlocks(int64_t size) { return (size + kBlock - 1) / kBlock; }

// Bytes of the SearchState, rounded up to where doubles may start.
int64_t StateBytes() { return (int64_t)((sizeof(SearchState) + 255) / 256 * 256); }

template <bool kRelative, typename Source>
void LaunchBlockErrors(const Source& source, int64_t size, SearchState* state, double* sums, cudaStream_t stream) {
  const int64_t blocks = SearchBlocks(size);
  const int grid = Grid(blocks, kThreads / kLanes, kMaxGrid);
  const auto kernel = BlockErrorsKernel<kRelative, Source>;
  VAI_LAUNCH(kernel, grid, kThreads, stream, source, size, blocks, state, sums);
}

// Stores the non-overflow position and the plan in the state.
template <typename Source>
void LaunchPlan(const Source& source, int64_t size, int bits, bool relative, bool symmetric, int below, int count,
                SearchState* state, cudaStream_t stream) {
  const int partials = Grid(size, kThreads, kExtremesGrid);
  VAI_LAUNCH(ExtremesKernel<Source>, partials, kThreads, stream, source, size, state);
  VAI_LAUNCH(PlanKernel, 1, kThreads, stream, partials, bits, symmetric, relative, below, count, state);
}

int CopyToHost(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  return (int)cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream);
}

template <typename Source>
int Search(const Source& source, int64_t size, int bits, int method, bool relative, bool symmetric, float tie,
           void* scratch, int* position, cudaStream_t stream) {
  if (size == 0) {
    *position = kPositionZero;
    return 0;
  }
  SearchState* state = (SearchState*)scratch;
  double* sums = (double*)((char*)scratch + StateBytes());
  LaunchPlan(source, size, bits, relative, symmetric, 0, kCandidates, state, stream);
  if (method != 0) {
    if (relative) {
      LaunchBlockErrors<true>(source, size, state, sums, stream);
    } else {
      LaunchBlockErrors<false>(source, size, state, sums, stream);
    }
    VAI_LAUNCH(BestPositionKernel, 1, kLanes, stream, sums, SearchBlocks(size), tie, state);
  }
  int error = (int)cudaGetLastError();
  if (error == 0) error = CopyToHost(position, &state->position, sizeof(int), stream);
  if (error == 0) error = (int)cudaStreamSynchronize(stream);
  return error;
}

template <typename Source>
int FindThresholdGradient(const Source& gradients, const Source& source, int64_t size, int position, int bits,
                          bool symmetric, bool half_up, double* sums, double* result, cudaStream_t stream) {
  const Format format = MakeFormat(position, bits, symmetric);
  const int64_t blocks = SearchBlocks(size);
  const auto kernel = half_up ? ThresholdTermsKernel<true, Source> : ThresholdTermsKernel<false, Source>;
  if (blocks > 0) {
    const int grid = Grid(blocks, kThreads / kLanes, kMaxGrid);
    VAI_LAUNCH(kernel, grid, kThreads, stream, gradients, source, size, blocks, format, sums);
  }
  VAI_LAUNCH(ThresholdGradientKernel, 1, 1, stream, sums, blocks, format, result);
  return (int)cudaGetLastError();
}

}  // namespace
}  // namespace vai_q_tf

int VaiCudaDeviceCount(int* count) { return (int)cudaGetDeviceCount(count); }

const char* VaiCudaErrorString(int error) { return cudaGetErrorString((cudaError_t)error); }

int VaiCudaQuantize(const float* x, float* y, int64_t size, int position, int bits, int symmetric, int half_up,
                    int keep_non_finite, void* stream) {
  using namespace vai_q_tf;
  if (size == 0) return 0;
  const Format format = MakeFormat(position, bits, symmetric != 0, keep_non_finite != 0);
  const int grid = Grid(size, kThreads, kMaxGrid);
  if (half_up) {
    VAI_LAUNCH(QuantizeKernel<true>, grid, kThreads, (cudaStream_t)stream, x, y, size, format);
  } else {
    VAI_LAUNCH(QuantizeKernel<false>, grid, kThreads, (cudaStream_t)stream, x, y, size, format);
  }
  return (int)cudaGetLastError();
}

int VaiCudaGradient(const float* dy, const float* x, float* dx, int64_t size, int position, int bits, int symmetric,
                    void* stream) {
  using namespace vai_q_tf;
  if (size == 0) return 0;
  const Format format = MakeFormat(position, bits, symmetric != 0);
  VAI_LAUNCH(GradientKernel, Grid(size, kThreads, kMaxGrid), kThreads, (cudaStream_t)stream, dy, x, dx, size,
             format);
  return (int)cudaGetLastError();
}

int64_t VaiCudaSearchScratch(int64_t size) {
  return vai_q_tf::StateBytes() + vai_q_tf::SearchBlocks(size) * vai_q_tf::kCandidates * (int64_t)sizeof(double);
}

int VaiCudaSearch(const float* x, int64_t size, int bits, int method, int relative, int symmetric, float tie,
                  void* scratch, int* position, void* stream) {
  using namespace vai_q_tf;
  return Search(Elements{x}, size, bits, method, relative != 0, symmetric != 0, tie, scratch, position,
                (cudaStream_t)stream);
}

int64_t VaiCudaPositionErrorsScratch(int64_t size, int below, int above) {
  return vai_q_tf::StateBytes() + vai_q_tf::SearchBlocks(size) * (below + above + 1) * (int64_t)sizeof(double);
}

int VaiCudaPositionErrors(const float* x, int64_t size, int bits, int symmetric, int below, int above, void* scratch,
                          int* first, double* errors, void* cuda_stream) {
  using namespace vai_q_tf;
  const int count = below + above + 1;
  if (size == 0) {
    *first = kPositionZero;
    for (int k = 0; k < count; ++k) errors[k] = 0.0;
    return 0;
  }
  const cudaStream_t stream = (cudaStream_t)cuda_stream;
  SearchState* state = (SearchState*)scratch;
  double* sums = (double*)((char*)scratch + StateBytes());
  LaunchPlan(Elements{x}, size, bits, false, symmetric != 0, below, count, state, stream);
  LaunchBlockErrors<false>(Elements{x}, size, state, sums, stream);
  VAI_LAUNCH(WindowErrorsKernel, 1, kLanes, stream, sums, SearchBlocks(size), count, state);
  int error = (int)cudaGetLastError();
  if (error == 0) error = CopyToHost(first, &state->position, sizeof(int), stream);
  if (error == 0) error = CopyToHost(errors, state->errors, count * sizeof(double), stream);
  if (error == 0) error = (int)cudaStreamSynchronize(stream);
  return error;
}

int VaiCudaScaledQuantize(const float* x, const float* scale, const float* rescale, float* y, int64_t size,
                          int64_t channels, int64_t inner, int position, int bits, int symmetric, int half_up,
                          void* stream) {
  using namespace vai_q_tf;
  if (size == 0) return 0;
  const Format format = MakeFormat(position, bits, symmetric != 0);
  const Channels layout = {channels, inner};
  const int grid = Grid(size, kThreads, kMaxGrid);
  if (half_up) {
    VAI_LAUNCH(ScaledQuantizeKernel<true>, grid, kThreads, (cudaStream_t)stream, x, scale, rescale, y, size, layout,
               format);
  } else {
    VAI_LAUNCH(ScaledQuantizeKernel<false>, grid, kThreads, (cudaStream_t)stream, x, scale, rescale, y, size, layout,
               format);
  }
  return (int)cudaGetLastError();
}

int VaiCudaScaledGradient(const float* dy, const float* x, const float* scale, const float* factor, float* dx,
                          int64_t size, int64_t channels, int64_t inner, int position, int bits, int symmetric,
                          void* stream) {
  using namespace vai_q_tf;
  if (size == 0) return 0;
  const Format format = MakeFormat(position, bits, symmetric != 0);
  const Channels layout = {channels, inner};
  VAI_LAUNCH(ScaledGradientKernel, Grid(size, kThreads, kMaxGrid), kThreads, (cudaStream_t)stream, dy, x, scale, factor,
             dx, size, layout, format);
  return (int)cudaGetLastError();
}

int VaiCudaScaledSearch(const float* x, const float* scale, int64_t size, int64_t channels, int64_t inner, int bits,
                        int method, int relative, int symmetric, float tie, void* scratch, int* position,
                        void* stream) {
  using namespace vai_q_tf;
  return Search(ScaledElements{x, scale, {channels, inner}}, size, bits, method, relative != 0, symmetric != 0, tie,
                scratch, position, (cudaStream_t)stream);
}

int VaiCudaScale(const float* x, const float* factor, float* y, int64_t size, int64_t channels, int64_t inner,
                 void* stream) {
  using namespace vai_q_tf;
  if (size == 0) return 0;
  const Channels layout = {channels, inner};
  VAI_LAUNCH(ScaleKernel, Grid(size, kThreads, kMaxGrid), kThreads, (cudaStream_t)stream, x, factor, y, size, layout);
  return (int)cudaGetLastError();
}

int64_t VaiCudaThresholdGradientScratch(int64_t size) {
  return (vai_q_tf::SearchBlocks(size) + 1) * (int64_t)sizeof(double);
}

int VaiCudaThresholdGradient(const float* dy, const float* x, int64_t size, int position, int bits, int symmetric,
                             int half_up, void* scratch, double* result, void* stream) {
  using namespace vai_q_tf;
  return FindThresholdGradient(Elements{dy}, Elements{x}, size, position, bits, symmetric != 0, half_up != 0,
                               (double*)scratch, result, (cudaStream_t)stream);
}

int VaiCudaScaledThresholdGradient(const float* dy, const float* x, const float* scale, const float* factor,
                                   int64_t size, int64_t channels, int64_t inner, int position, int bits,
                                   int symmetric, int half_up, void* scratch, double* result, void* stream) {
  using namespace vai_q_tf;
  const Channels layout = {channels, inner};
  return FindThresholdGradient(ScaledElements{dy, factor, layout}, ScaledElements{x, scale, layout}, size, position,
                               bits, symmetric != 0, half_up != 0, (double*)scratch, result, (cudaStream_t)stream);
}

int VaiCudaFoldingScales(const float* scale, const float* typical, float* weights_scale, float* rescale, int64_t size,
                         void* stream) {
  using namespace vai_q_tf;
  if (size == 0) return 0;
  if (weights_scale) {
    VAI_LAUNCH(FoldingScalesKernel, 1, kThreads, (cudaStream_t)stream, scale, typical, weights_scale, rescale, size);
  } else {
    VAI_LAUNCH(FillKernel, Grid(size, kThreads, kMaxGrid), kThreads, (cudaStream_t)stream, rescale, 1.0f, size);
  }
  return (int)cudaGetLastError();
}
