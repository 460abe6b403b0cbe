// The CUDA kernels for the gradient of a threshold, summed in the same order as on the CPU: rows of a block in lanes, lanes,
// blocks. Included after CUDA or its emulation.
#ifndef VAI_Q_TF_KERNELS_CUDA_THRESHOLD_H_
#define VAI_Q_TF_KERNELS_CUDA_THRESHOLD_H_

#include "cuda_elements.h"
#include "fix_neuron.h"

namespace vai_q_tf {

// A group of kLanes threads owns a block of kBlock elements; each thread is one of its lanes.
template <bool kHalfUp, typename Source>
__global__ void ThresholdTermsKernel(Source gradients, Source source, int64_t size, int64_t blocks, Format format,
                                     double* sums) {
  enum : int { kGroups = kThreads / kLanes };
  __shared__ double lanes[kGroups][kLanes];
  const int group = threadIdx.x / kLanes;
  const int lane = threadIdx.x % kLanes;
  for (int64_t first = (int64_t)blockIdx.x * kGroups; first < blocks; first += (int64_t)gridDim.x * kGroups) {
    const int64_t block = first + group;
    double sum = 0.0;
    if (block < blocks) {
      int64_t i = block * kBlock + lane;
      const int64_t end = size < (block + 1) * kBlock ? size : (block + 1) * kBlock;
      typename Source::Cursor dy = gradients.Walk(i, kLanes);
      typename Source::Cursor x = source.Walk(i, kLanes);
      for (; i < end; i += kLanes, dy.Next(), x.Next()) sum += ThresholdTerm<kHalfUp>(dy.Value(), x.Value(), format);
    }
    lanes[group][lane] = sum;
    __syncthreads();
    if (block < blocks && lane == 0) {
      double total = 0.0;
      for (int j = 0; j < kLanes; ++j) total += lanes[group][j];
      sums[block] = total;
    }
    __syncthreads();
  }
}

// One thread.
__global__ void ThresholdGradientKernel(const double* sums, int64_t blocks, Format format, double* result) {
  double sum = 0.0;
  for (int64_t block = 0; block < blocks; ++block) sum += sums[block];
  *result = ThresholdGradient(sum, format);
}

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_CUDA_THRESHOLD_H_
