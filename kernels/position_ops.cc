// Moving positions: histograms of the positions found in training steps, in an ordinary resource variable.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "position_table.h"

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

constexpr float kForgotten = 1e-30f;  // a smaller count becomes 0

// The position that a row elects; without an observation, the legal position instead, if there are any. kNoObservation while
// positions are calibrated, so that values stay unchanged.
class ElectingOp : public SmallOp {
 public:
  explicit ElectingOp(OpKernelConstruction* ctx) : SmallOp(ctx) {
    OP_REQUIRES_OK(ctx, ReadRows(ctx, &rows_));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "row", 0, rows_ - 1, &row_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("tensor", &tensor_name_));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "N", 0, 1, &legals_));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "M", 0, 1, &flags_));
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 1, "batch_position"));
    const int batch_position = ctx->input(1).flat<tensorflow::int32>()(0);
    if (batch_position != kNoObservation) OP_REQUIRES_OK(ctx, CheckPosition(name(), batch_position));
    bool calibrating = false;
    if (flags_ > 0) {
      OP_REQUIRES_OK(ctx, CheckScalar(ctx, 2 + legals_, "calibrating"));
      calibrating = ctx->input(2 + legals_).flat<bool>()(0);
    }
    Tensor* position;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &position));

    Var* state;
    OP_REQUIRES_OK(ctx, FindState(ctx, rows_, &state));
    tensorflow::core::ScopedUnref unref(state);
    tensorflow::mutex_lock lock(*state->mu());
    OP_REQUIRES_OK(ctx, CheckState(ctx, rows_, state));
    int elected = kNoObservation;
    OP_REQUIRES_OK(ctx, ElectRow(ctx, state, batch_position, &elected));
    if (calibrating) {
      elected = kNoObservation;
    } else {
      OP_REQUIRES(ctx, elected != kNoObservation, NeverTracked(name(), tensor_name_));
      if (batch_position == kNoObservation && legals_ > 0) OP_REQUIRES_OK(ctx, ReadLegal(ctx, row_, &elected));
    }
    position->scalar<tensorflow::int32>()() = elected;
  }

 protected:
  // The position that the row elects in a step; kNoObservation if nothing was counted.
  virtual Status ElectRow(OpKernelContext* ctx, Var* state, int batch_position, int* elected) const = 0;

  int rows_ = 0;
  int row_ = 0;

 private:
  std::string tensor_name_;
  int legals_ = 0;  // number of inputs `legal` and `calibrating`, each 0 or 1
  int flags_ = 0;
};

class MovingPositionOp : public ElectingOp {
 public:
  explicit MovingPositionOp(OpKernelConstruction* ctx) : ElectingOp(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("decay", &decay_));
    OP_REQUIRES(ctx, decay_ > 0.0f && decay_ <= 1.0f,
                errors::InvalidArgument(name(), ": decay is ", decay_, ", it must be above 0 and at most 1."));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("copies", &copies_));
    for (int copy : copies_) {
      OP_REQUIRES(ctx, copy >= 0 && copy < rows_ && copy != row_,
                  errors::InvalidArgument(name(), ": copies has ", copy, ", it must be another row of ", rows_, "."));
    }
  }

 protected:
  Status ElectRow(OpKernelContext* ctx, Var* state, int batch_position, int* elected) const override {
    *elected = Elect(state->tensor()->flat<float>().data() + row_ * kBins);
    // All zeros, or a batch without examples, carries no information once other values were seen.
    const bool tells = batch_position != kPositionZero || *elected == kNoObservation || *elected == kPositionZero;
    if (batch_position == kNoObservation || !tells) return Status::OK();
    TF_RETURN_IF_ERROR(Vote(ctx, state, batch_position));
    *elected = Elect(state->tensor()->flat<float>().data() + row_ * kBins);
    return Status::OK();
  }

 private:
  Status Vote(OpKernelContext* ctx, Var* state, int position) const {
    float* table = nullptr;
    TF_RETURN_IF_ERROR(OwnTable(ctx, rows_, state, &table));
    float* bins = table + row_ * kBins;
    for (int i = 0; i < kBins; ++i) {
      const float count = bins[i] * decay_;
      bins[i] = count < kForgotten ? 0.0f : count;
    }
    bins[position + kZeroBin] += 1.0f;
    for (int copy : copies_) std::copy_n(bins, kBins, table + copy * kBins);
    return Status::OK();
  }

  float decay_;
  std::vector<int> copies_;
};

// The position that a row elects before the step's vote; the batch position if it has no votes yet.
class KeptPositionOp : public ElectingOp {
 public:
  using ElectingOp::ElectingOp;

 protected:
  Status ElectRow(OpKernelContext* ctx, Var* state, int batch_position, int* elected) const override {
    *elected = Elect(state->tensor()->flat<float>().data() + row_ * kBins);
    if (*elected == kNoObservation) *elected = batch_position;
    return Status::OK();
  }
};

class ReadPositionsOp : public SmallOp {
 public:
  explicit ReadPositionsOp(OpKernelConstruction* ctx) : SmallOp(ctx) {
    OP_REQUIRES_OK(ctx, ReadRows(ctx, &rows_));
  }

  void Compute(OpKernelContext* ctx) override {
    Var* state;
    OP_REQUIRES_OK(ctx, FindState(ctx, rows_, &state));
    tensorflow::core::ScopedUnref unref(state);
    tensorflow::mutex_lock lock(*state->mu());
    OP_REQUIRES_OK(ctx, CheckState(ctx, rows_, state));
    ctx->set_output(0, *state->tensor());  // shares the memory; the next vote copies
  }

 private:
  int rows_;
};

class WritePositionsOp : public OpKernel {
 public:
  explicit WritePositionsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadRows(ctx, &rows_));
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
    Tensor written;  // fed memory belongs to Python
    OP_REQUIRES_OK(ctx, NewTable(ctx, rows_, counts.data(), &written));
    Var* state;
    OP_REQUIRES_OK(ctx, FindState(ctx, rows_, &state));
    tensorflow::core::ScopedUnref unref(state);
    tensorflow::mutex_lock lock(*state->mu());
    *state->tensor() = written;
    state->is_initialized = true;
  }

 private:
  int rows_;
};

REGISTER_KERNEL_BUILDER(Name("VaiMovingPosition").Device(tensorflow::DEVICE_CPU), MovingPositionOp);
REGISTER_KERNEL_BUILDER(Name("VaiKeptPosition").Device(tensorflow::DEVICE_CPU), KeptPositionOp);
REGISTER_KERNEL_BUILDER(Name("VaiReadPositions").Device(tensorflow::DEVICE_CPU), ReadPositionsOp);
REGISTER_KERNEL_BUILDER(Name("VaiWritePositions").Device(tensorflow::DEVICE_CPU), WritePositionsOp);

}  // namespace
}  // namespace vai_q_tf
