// VaiFindBegin: where a training starts, told from the values of its parameters.
#include <algorithm>
#include <string>
#include <vector>

#include "tensorflow/core/framework/op_kernel.h"

namespace vai_q_tf {
namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

// vai_q_tf.qat.recipe.begin.Begin.
enum Begin { kFloat = 1, kPartly = 2, kScratch = 3, kStatistics = 4, kContinued = 5 };
constexpr size_t kMostNames = 3;

// An initializer gives all elements one value. A single element is untrained where it has a value that initializers give.
bool IsUntrained(const Tensor& vector) {
  const auto values = vector.flat<float>();
  if (values.size() == 0) return false;
  const float first = values(0);
  if (values.size() == 1) return first == 0.0f || first == 1.0f;
  return std::all_of(values.data(), values.data() + values.size(), [first](float value) { return value == first; });
}

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min(kMostNames, names.size()); ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > kMostNames) text += " and " + std::to_string(names.size() - kMostNames) + " more";
  return text;
}

class FindBeginOp : public tensorflow::OpKernel {
 public:
  explicit FindBeginOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    int averages = 0, vectors = 0;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("norm_names", &norm_names_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("vector_names", &vector_names_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_averages", &averages));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_vectors", &vectors));
    OP_REQUIRES(ctx, averages == 2 * norm_names_.size() && vectors == vector_names_.size(),
                tensorflow::errors::InvalidArgument(
                    name(), ": a norm has a name and two averages, and a vector a name; there are ", norm_names_.size(),
                    " names for ", averages, " averages and ", vector_names_.size(), " for ", vectors, " vectors."));
  }

  void Compute(OpKernelContext* ctx) override {
    OpInputList averages, vectors;
    OP_REQUIRES_OK(ctx, ctx->input_list("averages", &averages));
    OP_REQUIRES_OK(ctx, ctx->input_list("vectors", &vectors));
    std::vector<std::string> norms, others;
    for (size_t i = 0; i < norm_names_.size(); ++i) {
      if (IsUntrained(averages[2 * i]) && IsUntrained(averages[2 * i + 1])) norms.push_back(norm_names_[i]);
    }
    for (size_t i = 0; i < vector_names_.size(); ++i) {
      if (IsUntrained(vectors[i])) others.push_back(vector_names_[i]);
    }
    const Begin begin = Decide(ctx->input(0), norms.size(), others.size());
    Tensor *found = nullptr, *untrained = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &found));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(1, {}, &untrained));
    found->scalar<tensorflow::int32>()() = begin;
    untrained->scalar<tensorflow::tstring>()() =
        NobodyTells() ? "no vector is trained" : Joined(begin == kStatistics ? norms : others);
  }

 private:
  bool NobodyTells() const { return norm_names_.empty() && vector_names_.empty(); }

  Begin Decide(const Tensor& votes, size_t norms, size_t vectors) const {
    const auto counts = votes.flat<float>();
    if (std::any_of(counts.data(), counts.data() + counts.size(), [](float count) { return count > 0; })) {
      return kContinued;
    }
    if (NobodyTells()) return kPartly;
    // Beside batch norms that are all untrained a few vectors may have values that a program chose, as class priors.
    const bool most = vectors == vector_names_.size() || (!norm_names_.empty() && 2 * vectors > vector_names_.size());
    if (norms == norm_names_.size() && most) return kScratch;
    if (norms) return kStatistics;
    return vectors ? kPartly : kFloat;
  }

  std::vector<std::string> norm_names_, vector_names_;
};

REGISTER_KERNEL_BUILDER(Name("VaiFindBegin").Device(tensorflow::DEVICE_CPU), FindBeginOp);

}  // namespace
}  // namespace vai_q_tf
