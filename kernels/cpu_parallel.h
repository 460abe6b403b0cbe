// The loops of fix_neuron_cpu.h over TensorFlow's thread pool.
#ifndef VAI_Q_TF_KERNELS_CPU_PARALLEL_H_
#define VAI_Q_TF_KERNELS_CPU_PARALLEL_H_

#include "op_attrs.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace vai_q_tf {

void QuantizeParallel(tensorflow::OpKernelContext* ctx, const float* x, float* y, tensorflow::int64 size, int position,
                      int bits, bool symmetric, bool half_up);

void GradientParallel(tensorflow::OpKernelContext* ctx, const float* dy, const float* x, float* dx,
                      tensorflow::int64 size, int position, int bits, bool symmetric);

// The result does not depend on the number of threads.
int SearchParallel(tensorflow::OpKernelContext* ctx, const float* x, tensorflow::int64 size,
                   const SearchSettings& settings);

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_CPU_PARALLEL_H_
