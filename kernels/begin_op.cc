// VaiTrainingBegin and VaiNoteBegin: where a training starts, inferred from the values of its parameters and recorded in a
// table. VaiSay: prints a line about it.
#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "position_table.h"

namespace vai_q_tf {
namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Status;
using tensorflow::Tensor;
using tensorflow::Var;
namespace errors = tensorflow::errors;

// vai_q_tf.qat.recipe.begin.Begin.
enum Begin { kFloat = 1, kPartly = 2, kScratch = 3, kStatistics = 4, kContinued = 5 };
// Columns of the table, which has one row. 0 in the first one: nothing was recorded.
constexpr int kBeginColumn = 0, kFirstStepColumn = 1;

// Initializers give all elements the same value. A single element is untrained if it has the value of an initializer.
bool IsUntrained(const Tensor& vector) {
  const auto values = vector.flat<float>();
  if (values.size() == 0) return false;
  const float first = values(0);
  if (values.size() == 1) return first == 0.0f || first == 1.0f;
  return std::all_of(values.data(), values.data() + values.size(), [first](float value) { return value == first; });
}

class TrainingBeginOp : public SmallOp {
 public:
  explicit TrainingBeginOp(OpKernelConstruction* ctx) : SmallOp(ctx) {
    int averages = 0, vectors = 0;
    OP_REQUIRES_OK(ctx, ReadChoice(ctx, "always", 0, kContinued, &always_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("norm_names", &norm_names_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("vector_names", &vector_names_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_averages", &averages));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_vectors", &vectors));
    OP_REQUIRES(ctx, averages == 2 * norm_names_.size() && vectors == vector_names_.size(),
                errors::InvalidArgument(
                    name(), ": a norm has a name and two averages, and a vector a name; there are ", norm_names_.size(),
                    " names for ", averages, " averages and ", vector_names_.size(), " for ", vectors, " vectors."));
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 1, "step"));
    int known = 0;
    float first_step = 0.0f;
    OP_REQUIRES_OK(ctx, ReadNoted(ctx, &known, &first_step));
    const bool again = known != 0 && known != kContinued && IsPartial(ctx, first_step);
    if (again) known = 0;
    int begin = always_ > 0 ? always_ : known;
    std::string untrained;
    if (begin == 0) OP_REQUIRES_OK(ctx, Look(ctx, !again && AnyVotes(ctx->input(2)), &begin, &untrained));

    Tensor* outputs[5];
    for (int i = 0; i < 5; ++i) OP_REQUIRES_OK(ctx, ctx->allocate_output(i, {}, &outputs[i]));
    outputs[0]->scalar<tensorflow::int32>()() = begin;
    outputs[1]->scalar<bool>()() = known == 0;
    outputs[2]->scalar<bool>()() = known != 0 && begin != known;
    outputs[3]->scalar<float>()() = known == 0 ? std::max(0.0f, ctx->input(1).flat<float>()(0)) : first_step;
    outputs[4]->scalar<tensorflow::tstring>()() = untrained;
  }

 private:
  Status ReadNoted(OpKernelContext* ctx, int* begin, float* first_step) const {
    Var* state;
    TF_RETURN_IF_ERROR(FindState(ctx, 1, &state));
    tensorflow::core::ScopedUnref unref(state);
    tensorflow::mutex_lock lock(*state->mu());
    TF_RETURN_IF_ERROR(CheckState(ctx, 1, state));
    const auto row = state->tensor()->flat<float>();
    const float noted = row(kBeginColumn);
    *begin = noted >= kFloat && noted <= kContinued ? static_cast<int>(noted) : 0;
    *first_step = row(kFirstStepColumn);
    return Status::OK();
  }

  static bool AnyVotes(const Tensor& votes) {
    const auto counts = votes.flat<float>();
    return std::any_of(counts.data(), counts.data() + counts.size(), [](float count) { return count > 0; });
  }

  // Whether the first step ran a part of the network only, as a program does to print the shape of a feature: some tensors have
  // no vote, and the weights are still those from before it.
  static bool IsPartial(OpKernelContext* ctx, float first_step) {
    const float step = ctx->input(1).flat<float>()(0);
    if (step < 0.0f || step != first_step) return false;
    const auto votes = ctx->input(2).flat_inner_dims<float>();
    for (int64_t row = 0; row < votes.dimension(0); ++row) {
      const float* counts = &votes(row, 0);
      if (std::none_of(counts, counts + votes.dimension(1), [](float count) { return count > 0; })) return true;
    }
    return false;
  }

