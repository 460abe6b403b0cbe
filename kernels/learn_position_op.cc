// Learned positions: the update of a row of the table of votes by the gradient of its threshold, as position_histogram.learn
// defines it. A learned row has votes for two adjacent positions, whose mean is the position before rounding, and keeps the state of
// the step size in two bins that elect nothing.
#include <algorithm>
#include <cmath>
#include <vector>

#include "position_table.h"

namespace vai_q_tf {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::Var;
namespace errors = tensorflow::errors;

constexpr int kSteps = 0;                     // the bin that counts updates; it is not a position
constexpr int kSize = kPositionZero + kZeroBin;  // that of the root mean square of the gradients; elects only if it is alone
constexpr float kOneStep = 1.0f / 4096.0f;    // the count of an update: that of a full memory is less than half a vote
constexpr double kMemory = 1000.0;            // updates in the mean square

// The row's position before rounding, less half a step: the mean of the votes around the elected one.
double ReadMean(const float* bins, int elected) {
  const float* votes = bins + elected + kZeroBin;
  const double below = elected > kPositionMin ? votes[-1] : 0.0;
  const double above = elected < kPositionMax ? votes[1] : 0.0;
  return elected + (above - below) / (below + votes[0] + above);
}

void WriteMean(float* bins, double mean) {
  const double lower = std::floor(mean);
  const int bin = (int)lower + kZeroBin;
  float upper = (float)(mean - lower);
  if (upper == 0.5f) upper = std::nextafter(0.5f, 1.0f);  // a tie would elect the smaller one
  std::fill_n(bins, kBins, 0.0f);
  bins[bin] = 1.0f - upper;
  if (upper > 0.0f) bins[bin + 1] = upper;
}

class LearnPositionOp : public SmallOp {
 public:
  explicit LearnPositionOp(OpKernelConstruction* ctx) : SmallOp(ctx) {
    OP_REQUIRES_OK(ctx, ReadRows(ctx, &rows_));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "row", 0, rows_ - 1, &row_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("members", &members_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("rate", &rate_));
    OP_REQUIRES(ctx, rate_ > 0.0f && rate_ <= 1.0f,
                errors::InvalidArgument(name(), ": rate is ", rate_, ", it must be above 0 and at most 1."));
    for (int member : members_) {
      OP_REQUIRES(ctx, member >= 0 && member < rows_ && member != row_,
                  errors::InvalidArgument(name(), ": members has ", member, ", it must be another row of ", rows_, "."));
    }
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 1, "learning"));
    if (!ctx->input(1).flat<bool>()(0)) return;
    double gradient = 0.0;
    for (int i = 2; i < ctx->num_inputs(); ++i) {
      OP_REQUIRES_OK(ctx, CheckScalar(ctx, i, "a gradient"));
      gradient += ctx->input(i).flat<double>()(0);
    }
    if (!std::isfinite(gradient)) return;
    Var* state;
    OP_REQUIRES_OK(ctx, FindState(ctx, rows_, &state));
    tensorflow::core::ScopedUnref unref(state);
    tensorflow::mutex_lock lock(*state->mu());
    OP_REQUIRES_OK(ctx, CheckState(ctx, rows_, state));
    float* table = nullptr;
    OP_REQUIRES_OK(ctx, OwnTable(ctx, rows_, state, &table));
    Learn(gradient, table + row_ * kBins);
    for (int member : members_) std::copy_n(table + row_ * kBins, kBins, table + member * kBins);
  }

 private:
  void Learn(double gradient, float* bins) const {
    const int elected = Elect(bins);
    if (elected == kNoObservation || elected == kPositionZero) return;
    const bool begins = bins[kSteps] == 0.0f;
    const double steps = begins ? 1.0 : std::min(bins[kSteps] / kOneStep + 1.0, kMemory);
    const double before = begins ? 0.0 : bins[kSize];
    const double size = std::sqrt(before * before + (gradient * gradient - before * before) / steps);
    const double step = size > 0.0 ? rate_ * std::tanh(gradient / size) : 0.0;
    double mean = (begins ? elected : ReadMean(bins, elected)) + step;
    const double nearest = std::floor(mean + 0.5);
    if (nearest != elected) mean = nearest;  // a new position starts in the middle, far from the one that it left
    WriteMean(bins, std::max((double)kPositionMin, std::min((double)kPositionMax, mean)));
    bins[kSteps] = (float)(steps * kOneStep);
    bins[kSize] = FlushSubnormal((float)std::min(size, (double)FLT_MAX));
  }

  int rows_ = 0;
  int row_ = 0;
  std::vector<int> members_;
  float rate_ = 0.0f;
};

// The position that a tensor is quantized with: the elected one while it learns, else the legal one; kNoObservation if none
// is elected.
class LearnedPositionOp : public SmallOp {
 public:
  explicit LearnedPositionOp(OpKernelConstruction* ctx) : SmallOp(ctx) {
    int rows;
    OP_REQUIRES_OK(ctx, ReadRows(ctx, &rows));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "row", 0, rows - 1, &row_));
  }

  void Compute(OpKernelContext* ctx) override {
    int position = kNoObservation;
    OP_REQUIRES_OK(ctx, ReadPosition(ctx, 1, &position));
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 3, "learning"));
    if (position != kNoObservation && !ctx->input(3).flat<bool>()(0)) OP_REQUIRES_OK(ctx, ReadLegal(ctx, row_, &position));
    Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &output));
    output->scalar<tensorflow::int32>()() = position;
  }

 private:
  int row_ = 0;
};

REGISTER_KERNEL_BUILDER(Name("VaiLearnPosition").Device(tensorflow::DEVICE_CPU), LearnPositionOp);
REGISTER_KERNEL_BUILDER(Name("VaiLearnedPosition").Device(tensorflow::DEVICE_CPU), LearnedPositionOp);

}  // namespace
}  // namespace vai_q_tf
