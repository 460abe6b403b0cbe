// VaiMatchRows: the votes that the rows of a table take over from the table of a checkpoint.
#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "position_table.h"

namespace vai_q_tf {
namespace {

using tensorflow::int64;
using tensorflow::OpInputList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Status;
using tensorflow::Tensor;
using tensorflow::TensorShape;
namespace errors = tensorflow::errors;

constexpr int64 kNone = -1;

std::string Text(const Tensor& texts, int64 index) { return texts.flat<tensorflow::tstring>()(index); }

// The first row with each text. The empty text matches no row.
class FirstRows {
 public:
  explicit FirstRows(const Tensor& texts) {
    for (int64 row = 0; row < texts.NumElements(); ++row) rows_.emplace(Text(texts, row), row);
    rows_.erase("");
  }

  int64 Find(const std::string& text) const {
    const auto found = rows_.find(text);
    return found == rows_.end() ? kNone : found->second;
  }

 private:
  std::unordered_map<std::string, int64> rows_;
};

class Checkpoint {
 public:
  // structures: one string per row, or none at all.
  Checkpoint(const Tensor& names, const Tensor& variables, const Tensor& structures)
      : names_(names), variables_(variables), structures_(structures) {
    for (int64 row = 0; row < structures.NumElements(); ++row) {
      const std::string name = Text(names, row), structure = Text(structures, row);
      if (!name.empty() && !structure.empty()) pairs_.emplace(std::make_pair(name, structure), row);
    }
  }

  int64 FindPair(const std::string& name, const std::string& structure) const {
    const auto found = pairs_.find({name, structure});
    return found == pairs_.end() ? kNone : found->second;
  }
  int64 FindName(const std::string& name) const { return names_.Find(name); }
  int64 FindVariable(const std::string& variable) const { return variables_.Find(variable); }
  int64 FindStructure(const std::string& structure) const { return structures_.Find(structure); }

