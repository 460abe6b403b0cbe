// The positions that the hardware accepts, of all rows of a table at once. vai_q_tf/plan/positions/settle.py defines them, with
// the groups, fills and limits that the attributes list.
#include <algorithm>
#include <cstdlib>
#include <limits>
#include <vector>

#include "position_table.h"

namespace vai_q_tf {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Status;
using tensorflow::Tensor;
namespace errors = tensorflow::errors;

constexpr int kSweeps = 256;

struct Term {
  int group;
  int coefficient;
};

struct Form {
  int constant;
  std::vector<Term> terms;
};

struct Fill {
  int target;
  Form form;
};

using Limit = std::vector<Form>;

bool IsPosition(int number) { return number >= kPositionMin && number <= kPositionMax; }

// Reads the numbers of an attribute one by one.
class Reader {
 public:
  Reader(const std::vector<int>& numbers, int groups) : numbers_(numbers), groups_(groups) {}

  bool AtEnd() const { return !valid_ || next_ == numbers_.size(); }
  bool valid() const { return valid_; }

  int Number(int lo, int hi) {
    if (next_ < numbers_.size() && numbers_[next_] >= lo && numbers_[next_] <= hi) return numbers_[next_++];
    valid_ = false;
    return lo;
  }

  int Group() { return Number(0, groups_ - 1); }

  Form ReadForm() {
    Form form;
    form.constant = Number(-1000, 1000);
    form.terms.resize(Number(0, 1000));
    for (Term& term : form.terms) {
      term.group = Group();
      term.coefficient = Number(-1000, 1000);
      valid_ = valid_ && term.coefficient != 0;
    }
    return form;
  }

  std::vector<std::vector<int>> ReadLists() {
    std::vector<std::vector<int>> lists;
    while (!AtEnd()) {
      std::vector<int> list(Number(1, groups_));
      for (int& number : list) number = Group();
      lists.push_back(std::move(list));
    }
    return lists;
  }

  std::vector<Fill> ReadFills() {
    std::vector<Fill> fills;
    while (!AtEnd()) {
      const int target = Group();
      fills.push_back({target, ReadForm()});
    }
    return fills;
  }

  std::vector<Limit> ReadLimits() {
    std::vector<Limit> limits;
    while (!AtEnd()) {
      Limit limit(Number(1, 1000));
      for (Form& form : limit) form = ReadForm();
      limits.push_back(std::move(limit));
    }
    return limits;
  }

 private:
  const std::vector<int>& numbers_;
  const int groups_;
  size_t next_ = 0;
  bool valid_ = true;
};

class LegalPositionsOp : public OpKernel {
 public:
  explicit LegalPositionsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadRows(ctx, &rows_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("lowest", &lowest_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("groups", &groups_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("level", &level_));
    bool valid = static_cast<int>(groups_.size()) == rows_ && IsPosition(level_);
    for (int lowest : lowest_) valid = valid && IsPosition(lowest);
    const int count = static_cast<int>(lowest_.size());
    for (int group : groups_) valid = valid && group >= 0 && group < count;
    std::vector<int> sources, neighbours, defaults, limits;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("sources", &sources));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("neighbours", &neighbours));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("defaults", &defaults));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("limits", &limits));
    Reader read_neighbours(neighbours, count), read_defaults(defaults, count), read_limits(limits, count);
    neighbours_ = read_neighbours.ReadFills();
    defaults_ = read_defaults.ReadFills();
    limits_ = read_limits.ReadLimits();
    Reader read_sources(sources, rows_);
    sources_ = read_sources.ReadLists();
    valid = valid && read_sources.valid() && static_cast<int>(sources_.size()) == count;
    valid = valid && read_neighbours.valid() && read_defaults.valid() && read_limits.valid();
    OP_REQUIRES(ctx, valid, errors::InvalidArgument(name(), ": the rules of the positions do not fit together."));
  }

  void Compute(OpKernelContext* ctx) override {
    Tensor* output;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {rows_}, &output));
    std::vector<int> positions(lowest_.size(), kPositionZero);
    {
      tensorflow::Var* state;
      OP_REQUIRES_OK(ctx, FindState(ctx, rows_, &state));
      tensorflow::core::ScopedUnref unref(state);
      tensorflow::mutex_lock lock(*state->mu());
      OP_REQUIRES_OK(ctx, CheckState(ctx, rows_, state));
      const float* table = state->tensor()->flat<float>().data();
      for (size_t group = 0; group < positions.size(); ++group) {
        for (int row : sources_[group]) {
          const int elected = Elect(table + row * kBins);
          if (elected != kNoObservation) positions[group] = std::min(positions[group], elected);
        }
      }
    }
    Settle(&positions);
    auto legal = output->vec<tensorflow::int32>();
    for (int row = 0; row < rows_; ++row) legal(row) = positions[groups_[row]];
  }

 private:
  void Settle(std::vector<int>* positions) const {
    for (size_t group = 0; group < lowest_.size(); ++group) {
      (*positions)[group] = std::max((*positions)[group], lowest_[group]);
    }
    while (FillZeros(neighbours_, positions)) {
    }
    FillZeros(defaults_, positions);
    if (!MeetLimits(positions)) positions->assign(positions->size(), level_);
  }

  bool FillZeros(const std::vector<Fill>& fills, std::vector<int>* positions) const {
    bool changed = false;
    for (const Fill& fill : fills) {
      const auto is_zero = [positions](const Term& term) { return (*positions)[term.group] == kPositionZero; };
      const auto& terms = fill.form.terms;
      if ((*positions)[fill.target] != kPositionZero || std::any_of(terms.begin(), terms.end(), is_zero)) continue;
      (*positions)[fill.target] = std::min<int>(std::max(Value(fill.form, *positions), lowest_[fill.target]), kPositionMax);
      changed = true;
    }
    return changed;
  }

  bool MeetLimits(std::vector<int>* positions) const {
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      bool changed = false;
      for (const Limit& limit : limits_) {
        const Form* nearest = nullptr;
        int excess = std::numeric_limits<int>::max();
        for (const Form& form : limit) {
          const int value = Value(form, *positions);
          if (value < excess) {
            excess = value;
            nearest = &form;
          }
        }
        if (excess > 0) {
          changed = true;
          Move(*nearest, positions);
        }
      }
      if (!changed) return true;
    }
    return false;
  }

  void Move(const Form& form, std::vector<int>* positions) const {
    for (const Term& term : form.terms) {
      const int excess = Value(form, *positions);
      if (excess <= 0) return;
      int& position = (*positions)[term.group];
      const int step = (excess + std::abs(term.coefficient) - 1) / std::abs(term.coefficient);
      position = term.coefficient > 0 ? std::max(position - step, lowest_[term.group])
                                      : std::min<int>(position + step, kPositionMax);
    }
  }

  static int Value(const Form& form, const std::vector<int>& positions) {
    int value = form.constant;
    for (const Term& term : form.terms) value += term.coefficient * positions[term.group];
    return value;
  }

  int rows_;
  int level_;
  std::vector<int> groups_;
  std::vector<std::vector<int>> sources_;
  std::vector<int> lowest_;
  std::vector<Fill> neighbours_;
  std::vector<Fill> defaults_;
  std::vector<Limit> limits_;
};

REGISTER_KERNEL_BUILDER(Name("VaiLegalPositions").Device(tensorflow::DEVICE_CPU), LegalPositionsOp);

}  // namespace
}  // namespace vai_q_tf
