// The quantizing ops on a GPU, over fix_neuron_cuda.h. Needs no CUDA header, so it compiles against every wheel.
#include "fix_neuron_cuda.h"
#include "quantize_ops.h"
#include "scaled_ops.h"
#include "tensorflow/stream_executor/stream.h"
#include "tensorflow/stream_executor/stream_executor_internal.h"
#include "threshold_ops.h"

namespace vai_q_tf {
namespace {

using tensorflow::int64;
using tensorflow::OpKernelContext;
using tensorflow::Status;

void* StreamOf(OpKernelContext* ctx) { return ctx->op_device_context()->stream()->implementation()->GpuStreamHack(); }

Status CheckCuda(OpKernelContext* ctx, int error) {
  if (error == 0) return Status::OK();
  return tensorflow::errors::Internal(ctx->op_kernel().name(), ": CUDA error ", error, ": ", VaiCudaErrorString(error));
}

Status AllocateScratch(OpKernelContext* ctx, int64 bytes, tensorflow::Tensor* scratch) {
  return ctx->allocate_temp(tensorflow::DT_INT8, tensorflow::TensorShape({bytes}), scratch);
}

struct Gpu {
  static Status Quantize(OpKernelContext* ctx, const float* x, float* y, int64 size, int position, int bits,
                         bool symmetric, bool half_up, bool keep_non_finite) {
    return CheckCuda(ctx, VaiCudaQuantize(x, y, size, position, bits, symmetric, half_up, keep_non_finite, StreamOf(ctx)));
  }

  static Status Gradient(OpKernelContext* ctx, const float* dy, const float* x, float* dx, int64 size, int position,
                         int bits, bool symmetric) {
    return CheckCuda(ctx, VaiCudaGradient(dy, x, dx, size, position, bits, symmetric, StreamOf(ctx)));
  }

  static Status Search(OpKernelContext* ctx, const float* x, int64 size, const SearchSettings& settings,
                       int* position) {
    tensorflow::Tensor scratch;
    TF_RETURN_IF_ERROR(AllocateScratch(ctx, VaiCudaSearchScratch(size), &scratch));
    return CheckCuda(ctx, VaiCudaSearch(x, size, settings.bits, settings.method, settings.relative(),
                                        settings.symmetric, settings.tie, scratch.flat<tensorflow::int8>().data(),
                                        position, StreamOf(ctx)));
  }

  static Status PositionErrors(OpKernelContext* ctx, const float* x, int64 size, int bits, bool symmetric, int below,
                               int above, int* first, double* errors) {
    tensorflow::Tensor scratch;
    TF_RETURN_IF_ERROR(AllocateScratch(ctx, VaiCudaPositionErrorsScratch(size, below, above), &scratch));
    return CheckCuda(ctx, VaiCudaPositionErrors(x, size, bits, symmetric, below, above,
                                                scratch.flat<tensorflow::int8>().data(), first, errors, StreamOf(ctx)));
  }

  static Status ScaledQuantize(OpKernelContext* ctx, const Scaled& x, const float* rescale, float* y, int position,
                               int bits, bool symmetric, bool half_up) {
    return CheckCuda(ctx, VaiCudaScaledQuantize(x.x, x.scale, rescale, y, x.size, x.channels.count, x.channels.inner,
                                                position, bits, symmetric, half_up, StreamOf(ctx)));
  }

  static Status ScaledGradient(OpKernelContext* ctx, const float* dy, const Scaled& x, const float* factor, float* dx,
                               int position, int bits, bool symmetric) {
    return CheckCuda(ctx, VaiCudaScaledGradient(dy, x.x, x.scale, factor, dx, x.size, x.channels.count,
                                                x.channels.inner, position, bits, symmetric, StreamOf(ctx)));
  }

  static Status Scale(OpKernelContext* ctx, const float* x, const float* factor, float* y, int64 size,
                      const Channels& channels) {
    return CheckCuda(ctx, VaiCudaScale(x, factor, y, size, channels.count, channels.inner, StreamOf(ctx)));
  }

  static Status FoldingScales(OpKernelContext* ctx, const float* scale, const float* typical, float* weights_scale,
                              float* rescale, int64 size) {
    return CheckCuda(ctx, VaiCudaFoldingScales(scale, typical, weights_scale, rescale, size, StreamOf(ctx)));
  }