 private:
  const FirstRows names_, variables_, structures_;
  std::map<std::pair<std::string, std::string>, int64> pairs_;
};

class MatchRowsOp : public tensorflow::OpKernel {
 public:
  explicit MatchRowsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    int unused;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("begins_anew", &begins_anew_));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "num_structures", 0, 1, &unused));
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "num_earlier", 0, 1, &unused));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor *tensors, *variables, *names, *saved_variables, *saved_structures, *saved_votes, *bits, *saved_bits;
    OpInputList structures, earlier;
    OP_REQUIRES_OK(ctx, ctx->input("tensors", &tensors));
    OP_REQUIRES_OK(ctx, ctx->input("variables", &variables));
    OP_REQUIRES_OK(ctx, ctx->input_list("structures", &structures));
    OP_REQUIRES_OK(ctx, ctx->input_list("earlier", &earlier));
    OP_REQUIRES_OK(ctx, ctx->input("saved_names", &names));
    OP_REQUIRES_OK(ctx, ctx->input("saved_variables", &saved_variables));
    OP_REQUIRES_OK(ctx, ctx->input("saved_structures", &saved_structures));
    OP_REQUIRES_OK(ctx, ctx->input("saved_votes", &saved_votes));
    OP_REQUIRES_OK(ctx, ctx->input("bits", &bits));
    OP_REQUIRES_OK(ctx, ctx->input("saved_bits", &saved_bits));

    const int64 rows = tensors->NumElements();
    OP_REQUIRES_OK(ctx, CheckRows("tensors", *tensors, rows));
    OP_REQUIRES_OK(ctx, CheckRows("variables", *variables, rows));
    OP_REQUIRES_OK(ctx, CheckRows("bits", *bits, rows));
    for (const Tensor& texts : structures) OP_REQUIRES_OK(ctx, CheckRows("structures", texts, rows));
    for (const Tensor& texts : earlier) {
      OP_REQUIRES(ctx, texts.dims() == 2 && texts.dim_size(0) == rows,
                  errors::InvalidArgument(name(), ": earlier has the shape ", texts.shape().DebugString(), ", expected [",
                                          rows, ",names]."));
    }
    Tensor *votes, *before_training, *other;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {rows, kBins}, &votes));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(1, {}, &before_training));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(2, {}, &other));
    votes->flat<float>().setZero();
    before_training->scalar<bool>()() = false;
    if (saved_variables->NumElements() == 0) return;

    const int64 saved = saved_variables->NumElements();
    OP_REQUIRES_OK(ctx, CheckRows("saved_variables", *saved_variables, saved));
    OP_REQUIRES_OK(ctx, CheckRows("saved_names", *names, saved));
    if (saved_structures->NumElements() > 0) {
      OP_REQUIRES_OK(ctx, CheckRows("saved_structures", *saved_structures, saved));
    }
    OP_REQUIRES_OK(ctx, CheckVotes(*saved_votes, saved));
    const bool knows_bits = saved_bits->NumElements() > 0;
    if (knows_bits) OP_REQUIRES_OK(ctx, CheckRows("saved_bits", *saved_bits, saved));

    const Checkpoint checkpoint(*names, *saved_variables, *saved_structures);
    const float* counts = saved_votes->flat<float>().data();
    const auto has_votes = [counts](int64 row) {
      return std::any_of(counts + row * kBins, counts + (row + 1) * kBins, [](float count) { return count > 0.0f; });
    };
    std::vector<std::string> others;
    for (int64 row = 0; row < rows; ++row) {
      const std::string own = Text(*tensors, row);
      std::vector<int64> matches;  // the best first
      for (const Tensor& texts : structures) {
        matches.push_back(checkpoint.FindPair(own, Text(texts, row)));
        matches.push_back(checkpoint.FindStructure(Text(texts, row)));
      }
      matches.push_back(checkpoint.FindName(own));
      for (const Tensor& texts : earlier) {
        const int64 most = texts.dim_size(1);
        for (int64 i = 0; i < most; ++i) matches.push_back(checkpoint.FindName(Text(texts, row * most + i)));
      }
      matches.push_back(checkpoint.FindVariable(Text(*variables, row)));
      const auto match = std::find_if(matches.begin(), matches.end(), [](int64 found) { return found != kNone; });
      if (match != matches.end()) {
        std::copy_n(counts + *match * kBins, kBins, votes->flat<float>().data() + row * kBins);
        const int here = bits->flat<float>()(row), there = knows_bits ? saved_bits->flat<float>()(*match) : 0;
        if (here && there && here != there && has_votes(*match)) {
          others.push_back(own + " (" + std::to_string(there) + " bits, here " + std::to_string(here) + ")");
        }
      } else if (knows_bits && begins_anew_) {
        others.push_back(own + " (not in the checkpoint)");
      }
    }
    before_training->scalar<bool>()() =
        std::all_of(counts, counts + saved * kBins, [](float count) { return count == 0.0f; });
    if (others.empty() || before_training->scalar<bool>()()) return;
    OP_REQUIRES(ctx, begins_anew_,
                errors::InvalidArgument(name(), ": the positions of the checkpoint are for other bits: ", Joined(others),
                                        ". Build the graph with the bits of the training, or train with these bits first."));
    votes->flat<float>().setZero();
    other->scalar<tensorflow::tstring>()() = Joined(others);
  }

 private:
  bool begins_anew_;

  Status CheckRows(const char* input, const Tensor& texts, int64 rows) const {
    if (texts.shape() == TensorShape({rows})) return Status::OK();
    return errors::InvalidArgument(name(), ": ", input, " has the shape ", texts.shape().DebugString(), ", expected [", rows,
                                   "].");
  }

  Status CheckVotes(const Tensor& votes, int64 rows) const {
    if (votes.shape() != TensorShape({rows, kBins})) {
      return errors::InvalidArgument(name(), ": saved_votes has the shape ", votes.shape().DebugString(), ", expected [", rows,
                                     ",", kBins, "].");
    }
    const auto counts = votes.flat<float>();
    for (int64 i = 0; i < counts.size(); ++i) {
      if (!std::isfinite(counts(i))) {
        return errors::InvalidArgument(name(), ": row ", i / kBins, " of saved_votes holds ", counts(i),
                                       "; counts are finite.");
      }
    }
    return Status::OK();
  }
};

REGISTER_KERNEL_BUILDER(Name("VaiMatchRows").Device(tensorflow::DEVICE_CPU), MatchRowsOp);

}  // namespace
}  // namespace vai_q_tf
