// The CUDA kernels of the position search: extremes, plan, sums of blocks in lanes, and their totals.
// Included after CUDA or its emulation.
#ifndef VAI_Q_TF_KERNELS_CUDA_SEARCH_H_
#define VAI_Q_TF_KERNELS_CUDA_SEARCH_H_

#include "cuda_elements.h"
#include "fix_neuron.h"

namespace vai_q_tf {

// The data that the steps of a search share, at the start of its scratch memory; the block sums follow.
struct SearchState {
  float min[kExtremesGrid];
  float max[kExtremesGrid];
  SearchPlan plan;
  int position;
  double errors[kWindowMax];
};

// Reduces v[0..kThreads) of both arrays to v[0]. Extremes do not depend on the order.
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

// One block. Stores the non-overflow position, and the plan for the block sums of `count` positions from `below` positions
// below it; no plan if there is nothing to search.
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

// A group of kLanes threads owns a search block of kBlock elements; each thread is one of its lanes, for every candidate.
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

// One block: each thread adds up one candidate, in the order of the blocks. `sums` is shared memory.
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

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_CUDA_SEARCH_H_
