// VaiScaledFixNeuron, VaiScaledFixNeuronGrad and VaiScaledSearchPosition for any device: the quantizing ops on the
// product of a tensor and one scale per channel, which is never stored; VaiFoldingScales computes that scale. A Device has
//   static Status ScaledQuantize(ctx, x, rescale, y, position, bits, symmetric, half_up);
//   static Status ScaledGradient(ctx, dy, x, factor, dx, position, bits, symmetric);
//   static Status ScaledSearch(ctx, x, settings, &position);
//   static Status Scale(ctx, x, factor, y, size, channels);
//   static Status FoldingScales(ctx, scale, typical, weights_scale, rescale, size); weights_scale is null in the second phase.
#ifndef VAI_Q_TF_KERNELS_SCALED_OPS_H_
#define VAI_Q_TF_KERNELS_SCALED_OPS_H_

#include "op_attrs.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace vai_q_tf {

// A tensor with one scale per channel.
struct Scaled {
  const float* x;
  const float* scale;
  tensorflow::int64 size;
  Channels channels;
};

// The tensor of input `index`, scaled by the vector in the next input. Input `other` has one factor per channel, too.
inline tensorflow::Status ReadScaled(tensorflow::OpKernelContext* ctx, int index, tensorflow::int64 inner, int other,
                                     Scaled* scaled) {
  const tensorflow::Tensor& input = ctx->input(index);
  const tensorflow::Tensor& scale = ctx->input(index + 1);
  const tensorflow::int64 size = input.NumElements();
  const tensorflow::int64 count = scale.NumElements();
  if (scale.dims() != 1 || ctx->input(other).shape() != scale.shape()) {
    return tensorflow::errors::InvalidArgument(
        ctx->op_kernel().name(), ": factors of channels are vectors of one length, but have the shapes ",
        scale.shape().DebugString(), " and ", ctx->input(other).shape().DebugString(), ".");
  }
  if (size > 0 && (count == 0 || size % inner != 0 || size / inner % count != 0)) {
    return tensorflow::errors::InvalidArgument(
        ctx->op_kernel().name(), ": the ", size, " elements of the shape ", input.shape().DebugString(),
        " are no multiple of ", count, " channels of ", inner, " consecutive elements.");
  }
  *scaled = {input.flat<float>().data(), scale.flat<float>().data(), size, {count, inner}};
  return tensorflow::Status::OK();
}

template <typename Device>
class VaiScaledFixNeuronOp : public tensorflow::OpKernel {
 public:
  explicit VaiScaledFixNeuronOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadBits(ctx, &bits_));
    OP_REQUIRES_OK(ctx, ReadMode(ctx, &mode_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("inner", &inner_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("symmetric", &symmetric_));
  }

  void Compute(tensorflow::OpKernelContext* ctx) override {
    int position = kPositionZero;
    OP_REQUIRES_OK(ctx, ReadPosition(ctx, ctx->num_inputs() - 1, &position));
    Scaled scaled;
    OP_REQUIRES_OK(ctx, ReadScaled(ctx, 0, inner_, 2, &scaled));
    const float* rescale = ctx->input(2).flat<float>().data();
    tensorflow::Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0}, 0, ctx->input(0).shape(), &output));
    if (scaled.size == 0) return;
    float* y = output->flat<float>().data();
    if (position == kNoObservation) {
      OP_REQUIRES_OK(ctx, Device::Scale(ctx, scaled.x, scaled.scale, y, scaled.size, scaled.channels));
      OP_REQUIRES_OK(ctx, Device::Scale(ctx, y, rescale, y, scaled.size, scaled.channels));
      return;
    }
    OP_REQUIRES_OK(ctx, Device::ScaledQuantize(ctx, scaled, rescale, y, position, bits_, symmetric_,
                                               RoundsHalfUp(mode_)));
  }

 private:
  int bits_;
  int mode_;
  tensorflow::int64 inner_;
  bool symmetric_;
};

template <typename Device>
class VaiScaledFixNeuronGradOp : public tensorflow::OpKernel {
 public:
  explicit VaiScaledFixNeuronGradOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadBits(ctx, &bits_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("inner", &inner_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("symmetric", &symmetric_));
  }

