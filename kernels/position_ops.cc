// Moving positions: histograms of the positions that the training steps found, in an ordinary resource variable.
//
// The ops create the variable with zeros when it does not exist yet, so a graph needs no initializer for it and a
// checkpoint that lacks it does no harm.
#include <algorithm>
#include <cmath>
#include <string>

#include "op_attrs.h"
#include "tensorflow/core/common_runtime/dma_helper.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/tensor_util.h"

namespace vai_q_tf {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Status;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::Var;
namespace errors = tensorflow::errors;

constexpr int kBins = 256;
constexpr int kZeroBin = 128;        // the bin of position 0
constexpr float kForgotten = 1e-30f;  // a smaller count becomes 0

Tensor Zeros(int rows) {
  Tensor zeros(tensorflow::DT_FLOAT, TensorShape({rows, kBins}));
  zeros.flat<float>().setZero();
  return zeros;
}

// The variable behind input 0. Its mutex is not held.
Status FindState(OpKernelContext* ctx, int rows, Var** state) {
  const auto create = [rows](Var** created) {
    *created = new Var(tensorflow::DT_FLOAT);
    *(*created)->tensor() = Zeros(rows);
    (*created)->is_initialized = true;
    return Status::OK();
  };
  return tensorflow::LookupOrCreateResource<Var>(ctx, tensorflow::HandleFromInput(ctx, 0), state, create);
}

// The caller holds the mutex. Makes the histograms usable, or says why they are not.
Status CheckState(const std::string& node, int rows, Var* state) {
  if (!state->is_initialized) {
    *state->tensor() = Zeros(rows);
    state->is_initialized = true;
  }
  const Tensor& tensor = *state->tensor();
  if (tensor.dtype() != tensorflow::DT_FLOAT || tensor.shape() != TensorShape({rows, kBins})) {
    return errors::InvalidArgument(node, ": the positions are ", state->DebugString(), ", expected float [", rows, ",",
                                   kBins, "]. The checkpoint or variable is of a graph with other quantized tensors.");
  }
  return Status::OK();
}

// Whether the memory of the variable is also that of a reader, or of an array that Python fed.
bool IsShared(Tensor* tensor) {
  tensorflow::TensorBuffer* buffer = tensorflow::DMAHelper::buffer(tensor);
  return !(buffer->RefCountIsOne() && buffer->root_buffer()->RefCountIsOne() && buffer->OwnsMemory());
}

class MovingPositionOp : public OpKernel {
 public:
  explicit MovingPositionOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("rows", &rows_));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "row", 0, rows_ - 1, &row_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("decay", &decay_));
    OP_REQUIRES(ctx, decay_ > 0.0f && decay_ <= 1.0f,
                errors::InvalidArgument(name(), ": decay is ", decay_, ", it must be above 0 and at most 1."));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("tensor", &tensor_name_));
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 1, "batch_position"));
    const int batch_position = ctx->input(1).flat<tensorflow::int32>()(0);
    if (batch_position != kNoObservation) OP_REQUIRES_OK(ctx, CheckPosition(name(), batch_position));
    Tensor* position;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &position));

    Var* state;
    OP_REQUIRES_OK(ctx, FindState(ctx, rows_, &state));
    tensorflow::core::ScopedUnref unref(state);
    tensorflow::mutex_lock lock(*state->mu());
    OP_REQUIRES_OK(ctx, CheckState(name(), rows_, state));
    if (batch_position != kNoObservation) Vote(state, batch_position);
    OP_REQUIRES_OK(ctx, Elect(state->tensor()->flat<float>().data() + row_ * kBins,
                              &position->scalar<tensorflow::int32>()()));
  }

 private:
  void Vote(Var* state, int position) const {
    if (IsShared(state->tensor())) *state->tensor() = tensorflow::tensor::DeepCopy(*state->tensor());
    float* bins = state->tensor()->flat<float>().data() + row_ * kBins;
    for (int i = 0; i < kBins; ++i) {
      const float count = bins[i] * decay_;
      bins[i] = count < kForgotten ? 0.0f : count;
    }
    bins[position + kZeroBin] += 1.0f;
  }

  // The most frequent position, the smallest of ties; "all zero" only where nothing else was ever seen.
  Status Elect(const float* bins, tensorflow::int32* position) const {
    const float* zero = bins + kPositionZero + kZeroBin;
    const float* best = std::max_element(bins, zero);
    if (!(*best > 0.0f)) best = zero;
    if (!(*best > 0.0f)) {
      return errors::FailedPrecondition(
          "The quantize position of tensor '", tensor_name_, "' was never tracked (", name(),
          "). Train with quantization for at least one step, or restore a checkpoint that was saved during "
          "quantization-aware training. A Saver with a list of variables needs the objects of the collection "
          "SAVEABLE_OBJECTS in it too, both to save and to restore positions.");
    }
    *position = static_cast<tensorflow::int32>(best - bins) - kZeroBin;
    return Status::OK();
  }

  int rows_;
  int row_;
  float decay_;
  std::string tensor_name_;
};

class ReadPositionsOp : public OpKernel {
 public:
  explicit ReadPositionsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("rows", &rows_));
  }

  void Compute(OpKernelContext* ctx) override {
    Var* state;
    OP_REQUIRES_OK(ctx, FindState(ctx, rows_, &state));
    tensorflow::core::ScopedUnref unref(state);
    tensorflow::mutex_lock lock(*state->mu());
    OP_REQUIRES_OK(ctx, CheckState(name(), rows_, state));
    ctx->set_output(0, *state->tensor());  // shares the memory; the next vote copies
  }

 private:
  int rows_;
};

class WritePositionsOp : public OpKernel {
 public:
  explicit WritePositionsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("rows", &rows_));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& histograms = ctx->input(1);
    OP_REQUIRES(ctx, histograms.shape() == TensorShape({rows_, kBins}),
                errors::InvalidArgument(name(), ": the histograms have the shape ", histograms.shape().DebugString(),
                                        ", expected [", rows_, ",", kBins, "]."));
    const auto counts = histograms.flat<float>();
    for (tensorflow::int64 i = 0; i < counts.size(); ++i) {
      OP_REQUIRES(ctx, std::isfinite(counts(i)) && counts(i) >= 0.0f,
                  errors::InvalidArgument(name(), ": row ", i / kBins, " of the histograms holds ", counts(i),
                                          " for position ", i % kBins - kZeroBin,
                                          "; counts are finite and not negative."));
    }
    Var* state;
    OP_REQUIRES_OK(ctx, FindState(ctx, rows_, &state));
    tensorflow::core::ScopedUnref unref(state);
    tensorflow::mutex_lock lock(*state->mu());
    *state->tensor() = tensorflow::tensor::DeepCopy(histograms);  // fed memory belongs to Python
    state->is_initialized = true;
  }

 private:
  int rows_;
};

REGISTER_KERNEL_BUILDER(Name("VaiMovingPosition").Device(tensorflow::DEVICE_CPU), MovingPositionOp);
REGISTER_KERNEL_BUILDER(Name("VaiReadPositions").Device(tensorflow::DEVICE_CPU), ReadPositionsOp);
REGISTER_KERNEL_BUILDER(Name("VaiWritePositions").Device(tensorflow::DEVICE_CPU), WritePositionsOp);

}  // namespace
}  // namespace vai_q_tf
