// VaiThresholdGrad and VaiScaledThresholdGrad for any device: the gradient with respect to the log2 of a tensor's threshold, a
// double scalar in the memory of the device. A Device has
//   static Status ThresholdGradient(ctx, dy, x, size, position, bits, symmetric, half_up, result);
//   static Status ScaledThresholdGradient(ctx, dy, x, factor, position, bits, symmetric, half_up, result);
#ifndef VAI_Q_TF_KERNELS_THRESHOLD_OPS_H_
#define VAI_Q_TF_KERNELS_THRESHOLD_OPS_H_

#include "op_attrs.h"
#include "scaled_ops.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace vai_q_tf {

class ThresholdGradOp : public tensorflow::OpKernel {
 public:
  explicit ThresholdGradOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadBits(ctx, &bits_));
    OP_REQUIRES_OK(ctx, ReadMode(ctx, &mode_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("symmetric", &symmetric_));
  }

 protected:
  // The position in input `index`, and whether there is a threshold to learn: the next input is true, and the position is not
  // kNoObservation.
  tensorflow::Status ReadThreshold(tensorflow::OpKernelContext* ctx, int index, int* position, bool* learns) const {
    TF_RETURN_IF_ERROR(ReadPosition(ctx, index, position));
    TF_RETURN_IF_ERROR(CheckScalar(ctx, index + 1, "learning"));
    *learns = ctx->input(index + 1).flat<bool>()(0) && *position != kNoObservation && *position != kPositionZero;
    if (!*learns) *position = kPositionZero;
    return tensorflow::Status::OK();
  }

  int bits_;
  int mode_;
  bool symmetric_;
};

template <typename Device>
class VaiThresholdGradOp : public ThresholdGradOp {
 public:
  using ThresholdGradOp::ThresholdGradOp;

  void Compute(tensorflow::OpKernelContext* ctx) override {
    int position = kPositionZero;
    bool learns = false;
    OP_REQUIRES_OK(ctx, ReadThreshold(ctx, 2, &position, &learns));
    const tensorflow::Tensor& gradient = ctx->input(0);
    const tensorflow::Tensor& input = ctx->input(1);
    OP_REQUIRES_OK(ctx, CheckGradient(ctx, gradient, input));
    tensorflow::Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &output));
    OP_REQUIRES_OK(ctx, Device::ThresholdGradient(ctx, gradient.flat<float>().data(), input.flat<float>().data(),
                                                  learns ? input.NumElements() : 0, position, bits_, symmetric_,
                                                  RoundsHalfUp(mode_), output->flat<double>().data()));
  }
};

template <typename Device>
class VaiScaledThresholdGradOp : public ThresholdGradOp {
 public:
  explicit VaiScaledThresholdGradOp(tensorflow::OpKernelConstruction* ctx) : ThresholdGradOp(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("inner", &inner_));
  }

  void Compute(tensorflow::OpKernelContext* ctx) override {
    int position = kPositionZero;
    bool learns = false;
    OP_REQUIRES_OK(ctx, ReadThreshold(ctx, 4, &position, &learns));
    OP_REQUIRES_OK(ctx, CheckGradient(ctx, ctx->input(0), ctx->input(1)));
    Scaled scaled;
    OP_REQUIRES_OK(ctx, ReadScaled(ctx, 1, inner_, 3, &scaled));
    if (!learns) scaled.size = 0;
    tensorflow::Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &output));
    OP_REQUIRES_OK(ctx, Device::ScaledThresholdGradient(
                            ctx, ctx->input(0).flat<float>().data(), scaled, ctx->input(3).flat<float>().data(), position,
                            bits_, symmetric_, RoundsHalfUp(mode_), output->flat<double>().data()));
  }

 private:
  tensorflow::int64 inner_;
};

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_THRESHOLD_OPS_H_
