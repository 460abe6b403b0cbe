// Runs the CUDA source on the CPU, for tests: one host thread per CUDA thread of a block, one block after another.
#ifndef VAI_Q_TF_KERNELS_CUDA_EMULATION_H_
#define VAI_Q_TF_KERNELS_CUDA_EMULATION_H_

#include <pthread.h>
#include <string.h>

#include <thread>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define VAI_THREADS 32  // few, because each is a thread of the operating system

struct Index {
  unsigned x;
};
static thread_local Index threadIdx, blockIdx;
static Index blockDim, gridDim;
static pthread_barrier_t block_barrier;

static inline void __syncthreads() { pthread_barrier_wait(&block_barrier); }

typedef int cudaError_t;
typedef void* cudaStream_t;
enum { cudaMemcpyDeviceToHost };

static inline cudaError_t cudaGetLastError() { return 0; }
static inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return 0; }
static inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }
static inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return 0;
}
static inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, int, cudaStream_t) {
  memcpy(to, from, size);
  return 0;
}

// The threads synchronize between blocks, so that no block overwrites the shared memory of the one before.
template <typename Kernel>
void EmulateLaunch(int grid, int block, Kernel kernel) {
  blockDim.x = block;
  gridDim.x = grid;
  pthread_barrier_init(&block_barrier, nullptr, block);
  std::vector<std::thread> threads;
  for (int t = 0; t < block; ++t) {
    threads.emplace_back([=] {
      threadIdx.x = t;
      for (int b = 0; b < grid; ++b) {
        blockIdx.x = b;
        kernel();
        __syncthreads();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  pthread_barrier_destroy(&block_barrier);
}

#define VAI_LAUNCH(kernel, grid, block, stream, ...) \
  ((void)(stream), EmulateLaunch(grid, block, [=] { kernel(__VA_ARGS__); }))

#endif  // VAI_Q_TF_KERNELS_CUDA_EMULATION_H_
