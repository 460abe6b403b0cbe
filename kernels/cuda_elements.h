// The number of CUDA threads, the elements that each one visits, and their channels. Included after CUDA or its emulation.
#ifndef VAI_Q_TF_KERNELS_CUDA_ELEMENTS_H_
#define VAI_Q_TF_KERNELS_CUDA_ELEMENTS_H_

#include "fix_neuron.h"

namespace vai_q_tf {

#ifndef VAI_THREADS
#define VAI_THREADS 256
#endif

enum : int {
  kThreads = VAI_THREADS,
  kMaxGrid = 4096,      // blocks of an element-wise launch; each strides over the rest
  kExtremesGrid = 512,  // blocks of the search for extremes, and partial results that one block then reduces
};

__device__ inline int64_t GlobalThread() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ inline int64_t GlobalStride() { return (int64_t)gridDim.x * blockDim.x; }

// The channels of the elements that a thread visits. Divides twice, instead of once per element.
class ChannelWalk {
 public:
  __device__ ChannelWalk(const Channels& channels, int64_t first, int64_t stride)
      : channels_(channels),
        within_(first % channels.inner),
        channel_(first / channels.inner % channels.count),
        step_within_(stride % channels.inner),
        step_channel_(stride / channels.inner % channels.count) {}

  __device__ int64_t Channel() const { return channel_; }

  __device__ void Next() {
    within_ += step_within_;
    channel_ += step_channel_;
    if (within_ >= channels_.inner) {
      within_ -= channels_.inner;
      ++channel_;
    }
    if (channel_ >= channels_.count) channel_ -= channels_.count;
  }

 private:
  const Channels channels_;
  int64_t within_;
  int64_t channel_;
  const int64_t step_within_;
  const int64_t step_channel_;
};

// The elements of a search. Walk(first, stride) visits them: Value() is the current one, Next() advances.
struct Elements {
  const float* x;

  struct Cursor {
    const float* x;
    int64_t i;
    int64_t stride;

    __device__ float Value() const { return x[i]; }
    __device__ void Next() { i += stride; }
  };

  __device__ Cursor Walk(int64_t first, int64_t stride) const { return Cursor{x, first, stride}; }
};

struct ScaledElements {
  const float* x;
  const float* scale;
  Channels channels;

  struct Cursor {
    Elements::Cursor element;
    const float* scale;
    ChannelWalk walk;

    __device__ float Value() const { return Product(element.Value(), scale[walk.Channel()]); }
    __device__ void Next() {
      element.Next();
      walk.Next();
    }
  };

  __device__ Cursor Walk(int64_t first, int64_t stride) const {
    return Cursor{{x, first, stride}, scale, ChannelWalk(channels, first, stride)};
  }
};

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_CUDA_ELEMENTS_H_