  static Status ThresholdGradient(OpKernelContext* ctx, const float* dy, const float* x, int64 size, int position,
                                  int bits, bool symmetric, bool half_up, double* result) {
    tensorflow::Tensor scratch;
    TF_RETURN_IF_ERROR(AllocateScratch(ctx, VaiCudaThresholdGradientScratch(size), &scratch));
    return CheckCuda(ctx, VaiCudaThresholdGradient(dy, x, size, position, bits, symmetric, half_up,
                                                   scratch.flat<tensorflow::int8>().data(), result, StreamOf(ctx)));
  }

  static Status ScaledThresholdGradient(OpKernelContext* ctx, const float* dy, const Scaled& x, const float* factor,
                                        int position, int bits, bool symmetric, bool half_up, double* result) {
    tensorflow::Tensor scratch;
    TF_RETURN_IF_ERROR(AllocateScratch(ctx, VaiCudaThresholdGradientScratch(x.size), &scratch));
    return CheckCuda(ctx, VaiCudaScaledThresholdGradient(
                              dy, x.x, x.scale, factor, x.size, x.channels.count, x.channels.inner, position, bits,
                              symmetric, half_up, scratch.flat<tensorflow::int8>().data(), result, StreamOf(ctx)));
  }

  static Status ScaledSearch(OpKernelContext* ctx, const Scaled& x, const SearchSettings& settings, int* position) {
    tensorflow::Tensor scratch;
    TF_RETURN_IF_ERROR(AllocateScratch(ctx, VaiCudaSearchScratch(x.size), &scratch));
    return CheckCuda(ctx, VaiCudaScaledSearch(x.x, x.scale, x.size, x.channels.count, x.channels.inner, settings.bits,
                                              settings.method, settings.relative(), settings.symmetric, settings.tie,
                                              scratch.flat<tensorflow::int8>().data(), position, StreamOf(ctx)));
  }
};

REGISTER_KERNEL_BUILDER(Name("FixNeuron").Device(tensorflow::DEVICE_GPU), FixNeuronOp<Gpu>);
REGISTER_KERNEL_BUILDER(Name("VaiFixNeuron").Device(tensorflow::DEVICE_GPU).HostMemory("position"),
                        VaiFixNeuronOp<Gpu>);
REGISTER_KERNEL_BUILDER(Name("VaiFixNeuronGrad").Device(tensorflow::DEVICE_GPU).HostMemory("position"),
                        VaiFixNeuronGradOp<Gpu>);
REGISTER_KERNEL_BUILDER(
    Name("VaiSearchPosition").Device(tensorflow::DEVICE_GPU).HostMemory("track").HostMemory("tie").HostMemory("position"),
    VaiSearchPositionOp<Gpu>);
REGISTER_KERNEL_BUILDER(
    Name("VaiPositionErrors").Device(tensorflow::DEVICE_GPU).HostMemory("first").HostMemory("errors"),
    VaiPositionErrorsOp<Gpu>);
REGISTER_KERNEL_BUILDER(
    Name("VaiScaledFixNeuron").Device(tensorflow::DEVICE_GPU).HostMemory("position").HostMemory("constant"),
    VaiScaledFixNeuronOp<Gpu>);
REGISTER_KERNEL_BUILDER(Name("VaiScaledFixNeuronGrad").Device(tensorflow::DEVICE_GPU).HostMemory("position"),
                        VaiScaledFixNeuronGradOp<Gpu>);
REGISTER_KERNEL_BUILDER(
    Name("VaiScaledSearchPosition")
        .Device(tensorflow::DEVICE_GPU)
        .HostMemory("track")
        .HostMemory("tie")
        .HostMemory("position"),
    VaiScaledSearchPositionOp<Gpu>);
REGISTER_KERNEL_BUILDER(Name("VaiFoldingScales").Device(tensorflow::DEVICE_GPU).HostMemory("first"),
                        VaiFoldingScalesOp<Gpu>);
REGISTER_KERNEL_BUILDER(
    Name("VaiThresholdGrad").Device(tensorflow::DEVICE_GPU).HostMemory("position").HostMemory("learning"),
    VaiThresholdGradOp<Gpu>);
REGISTER_KERNEL_BUILDER(
    Name("VaiScaledThresholdGrad").Device(tensorflow::DEVICE_GPU).HostMemory("position").HostMemory("learning"),
    VaiScaledThresholdGradOp<Gpu>);

}  // namespace
}  // namespace vai_q_tf
