// Route a batch to one of two parts of the graph, where the other part computes on no examples, or values of both to what reads
// them. Nothing is copied.
#include "op_attrs.h"

namespace vai_q_tf {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

class VaiSplitPhasesOp : public SmallOp {
 public:
  explicit VaiSplitPhasesOp(OpKernelConstruction* ctx) : SmallOp(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    const Tensor& value = ctx->input(0);
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 1, "first"));
    OP_REQUIRES(ctx, value.dims() > 0, tensorflow::errors::InvalidArgument(
                                           ctx->op_kernel().name(), ": a scalar has no examples to take."));
    const bool first = ctx->input(1).flat<bool>()(0);
    tensorflow::TensorShape nothing = value.shape();
    nothing.set_dim(0, 0);
    Tensor* empty = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(first ? 1 : 0, nothing, &empty));
    ctx->set_output(first ? 0 : 1, value);
  }
};

class VaiJoinPhasesOp : public SmallOp {
 public:
  explicit VaiJoinPhasesOp(OpKernelConstruction* ctx) : SmallOp(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 2, "first"));
    ctx->set_output(0, ctx->input(ctx->input(2).flat<bool>()(0) ? 0 : 1));
  }
};

class VaiSelectPhaseOp : public SmallOp {
 public:
  explicit VaiSelectPhaseOp(OpKernelConstruction* ctx) : SmallOp(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    const int count = ctx->num_outputs();
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 2 * count, "first"));
    const int begin = ctx->input(2 * count).flat<bool>()(0) ? 0 : count;
    for (int i = 0; i < count; ++i) {
      const Tensor& first = ctx->input(i);
      const Tensor& second = ctx->input(count + i);
      OP_REQUIRES(ctx, first.shape() == second.shape(),
                  tensorflow::errors::InvalidArgument(ctx->op_kernel().name(), ": the values ", i, " have the shapes ",
                                                      first.shape().DebugString(), " and ",
                                                      second.shape().DebugString(), "."));
      ctx->set_output(i, ctx->input(begin + i));
    }
  }
};

#define REGISTER_PHASE_OPS(device)                                                                      \
  REGISTER_KERNEL_BUILDER(Name("VaiSplitPhases").Device(device).HostMemory("first"), VaiSplitPhasesOp); \
  REGISTER_KERNEL_BUILDER(Name("VaiJoinPhases").Device(device).HostMemory("first"), VaiJoinPhasesOp);   \
  REGISTER_KERNEL_BUILDER(Name("VaiSelectPhase").Device(device).HostMemory("first"), VaiSelectPhaseOp);

REGISTER_PHASE_OPS(tensorflow::DEVICE_CPU)
REGISTER_PHASE_OPS(tensorflow::DEVICE_GPU)

}  // namespace
}  // namespace vai_q_tf
