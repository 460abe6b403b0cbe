// The quantizing ops on the CPU: the loops of fix_neuron_cpu.h over TensorFlow's thread pool.
#include <algorithm>
#include <functional>

#include "fix_neuron_cpu.h"
#include "quantize_ops.h"
#include "scaled_ops.h"
#include "tensorflow/core/platform/mutex.h"
#include "tensorflow/core/util/work_sharder.h"
#include "threshold_ops.h"

namespace vai_q_tf {
namespace {

using tensorflow::int64;
using tensorflow::OpKernelContext;
using tensorflow::Status;
using tensorflow::Tensor;

// Rough cycles per element (and candidate), which determine only how finely the work is split.
constexpr int64 kQuantizeCost = 1;
constexpr int64 kScaledCost = 2;
constexpr int64 kErrorCost = 1;
constexpr int64 kRelativeErrorCost = 5;

// Blocks after which the candidates of a search are first compared, and the factor to the next comparison.
constexpr int64 kFirstBlocks = 16;
constexpr int64 kGrowth = 4;
constexpr double kSumRounding = 1e-4;  // bound of the relative rounding error of a block sum
constexpr int64 kWindowBlocks = 4096;  // of a window of positions, summed at a time

void ForEachRange(OpKernelContext* ctx, int64 size, int64 cost, const std::function<void(int64, int64)>& work) {
  const auto* threads = ctx->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(threads->num_threads, threads->workers, size, cost, work);
}

// Memory that lives as long as `tensor`.
Status AllocateDoubles(OpKernelContext* ctx, int64 size, Tensor* tensor, double** doubles) {
  TF_RETURN_IF_ERROR(ctx->allocate_temp(tensorflow::DT_DOUBLE, tensorflow::TensorShape({size}), tensor));
  *doubles = tensor->flat<double>().data();
  return Status::OK();
}

int64 Blocks(int64 size) { return (size + kBlock - 1) / kBlock; }

// Calls work(first element, number of elements) for every block of the elements of [begin, end).
template <typename Work>
void ForEachBlock(int64 begin, int64 end, const Work& work) {
  for (int64 first = begin; first < end; first += kBlock) work(first, std::min<int64>(kBlock, end - first));
}

// The elements of a search. Block() returns `size` elements from `first` on, at most kBlock, in place or in `scratch`.
struct Elements {
  const float* x;

  const float* Block(int64 first, int64 size, float* scratch) const { return x + first; }
};

struct ScaledElements {
  const float* x;
  Factors scale;