  Status Look(OpKernelContext* ctx, bool continues, int* begin, std::string* untrained) const {
    OpInputList averages, vectors, fixed;
    TF_RETURN_IF_ERROR(ctx->input_list("averages", &averages));
    TF_RETURN_IF_ERROR(ctx->input_list("vectors", &vectors));
    TF_RETURN_IF_ERROR(ctx->input_list("fixed", &fixed));
    std::vector<std::string> norms, others;
    for (size_t i = 0; i < norm_names_.size(); ++i) {
      if (IsUntrained(averages[2 * i]) && IsUntrained(averages[2 * i + 1])) norms.push_back(norm_names_[i]);
    }
    for (size_t i = 0; i < vector_names_.size(); ++i) {
      if (IsUntrained(vectors[i])) others.push_back(vector_names_[i]);
    }
    const size_t trained = std::count_if(fixed.begin(), fixed.end(), [](const Tensor& vector) {
      return vector.NumElements() > 0 && !IsUntrained(vector);
    });
    *begin = continues ? kContinued : Decide(norms.size(), others.size(), trained);
    *untrained = NobodyTells() ? "no vector is trained" : Joined(*begin == kStatistics ? norms : others);
    return Status::OK();
  }

  bool NobodyTells() const { return norm_names_.empty() && vector_names_.empty(); }

  // Numbers of untrained norms and vectors, and of fixed vectors that are trained.
  Begin Decide(size_t norms, size_t vectors, size_t fixed) const {
    if (NobodyTells()) return kPartly;
    // Next to untrained batch norms a few vectors may have values that a program chose, such as class priors.
    const size_t all = vector_names_.size() + fixed;
    const bool most = vectors == all || (!norm_names_.empty() && 2 * vectors > all);
    if (norms == norm_names_.size() && most) return kScratch;
    if (norms) return kStatistics;
    return vectors ? kPartly : kFloat;
  }

  int always_ = 0;
  std::vector<std::string> norm_names_, vector_names_;
};

class NoteBeginOp : public SmallOp {
 public:
  explicit NoteBeginOp(OpKernelConstruction* ctx) : SmallOp(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 1, "notes"));
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 2, "begin"));
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 3, "first_step"));
    if (!ctx->input(1).flat<bool>()(0)) return;
    Var* state;
    OP_REQUIRES_OK(ctx, FindState(ctx, 1, &state));
    tensorflow::core::ScopedUnref unref(state);
    tensorflow::mutex_lock lock(*state->mu());
    OP_REQUIRES_OK(ctx, CheckState(ctx, 1, state));
    float* row = nullptr;
    OP_REQUIRES_OK(ctx, OwnTable(ctx, 1, state, &row));
    row[kBeginColumn] = static_cast<float>(ctx->input(2).flat<tensorflow::int32>()(0));
    row[kFirstStepColumn] = ctx->input(3).flat<float>()(0);
  }
};

class SayOp : public SmallOp {
 public:
  explicit SayOp(OpKernelConstruction* ctx) : SmallOp(ctx) { OP_REQUIRES_OK(ctx, ctx->GetAttr("lines", &lines_)); }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 0, "when"));
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 1, "number"));
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 2, "names"));
    if (!ctx->input(0).flat<bool>()(0)) return;
    const int number = ctx->input(1).flat<tensorflow::int32>()(0);
    OP_REQUIRES(ctx, number >= 0 && number < lines_.size(),
                errors::InvalidArgument(name(), ": there is no line ", number, " of ", lines_.size(), "."));
    std::string line = lines_[number];
    const size_t place = line.find("{}");
    if (place != std::string::npos) line.replace(place, 2, ctx->input(2).flat<tensorflow::tstring>()(0));
    // Not a log stream: TF_CPP_MIN_LOG_LEVEL closes those.
    std::cerr << line + "\n" << std::flush;
  }

 private:
  std::vector<std::string> lines_;
};

REGISTER_KERNEL_BUILDER(Name("VaiTrainingBegin").Device(tensorflow::DEVICE_CPU), TrainingBeginOp);
REGISTER_KERNEL_BUILDER(Name("VaiNoteBegin").Device(tensorflow::DEVICE_CPU), NoteBeginOp);
REGISTER_KERNEL_BUILDER(Name("VaiSay").Device(tensorflow::DEVICE_CPU), SayOp);

}  // namespace
}  // namespace vai_q_tf
