#include "fix_neuron_cuda.h"

#ifdef VAI_Q_TF_EMULATION
#include "cuda_emulation.h"
#else
#include <cuda_runtime.h>
#define VAI_LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#endif

#include "cuda_elements.h"
#include "cuda_threshold.h"
#include "fix_neuron.h"

namespace vai_q_tf {
namespace {

#ifndef VAI_THREADS
#define VAI_THREADS 256
#endif

enum : int {
  kThreads = VAI_THREADS,
  kMaxGrid = 4096,      // blocks of an element-wise launch; each strides over the rest
  kExtremesGrid = 512,  // blocks of the extremes, and partial results that one block then reduces
};

int Grid(int64_t work, int64_t per_block, int64_t most) {
  const int64_t blocks = (work + per_block - 1) / per_block;
  return (int)(blocks < most ? blocks : most);
}

__device__ int64_t GlobalThread() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ int64_t GlobalStride() { return (int64_t)gridDim.x * blockDim.x; }

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

// What the steps of a search hand over, at the start of its scratch memory; the block sums follow.
struct SearchState {
  float min[kExtremesGrid];
  float max[kExtremesGrid];
  SearchPlan plan;
  int position;
  double errors[kWindowMax];
};

// Reduces v[0..kThreads) of both arrays into v[0]. Extremes do not depend on the order.
__device__ void ReduceExtremes(float* mins, float* maxs) {
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < half) {
      const float lower = mins[threadIdx.x + half];
      const float upper = maxs[threadIdx.x + half];
      if (lower < mins[threadIdx.x]) mins[threadIdx.x] = lower;
      if (upper > maxs[threadIdx.x]) maxs[threadIdx.x] = upper;
    }
  }
}

template <typename Source>
__global__ void ExtremesKernel(Source source, int64_t size, SearchState* state) {
  __shared__ float mins[kThreads];
  __shared__ float maxs[kThreads];
  float min = 0.0f;
  float max = 0.0f;
  typename Source::Cursor cursor = source.Walk(GlobalThread(), GlobalStride());
  for (int64_t i = GlobalThread(); i < size; i += GlobalStride(), cursor.Next()) {
    const float v = Observed(cursor.Value(), FLT_MIN);
    min = v < min ? v : min;
    max = v > max ? v : max;
  }
  mins[threadIdx.x] = min;
  maxs[threadIdx.x] = max;
  ReduceExtremes(mins, maxs);
  if (threadIdx.x == 0) {
    state->min[blockIdx.x] = mins[0];
    state->max[blockIdx.x] = maxs[0];
  }
}

// One block. Leaves the non-overflow position and the plan for the block sums of `count` positions, the first of them
// `below` that position; no plan where there is nothing to search.
__global__ void PlanKernel(int partials, int bits, bool symmetric, bool relative, int below, int count,
                           SearchState* state) {
  __shared__ float mins[kThreads];
  __shared__ float maxs[kThreads];
  float min = 0.0f;
  float max = 0.0f;
  for (int i = threadIdx.x; i < partials; i += kThreads) {
    min = state->min[i] < min ? state->min[i] : min;
    max = state->max[i] > max ? state->max[i] : max;
  }
  mins[threadIdx.x] = min;
  maxs[threadIdx.x] = max;
  ReduceExtremes(mins, maxs);
  if (threadIdx.x != 0) return;
  state->position = NonOverflowPosition(mins[0], maxs[0], bits);
  state->plan.count = 0;
  if (state->position != kPositionZero) {
    state->plan = MakeSearchPlan(WindowFirst(state->position, below), count, bits, symmetric, relative);
  }
}

// A group of kLanes threads owns a search block of kBlock elements; a thread is one lane of it for every candidate.
template <bool kRelative, typename Source>
__global__ void BlockErrorsKernel(Source source, int64_t size, int64_t blocks, const SearchState* state,
                                  double* sums) {
  enum : int { kGroups = kThreads / kLanes };
  __shared__ float lanes[kGroups][kCandidates][kLanes];
  __shared__ SearchPlan plan;
  for (int i = threadIdx.x; i < (int)(sizeof(plan) / sizeof(int)); i += kThreads) {
    ((int*)&plan)[i] = ((const int*)&state->plan)[i];
  }
  __syncthreads();
  const int group = threadIdx.x / kLanes;
  const int lane = threadIdx.x % kLanes;
  for (int64_t first = (int64_t)blockIdx.x * kGroups; first < blocks; first += (int64_t)gridDim.x * kGroups) {
    const int64_t block = first + group;
    for (int start = 0; start < plan.count; start += kCandidates) {
      float errors[kCandidates] = {0.0f};
      if (block < blocks) {
        typename Source::Cursor cursor = source.Walk(block * kBlock + lane, kLanes);
        for (int row = 0; row < kBlock / kLanes; ++row, cursor.Next()) {
          const int64_t i = block * kBlock + row * kLanes + lane;
          const float units = i < size ? Units<kRelative>(cursor.Value(), plan.scale, plan.least) : 0.0f;
#pragma unroll
          for (int k = 0; k < kCandidates; ++k) {
            if (start + k < plan.count) {
              const Candidate& c = plan.candidate[start + k];
              errors[k] += CandidateError<kRelative>(units, c.ratio, c.q_lo, c.q_hi, c.epsilon);
            }
          }
        }
      }
      for (int k = 0; k < kCandidates; ++k) lanes[group][k][lane] = errors[k];
      __syncthreads();
      if (block < blocks && lane < kCandidates && start + lane < plan.count) {
        double sum = 0.0;
        for (int j = 0; j < kLanes; ++j) sum += lanes[group][lane][j];
        sums[block * plan.count + start + lane] = sum;
      }
      __syncthreads();
    }
  }
}

// One block: a thread adds up one candidate, in the order of the blocks. `sums` is shared memory.
__device__ void AddBlocks(const double* block_sums, int64_t blocks, int count, double* sums) {
  for (int k = threadIdx.x; k < count; k += kLanes) {
    double sum = 0.0;
    for (int64_t block = 0; block < blocks; ++block) sum += block_sums[block * count + k];
    sums[k] = sum;
  }
  __syncthreads();
}

__global__ void BestPositionKernel(const double* block_sums, int64_t blocks, float tie, SearchState* state) {
  __shared__ double sums[kCandidates];
  AddBlocks(block_sums, blocks, state->plan.count, sums);
  if (threadIdx.x == 0 && state->plan.count > 0) state->position = BestPosition(state->plan, sums, tie);
}

__global__ void WindowErrorsKernel(const double* block_sums, int64_t blocks, int size, SearchState* state) {
  __shared__ double sums[kWindowMax];
  AddBlocks(block_sums, blocks, state->plan.count, sums);
  for (int k = threadIdx.x; k < size; k += kLanes) state->errors[k] = WindowError(state->plan, sums, k);
  if (threadIdx.x == 0 && state->plan.count > 0) state->position = state->plan.first;
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

// Leaves the non-overflow position and the plan in the state.
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
  const auto kernel = half_up ? ThresholdTermsKernel<true, kThreads, Source> : ThresholdTermsKernel<false, kThreads, Source>;
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
                    void* stream) {
  using namespace vai_q_tf;
  if (size == 0) return 0;
  const Format format = MakeFormat(position, bits, symmetric != 0);
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
