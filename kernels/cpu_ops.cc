// FixNeuron, VaiFixNeuron, VaiFixNeuronGrad and VaiSearchPosition on the CPU.
#include "cpu_parallel.h"
#include "op_attrs.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace vai_q_tf {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

class FixNeuronOp : public OpKernel {
 public:
  explicit FixNeuronOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, settings_.Read(ctx));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "phase", 0, 2, &phase_));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "quantize_pos", kPositionMin, kPositionZero, &position_));
    if (ctx->HasAttr("_symmetric")) OP_REQUIRES_OK(ctx, ctx->GetAttr("_symmetric", &settings_.symmetric));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& input = ctx->input(0);
    const float* x = input.flat<float>().data();
    const int position = phase_ == 1 ? position_ : SearchParallel(ctx, x, input.NumElements(), settings_);
    Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0}, 0, input.shape(), &output));
    QuantizeParallel(ctx, x, output->flat<float>().data(), output->NumElements(), position, settings_.bits,
                     settings_.symmetric, settings_.half_up());
  }

 private:
  SearchSettings settings_;
  int phase_;
  int position_;
};

class VaiFixNeuronOp : public OpKernel {
 public:
  explicit VaiFixNeuronOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadBits(ctx, &bits_));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "mode", 0, 2, &mode_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("symmetric", &symmetric_));
  }

  void Compute(OpKernelContext* ctx) override {
    int position = kPositionZero;
    OP_REQUIRES_OK(ctx, ReadPosition(ctx, 1, &position));
    const Tensor& input = ctx->input(0);
    const float* x = input.flat<float>().data();
    Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0}, 0, input.shape(), &output));
    QuantizeParallel(ctx, x, output->flat<float>().data(), output->NumElements(), position, bits_, symmetric_,
                     RoundsHalfUp(mode_));
  }

 private:
  int bits_;
  int mode_;
  bool symmetric_;
};

class VaiFixNeuronGradOp : public OpKernel {
 public:
  explicit VaiFixNeuronGradOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadBits(ctx, &bits_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("symmetric", &symmetric_));
  }

  void Compute(OpKernelContext* ctx) override {
    int position = kPositionZero;
    OP_REQUIRES_OK(ctx, ReadPosition(ctx, 2, &position));
    const Tensor& gradient = ctx->input(0);
    const Tensor& input = ctx->input(1);
    OP_REQUIRES(ctx, gradient.shape() == input.shape(),
                tensorflow::errors::InvalidArgument(name(), ": the gradient has the shape ",
                                                    gradient.shape().DebugString(), ", the input ",
                                                    input.shape().DebugString(), "."));
    const float* dy = gradient.flat<float>().data();
    const float* x = input.flat<float>().data();
    Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0, 1}, 0, gradient.shape(), &output));
    GradientParallel(ctx, dy, x, output->flat<float>().data(), output->NumElements(), position, bits_, symmetric_);
  }

 private:
  int bits_;
  bool symmetric_;
};

class VaiSearchPositionOp : public OpKernel {
 public:
  explicit VaiSearchPositionOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, settings_.Read(ctx));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("symmetric", &settings_.symmetric));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& input = ctx->input(0);
    const Tensor& track = ctx->input(1);
    OP_REQUIRES(ctx, track.NumElements() == 1,
                tensorflow::errors::InvalidArgument(name(), ": track must be one boolean, its shape is ",
                                                    track.shape().DebugString(), "."));
    Tensor* position;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &position));
    position->scalar<tensorflow::int32>()() =
        track.flat<bool>()(0) ? SearchParallel(ctx, input.flat<float>().data(), input.NumElements(), settings_)
                              : kNoObservation;
  }

 private:
  SearchSettings settings_;
};

REGISTER_KERNEL_BUILDER(Name("FixNeuron").Device(tensorflow::DEVICE_CPU), FixNeuronOp);
REGISTER_KERNEL_BUILDER(Name("VaiFixNeuron").Device(tensorflow::DEVICE_CPU), VaiFixNeuronOp);
REGISTER_KERNEL_BUILDER(Name("VaiFixNeuronGrad").Device(tensorflow::DEVICE_CPU), VaiFixNeuronGradOp);
REGISTER_KERNEL_BUILDER(Name("VaiSearchPosition").Device(tensorflow::DEVICE_CPU), VaiSearchPositionOp);

}  // namespace
}  // namespace vai_q_tf