  const float* Block(int64 first, int64 size, float* scratch) const {
    ScaleRange(x + first, scale.Of(first, size, scratch), scratch, size);
    return scratch;
  }
};

struct Range {
  float min = 0.0f;
  float max = 0.0f;
};

template <typename Source>
Range FindRange(OpKernelContext* ctx, const Source& source, int64 size) {
  Range range;
  tensorflow::mutex mu;
  ForEachRange(ctx, size, kQuantizeCost, [&](int64 begin, int64 end) {
    float scratch[kBlock];
    Extremes extremes = {};
    ForEachBlock(begin, end, [&](int64 first, int64 count) {
      WidenExtremes(source.Block(first, count, scratch), count, &extremes);
    });
    tensorflow::mutex_lock lock(mu);
    range.min = std::min(range.min, *std::min_element(extremes.lows, extremes.lows + kLanes));
    range.max = std::max(range.max, *std::max_element(extremes.highs, extremes.highs + kLanes));
  });
  return range;
}

// Adds the sums of blocks [begin, end) to `sums` in their order, so that the result does not depend on the number of threads.
template <typename Source>
Status AddBlocks(OpKernelContext* ctx, const Source& source, int64 size, int64 begin, int64 end, const SearchPlan& plan,
                 bool relative, double* sums) {
  Tensor scratch_sums;
  double* block_sums;
  TF_RETURN_IF_ERROR(AllocateDoubles(ctx, (end - begin) * plan.count, &scratch_sums, &block_sums));
  const int64 cost = kBlock * plan.count * (relative ? kRelativeErrorCost : kErrorCost);
  ForEachRange(ctx, end - begin, cost, [&](int64 from, int64 to) {
    float scratch[kBlock];
    for (int64 i = from; i < to; ++i) {
      const int64 first = (begin + i) * kBlock;
      const int64 count = std::min<int64>(kBlock, size - first);
      BlockErrors(source.Block(first, count, scratch), count, plan, relative, block_sums + i * plan.count);
    }
  });
  for (int64 i = 0; i < end - begin; ++i) {
    for (int k = 0; k < plan.count; ++k) sums[k] += block_sums[i * plan.count + k];
  }
  return Status::OK();
}

// Drops candidates as soon as their error exceeds `tie` times that of the first whatever the remaining blocks hold: most
// clip so much that a few blocks show it.
template <typename Source>
Status MinDiffs(OpKernelContext* ctx, const Source& source, int64 size, const SearchSettings& settings,
                const Range& range, int* position) {
  const bool relative = settings.relative();
  SearchPlan plan = MakeSearchPlan(*position, kCandidates, settings.bits, settings.symmetric, relative);
  const double largest_error = LargestError(plan, range.min, range.max, relative) * (1.0 + kSumRounding);
  const int64 blocks = Blocks(size);
  double sums[kCandidates] = {0.0};
  for (int64 done = 0, next; done < blocks && plan.count > 1; done = next) {
    next = std::min(blocks, std::max(kFirstBlocks, done * kGrowth));
    TF_RETURN_IF_ERROR(AddBlocks(ctx, source, size, done, next, plan, relative, sums));
    const double most = (sums[0] + largest_error * kBlock * (blocks - next)) * settings.tie;
    while (plan.count > 1 && sums[plan.count - 1] * plan.candidate[plan.count - 1].weight > most) --plan.count;
  }
  *position = BestPosition(plan, sums, settings.tie);
  return Status::OK();
}

template <typename Source>
Status SearchIn(OpKernelContext* ctx, const Source& source, int64 size, const SearchSettings& settings, int* position) {
  const Range range = FindRange(ctx, source, size);
  *position = NonOverflowPosition(range.min, range.max, settings.bits);
  if (*position != kPositionZero && settings.method != 0) {
    return MinDiffs(ctx, source, size, settings, range, position);
  }
  return Status::OK();
}

// All results are 0 for a tensor of zeros.
Status WindowErrors(OpKernelContext* ctx, const Elements& source, int64 size, int bits, bool symmetric, int below,
                    int above, int* first, double* errors) {
  const Range range = FindRange(ctx, source, size);
  *first = NonOverflowPosition(range.min, range.max, bits);
  SearchPlan plan;
  plan.count = 0;
  double sums[kWindowMax] = {0.0};
  if (*first != kPositionZero) {
    *first = WindowFirst(*first, below);
    plan = MakeSearchPlan(*first, below + above + 1, bits, symmetric, false);
    const int64 blocks = Blocks(size);
    for (int64 begin = 0; begin < blocks; begin += kWindowBlocks) {
      const int64 end = std::min(blocks, begin + kWindowBlocks);
      TF_RETURN_IF_ERROR(AddBlocks(ctx, source, size, begin, end, plan, false, sums));
    }
  }
  for (int k = 0; k <= below + above; ++k) errors[k] = WindowError(plan, sums, k);
  return Status::OK();
}

// `gradients` are those of the elements of `source`; both have a Block(), as in a search.
template <typename Source, typename Gradients>
Status ThresholdGradientIn(OpKernelContext* ctx, const Gradients& gradients, const Source& source, int64 size,
                           const Format& format, bool half_up, double* result) {
  const int64 blocks = Blocks(size);
  Tensor scratch_sums;
  double* block_sums;
  TF_RETURN_IF_ERROR(AllocateDoubles(ctx, blocks, &scratch_sums, &block_sums));
  ForEachRange(ctx, blocks, kBlock * kScaledCost, [&](int64 from, int64 to) {
    float scratch[2][kBlock];
    ForEachBlock(from * kBlock, std::min(size, to * kBlock), [&](int64 first, int64 count) {
      block_sums[first / kBlock] = BlockThresholdTerms(gradients.Block(first, count, scratch[0]),
                                                       source.Block(first, count, scratch[1]), count, format, half_up);
    });
  });
  double sum = 0.0;
  for (int64 i = 0; i < blocks; ++i) sum += block_sums[i];
  *result = ThresholdGradient(sum, format);
  return Status::OK();
}

struct Cpu {
  static Status Quantize(OpKernelContext* ctx, const float* x, float* y, int64 size, int position, int bits,
                         bool symmetric, bool half_up, bool keep_non_finite) {
    const Format format = MakeFormat(position, bits, symmetric, keep_non_finite);
    ForEachRange(ctx, size, kQuantizeCost, [=](int64 begin, int64 end) {
      QuantizeRange(x + begin, y + begin, end - begin, format, half_up);
    });
    return Status::OK();
  }

  static Status Gradient(OpKernelContext* ctx, const float* dy, const float* x, float* dx, int64 size, int position,
                         int bits, bool symmetric) {
    const Format format = MakeFormat(position, bits, symmetric);
    ForEachRange(ctx, size, kQuantizeCost, [=](int64 begin, int64 end) {
      GradientRange(dy + begin, x + begin, dx + begin, end - begin, format);
    });
    return Status::OK();
  }

  static Status Search(OpKernelContext* ctx, const float* x, int64 size, const SearchSettings& settings,
                       int* position) {
    return SearchIn(ctx, Elements{x}, size, settings, position);
  }

  static Status PositionErrors(OpKernelContext* ctx, const float* x, int64 size, int bits, bool symmetric, int below,
                               int above, int* first, double* errors) {
    return WindowErrors(ctx, Elements{x}, size, bits, symmetric, below, above, first, errors);
  }

