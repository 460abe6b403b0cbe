// FixNeuron, VaiFixNeuron, VaiFixNeuronGrad, VaiSearchPosition and VaiPositionErrors for any device. A Device has
//   static Status Quantize(ctx, x, y, size, position, bits, symmetric, half_up, keep_non_finite);
//   static Status Gradient(ctx, dy, x, dx, size, position, bits, symmetric);
//   static Status Search(ctx, x, size, settings, &position);
//   static Status PositionErrors(ctx, x, size, bits, symmetric, below, above, &first, errors);
#ifndef VAI_Q_TF_KERNELS_QUANTIZE_OPS_H_
#define VAI_Q_TF_KERNELS_QUANTIZE_OPS_H_

#include "op_attrs.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace vai_q_tf {

// Quantizes input 0 into output 0, in place if nothing else reads the input.
template <typename Device>
tensorflow::Status QuantizeInput(tensorflow::OpKernelContext* ctx, int position, int bits, bool symmetric,
                                 bool half_up, bool keep_non_finite) {
  const tensorflow::Tensor& input = ctx->input(0);
  const float* x = input.flat<float>().data();
  tensorflow::Tensor* output;
  TF_RETURN_IF_ERROR(ctx->forward_input_or_allocate_output({0}, 0, input.shape(), &output));
  return Device::Quantize(ctx, x, output->flat<float>().data(), output->NumElements(), position, bits, symmetric,
                          half_up, keep_non_finite);
}

template <typename Device>
tensorflow::Status SearchInput(tensorflow::OpKernelContext* ctx, const SearchSettings& settings, int* position) {
  const tensorflow::Tensor& input = ctx->input(0);
  return Device::Search(ctx, input.flat<float>().data(), input.NumElements(), settings, position);
}

template <typename Device>
class FixNeuronOp : public tensorflow::OpKernel {
 public:
  explicit FixNeuronOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, settings_.Read(ctx));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "phase", 0, 2, &phase_));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "quantize_pos", kPositionMin, kPositionZero, &position_));
    settings_.symmetric = false;
    if (ctx->HasAttr("_symmetric")) OP_REQUIRES_OK(ctx, ctx->GetAttr("_symmetric", &settings_.symmetric));
  }

  void Compute(tensorflow::OpKernelContext* ctx) override {
    int position = position_;
    if (phase_ != 1) OP_REQUIRES_OK(ctx, SearchInput<Device>(ctx, settings_, &position));
    // A model turns NaN and infinity into numbers, as vai_q_tensorflow does; in training they stay.
    OP_REQUIRES_OK(ctx, QuantizeInput<Device>(ctx, position, settings_.bits, settings_.symmetric, settings_.half_up(),
                                              phase_ != 1));
  }

 private:
  SearchSettings settings_;
  int phase_;
  int position_;
};

template <typename Device>
class VaiFixNeuronOp : public tensorflow::OpKernel {
 public:
  explicit VaiFixNeuronOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadBits(ctx, &bits_));
    OP_REQUIRES_OK(ctx, ReadMode(ctx, &mode_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("symmetric", &symmetric_));
  }

  void Compute(tensorflow::OpKernelContext* ctx) override {
    int position = kPositionZero;
    OP_REQUIRES_OK(ctx, ReadPosition(ctx, 1, &position));
    if (position == kNoObservation) {
      ctx->set_output(0, ctx->input(0));
      return;
    }
    OP_REQUIRES_OK(ctx, QuantizeInput<Device>(ctx, position, bits_, symmetric_, RoundsHalfUp(mode_), true));
  }

 private:
  int bits_;
  int mode_;
  bool symmetric_;
};

template <typename Device>
class VaiFixNeuronGradOp : public tensorflow::OpKernel {
 public:
  explicit VaiFixNeuronGradOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadBits(ctx, &bits_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("symmetric", &symmetric_));
  }

  void Compute(tensorflow::OpKernelContext* ctx) override {
    int position = kPositionZero;
    OP_REQUIRES_OK(ctx, ReadPosition(ctx, 2, &position));
    const tensorflow::Tensor& gradient = ctx->input(0);
    const tensorflow::Tensor& input = ctx->input(1);
    OP_REQUIRES_OK(ctx, CheckGradient(ctx, gradient, input));
    if (position == kNoObservation) {
      ctx->set_output(0, gradient);
      return;
    }
    const float* dy = gradient.flat<float>().data();
    const float* x = input.flat<float>().data();
    tensorflow::Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0, 1}, 0, gradient.shape(), &output));
    OP_REQUIRES_OK(ctx, Device::Gradient(ctx, dy, x, output->flat<float>().data(), output->NumElements(), position,
                                         bits_, symmetric_));
  }

 private:
  int bits_;
  bool symmetric_;
};

template <typename Device>
class VaiSearchPositionOp : public tensorflow::OpKernel {
 public:
  explicit VaiSearchPositionOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, settings_.ReadAll(ctx));
  }

  void Compute(tensorflow::OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 1, "track"));
    int position = kNoObservation;
    if (ctx->input(1).flat<bool>()(0)) {
      SearchSettings settings = settings_;
      OP_REQUIRES_OK(ctx, ReadTie(ctx, 2, &settings));
      OP_REQUIRES_OK(ctx, SearchInput<Device>(ctx, settings, &position));
    }
    tensorflow::Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &output));
    output->scalar<tensorflow::int32>()() = position;
  }

 private:
  SearchSettings settings_;
};

template <typename Device>
class VaiPositionErrorsOp : public tensorflow::OpKernel {
 public:
  explicit VaiPositionErrorsOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    int mode;
    OP_REQUIRES_OK(ctx, ReadBits(ctx, &bits_));
    OP_REQUIRES_OK(ctx, ReadMode(ctx, &mode));  // the error of a tie is the same in all modes
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "below", 0, kWindowMax - 1, &below_));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "above", 0, kWindowMax - 1 - below_, &above_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("symmetric", &symmetric_));
  }

  void Compute(tensorflow::OpKernelContext* ctx) override {
    const tensorflow::Tensor& input = ctx->input(0);
    tensorflow::Tensor* first;
    tensorflow::Tensor* errors;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &first));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(1, {below_ + above_ + 1}, &errors));
    OP_REQUIRES_OK(ctx, Device::PositionErrors(ctx, input.flat<float>().data(), input.NumElements(), bits_, symmetric_,
                                               below_, above_, &first->scalar<tensorflow::int32>()(),
                                               errors->flat<double>().data()));
  }

 private:
  int bits_;
  int below_;
  int above_;
  bool symmetric_;
};

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_QUANTIZE_OPS_H_