  void Compute(tensorflow::OpKernelContext* ctx) override {
    int position = kPositionZero;
    OP_REQUIRES_OK(ctx, ReadPosition(ctx, 4, &position));
    const tensorflow::Tensor& gradient = ctx->input(0);
    OP_REQUIRES_OK(ctx, CheckGradient(ctx, gradient, ctx->input(1)));
    Scaled scaled;
    OP_REQUIRES_OK(ctx, ReadScaled(ctx, 1, inner_, 3, &scaled));
    const float* dy = gradient.flat<float>().data();
    const float* factor = ctx->input(3).flat<float>().data();
    tensorflow::Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0, 1}, 0, gradient.shape(), &output));
    if (scaled.size == 0) return;
    float* dx = output->flat<float>().data();
    OP_REQUIRES_OK(ctx, position == kNoObservation
                            ? Device::Scale(ctx, dy, factor, dx, scaled.size, scaled.channels)
                            : Device::ScaledGradient(ctx, dy, scaled, factor, dx, position, bits_, symmetric_));
  }

 private:
  int bits_;
  tensorflow::int64 inner_;
  bool symmetric_;
};

template <typename Device>
class VaiScaledSearchPositionOp : public tensorflow::OpKernel {
 public:
  explicit VaiScaledSearchPositionOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, settings_.ReadAll(ctx));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("inner", &inner_));
  }

  void Compute(tensorflow::OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 2, "track"));
    int position = kNoObservation;
    if (ctx->input(2).flat<bool>()(0)) {
      Scaled scaled;
      OP_REQUIRES_OK(ctx, ReadScaled(ctx, 0, inner_, 1, &scaled));
      SearchSettings settings = settings_;
      OP_REQUIRES_OK(ctx, ReadTie(ctx, 3, &settings));
      position = kPositionZero;
      if (scaled.size > 0) OP_REQUIRES_OK(ctx, Device::ScaledSearch(ctx, scaled, settings, &position));
    }
    tensorflow::Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &output));
    output->scalar<tensorflow::int32>()() = position;
  }

 private:
  SearchSettings settings_;
  tensorflow::int64 inner_;
};

template <typename Device>
class VaiFoldingScalesOp : public SmallOp {
 public:
  explicit VaiFoldingScalesOp(tensorflow::OpKernelConstruction* ctx) : SmallOp(ctx) {
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "M", 0, 1, &flags_));
  }

  void Compute(tensorflow::OpKernelContext* ctx) override {
    const tensorflow::Tensor& scale = ctx->input(0);
    const tensorflow::Tensor& typical = ctx->input(1);
    if (flags_ > 0) OP_REQUIRES_OK(ctx, CheckScalar(ctx, 2, "first"));
    OP_REQUIRES(ctx, scale.dims() == 1 && scale.shape() == typical.shape(),
                tensorflow::errors::InvalidArgument(
                    ctx->op_kernel().name(), ": scale and typical are vectors of one length, but have the shapes ",
                    scale.shape().DebugString(), " and ", typical.shape().DebugString(), "."));
    for (int i = 2; i < ctx->num_outputs(); ++i) ctx->set_output(i, ctx->input(i + flags_));
    tensorflow::Tensor* rescale;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(1, scale.shape(), &rescale));
    float* weights_scale = nullptr;
    if (flags_ == 0 || ctx->input(2).flat<bool>()(0)) {
      tensorflow::Tensor* output;
      OP_REQUIRES_OK(ctx, ctx->allocate_output(0, scale.shape(), &output));
      weights_scale = output->flat<float>().data();
    } else {
      ctx->set_output(0, scale);
    }
    if (scale.NumElements() == 0) return;
    OP_REQUIRES_OK(ctx, Device::FoldingScales(ctx, scale.flat<float>().data(), typical.flat<float>().data(), weights_scale,
                                              rescale->flat<float>().data(), scale.NumElements()));
  }

 private:
  int flags_;  // number of inputs `first`, 0 or 1
};

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_SCALED_OPS_H_