  static Status ScaledQuantize(OpKernelContext* ctx, const Scaled& x, const float* rescale, float* y, int position,
                               int bits, bool symmetric, bool half_up) {
    const Format format = MakeFormat(position, bits, symmetric);
    const Factors scales(x.scale, x.channels);
    const Factors rescales(rescale, x.channels);
    ForEachRange(ctx, x.size, kScaledCost, [&](int64 begin, int64 end) {
      float scratch[2][kBlock];
      ForEachBlock(begin, end, [&](int64 first, int64 count) {
        ScaledQuantizeRange(x.x + first, scales.Of(first, count, scratch[0]), rescales.Of(first, count, scratch[1]),
                            y + first, count, format, half_up);
      });
    });
    return Status::OK();
  }

  static Status ScaledGradient(OpKernelContext* ctx, const float* dy, const Scaled& x, const float* factor, float* dx,
                               int position, int bits, bool symmetric) {
    const Format format = MakeFormat(position, bits, symmetric);
    const Factors scales(x.scale, x.channels);
    const Factors factors(factor, x.channels);
    ForEachRange(ctx, x.size, kScaledCost, [&](int64 begin, int64 end) {
      float scratch[2][kBlock];
      ForEachBlock(begin, end, [&](int64 first, int64 count) {
        ScaledGradientRange(dy + first, x.x + first, scales.Of(first, count, scratch[0]),
                            factors.Of(first, count, scratch[1]), dx + first, count, format);
      });
    });
    return Status::OK();
  }

  static Status Scale(OpKernelContext* ctx, const float* x, const float* factor, float* y, int64 size,
                      const Channels& channels) {
    const Factors factors(factor, channels);
    ForEachRange(ctx, size, kScaledCost, [&](int64 begin, int64 end) {
      float scratch[kBlock];
      ForEachBlock(begin, end, [&](int64 first, int64 count) {
        ScaleRange(x + first, factors.Of(first, count, scratch), y + first, count);
      });
    });
    return Status::OK();
  }

  static Status FoldingScales(OpKernelContext* ctx, const float* scale, const float* typical, float* weights_scale,
                              float* rescale, int64 size) {
    if (weights_scale == nullptr) {
      std::fill_n(rescale, size, 1.0f);
      return Status::OK();
    }
    float largest = 0.0f;
    for (int64 i = 0; i < size; ++i) largest = std::max(largest, Magnitude(scale[i]));
    for (int64 i = 0; i < size; ++i) {
      weights_scale[i] = FoldingScale(scale[i], largest, typical[i]);
      rescale[i] = 1.0f / weights_scale[i];
    }
    return Status::OK();
  }

  static Status ThresholdGradient(OpKernelContext* ctx, const float* dy, const float* x, int64 size, int position,
                                  int bits, bool symmetric, bool half_up, double* result) {
    const Format format = MakeFormat(position, bits, symmetric);
    return ThresholdGradientIn(ctx, Elements{dy}, Elements{x}, size, format, half_up, result);
  }

  static Status ScaledThresholdGradient(OpKernelContext* ctx, const float* dy, const Scaled& x, const float* factor,
                                        int position, int bits, bool symmetric, bool half_up, double* result) {
    const Format format = MakeFormat(position, bits, symmetric);
    return ThresholdGradientIn(ctx, ScaledElements{dy, Factors(factor, x.channels)},
                               ScaledElements{x.x, Factors(x.scale, x.channels)}, x.size, format, half_up, result);
  }

  static Status ScaledSearch(OpKernelContext* ctx, const Scaled& x, const SearchSettings& settings, int* position) {
    return SearchIn(ctx, ScaledElements{x.x, Factors(x.scale, x.channels)}, x.size, settings, position);
  }
};

REGISTER_KERNEL_BUILDER(Name("FixNeuron").Device(tensorflow::DEVICE_CPU), FixNeuronOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiFixNeuron").Device(tensorflow::DEVICE_CPU), VaiFixNeuronOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiFixNeuronGrad").Device(tensorflow::DEVICE_CPU), VaiFixNeuronGradOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiSearchPosition").Device(tensorflow::DEVICE_CPU), VaiSearchPositionOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiPositionErrors").Device(tensorflow::DEVICE_CPU), VaiPositionErrorsOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiScaledFixNeuron").Device(tensorflow::DEVICE_CPU), VaiScaledFixNeuronOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiScaledFixNeuronGrad").Device(tensorflow::DEVICE_CPU), VaiScaledFixNeuronGradOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiScaledSearchPosition").Device(tensorflow::DEVICE_CPU), VaiScaledSearchPositionOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiFoldingScales").Device(tensorflow::DEVICE_CPU), VaiFoldingScalesOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiThresholdGrad").Device(tensorflow::DEVICE_CPU), VaiThresholdGradOp<Cpu>);
REGISTER_KERNEL_BUILDER(Name("VaiScaledThresholdGrad").Device(tensorflow::DEVICE_CPU), VaiScaledThresholdGradOp<Cpu>);

}  // namespace
}  // namespace vai_q_tf
