// The quantizing ops on the CPU: the loops of fix_neuron_cpu.h over TensorFlow's thread pool.
#include <algorithm>
#include <functional>
#include <vector>

#include "fix_neuron_cpu.h"
#include "quantize_ops.h"
#include "tensorflow/core/platform/mutex.h"
#include "tensorflow/core/util/work_sharder.h"

namespace vai_q_tf {
namespace {

using tensorflow::int64;
using tensorflow::OpKernelContext;
using tensorflow::Status;

// Rough cycles per element (and candidate); they decide only how finely the work is split.
constexpr int64 kQuantizeCost = 1;
constexpr int64 kErrorCost = 1;
constexpr int64 kRelativeErrorCost = 5;

void ForEachRange(OpKernelContext* ctx, int64 size, int64 cost, const std::function<void(int64, int64)>& work) {
  const auto* threads = ctx->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(threads->num_threads, threads->workers, size, cost, work);
}

int NonOverflow(OpKernelContext* ctx, const float* x, int64 size, int bits) {
  float min = 0.0f;
  float max = 0.0f;
  tensorflow::mutex mu;
  ForEachRange(ctx, size, kQuantizeCost, [&](int64 begin, int64 end) {
    float range_min = 0.0f;
    float range_max = 0.0f;
    WidenExtremes(x + begin, end - begin, &range_min, &range_max);
    tensorflow::mutex_lock lock(mu);
    min = std::min(min, range_min);
    max = std::max(max, range_max);
  });
  return NonOverflowPosition(min, max, bits);
}

// Blocks are added up in their order, so the result does not depend on the number of threads.
int MinDiffs(OpKernelContext* ctx, const float* x, int64 size, const SearchSettings& settings, int first) {
  const bool relative = settings.relative();
  const SearchPlan plan = MakeSearchPlan(first, settings.bits, settings.symmetric, relative);
  const int64 blocks = (size + kBlock - 1) / kBlock;
  std::vector<double> block_sums(blocks * kCandidates);
  const int64 cost = kBlock * plan.count * (relative ? kRelativeErrorCost : kErrorCost);
  ForEachRange(ctx, blocks, cost, [&](int64 begin, int64 end) {
    for (int64 block = begin; block < end; ++block) {
      const int64 start = block * kBlock;
      BlockErrors(x + start, std::min<int64>(kBlock, size - start), plan, relative, &block_sums[block * kCandidates]);
    }
  });
  double sums[kCandidates] = {0.0};
  for (int64 block = 0; block < blocks; ++block) {
    for (int k = 0; k < plan.count; ++k) sums[k] += block_sums[block * kCandidates + k];
  }
  return BestPosition(plan, sums);
}

struct Cpu {
  static Status Quantize(OpKernelContext* ctx, const float* x, float* y, int64 size, int position, int bits,
                         bool symmetric, bool half_up) {
    const Format format = MakeFormat(position, bits, symmetric);
    ForEachRange(ctx, size, kQuantizeCost, [=](int64 begin, int64 end) {
      QuantizeRange(x + begin, y + begin, end - begin, format, half_up);
    });
    return Status::OK();
  }

  static Status Gradient(OpKernelContext* ctx, const float* dy, const float* x, float* dx, int64 size, int position,
                         int bits, bool symmetric) {
    const Format format = MakeFormat(position, bits, symmetric);
    const float lo = format.q_lo * format.step;
    const float hi = format.q_hi * format.step;
    ForEachRange(ctx, size, kQuantizeCost, [=](int64 begin, int64 end) {
      GradientRange(dy + begin, x + begin, dx + begin, end - begin, lo, hi);
    });
    return Status::OK();
  }

  static Status Search(OpKernelContext* ctx, const float* x, int64 size, const SearchSettings& settings,
                       int* position) {
    *position = NonOverflow(ctx, x, size, settings.bits);
    if (*position != kPositionZero && settings.method != 0) *position = MinDiffs(ctx, x, size, settings, *position);
    return Status::OK();
  }
};

REGISTER_KERNEL_BUILDER(Name("FixNeuron").Device(tensorflow::DEVICE_CPU), FixNeuronOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiFixNeuron").Device(tensorflow::DEVICE_CPU), VaiFixNeuronOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiFixNeuronGrad").Device(tensorflow::DEVICE_CPU), VaiFixNeuronGradOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiSearchPosition").Device(tensorflow::DEVICE_CPU), VaiSearchPositionOp<Cpu>);

}  // namespace
}  // namespace vai_q_tf
