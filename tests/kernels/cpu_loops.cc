// The CPU loops compiled for one instruction set and callable by ctypes.
#define VAI_CLONES
#include <algorithm>

#include "fix_neuron_cpu.cc"

using namespace vai_q_tf;

extern "C" void TestQuantize(const float* x, float* y, int64_t size, int position, int bits, int symmetric,
                             int half_up) {
  QuantizeRange(x, y, size, MakeFormat(position, bits, symmetric), half_up);
}

extern "C" void TestGradient(const float* dy, const float* x, float* dx, int64_t size, int position, int bits,
                             int symmetric) {
  GradientRange(dy, x, dx, size, MakeFormat(position, bits, symmetric));
}

extern "C" double TestThresholdGradient(const float* dy, const float* x, int64_t size, int position, int bits,
                                        int symmetric, int half_up) {
  const Format format = MakeFormat(position, bits, symmetric);
  double sum = 0.0;
  for (int64_t start = 0; start < size; start += kBlock) {
    const int64_t count = size - start < kBlock ? size - start : kBlock;
    sum += BlockThresholdTerms(dy + start, x + start, count, format, half_up);
  }
  return ThresholdGradient(sum, format);
}

extern "C" void TestScaled(const float* x, const float* scale, const float* rescale, float* y, float* dx, int64_t size,
                           int64_t channels, int64_t inner, int position, int bits, int symmetric, int half_up) {
  const Format format = MakeFormat(position, bits, symmetric);
  const Factors scales(scale, {channels, inner});
  const Factors rescales(rescale, {channels, inner});
  for (int64_t start = 0; start < size; start += kBlock) {
    float scratch[2][kBlock];
    const int64_t count = size - start < kBlock ? size - start : kBlock;
    const float* s = scales.Of(start, count, scratch[0]);
    const float* r = rescales.Of(start, count, scratch[1]);
    ScaledQuantizeRange(x + start, s, r, y + start, count, format, half_up);
    ScaledGradientRange(x + start, x + start, s, r, dx + start, count, format);
  }
}

extern "C" void TestScale(const float* x, const float* scale, float* y, int64_t size, int64_t channels, int64_t inner) {
  const Factors scales(scale, {channels, inner});
  for (int64_t start = 0; start < size; start += kBlock) {
    float scratch[kBlock];
    const int64_t count = size - start < kBlock ? size - start : kBlock;
    ScaleRange(x + start, scales.Of(start, count, scratch), y + start, count);
  }
}

static void AddErrors(const float* x, int64_t size, const SearchPlan& plan, int relative, double* totals) {
  for (int64_t start = 0; start < size; start += kBlock) {
    double sums[kWindowMax];
    BlockErrors(x + start, size - start < kBlock ? size - start : kBlock, plan, relative, sums);
    for (int k = 0; k < plan.count; ++k) totals[k] += sums[k];
  }
}

extern "C" int TestSearch(const float* x, int64_t size, int bits, int method, int relative, int symmetric,
                          float tie) {
  Extremes extremes = {};
  WidenExtremes(x, size, &extremes);
  const float min = *std::min_element(extremes.lows, extremes.lows + kLanes);
  const float max = *std::max_element(extremes.highs, extremes.highs + kLanes);
  const int first = NonOverflowPosition(min, max, bits);
  if (first == kPositionZero || method == 0) return first;
  const SearchPlan plan = MakeSearchPlan(first, kCandidates, bits, symmetric, relative);
  double totals[kCandidates] = {0.0};
  AddErrors(x, size, plan, relative, totals);
  return BestPosition(plan, totals, tie);
}

// x has an element other than zero.
extern "C" int TestPositionErrors(const float* x, int64_t size, int bits, int symmetric, int below, int above,
                                  double* errors) {
  const int first = WindowFirst(TestSearch(x, size, bits, 0, 0, symmetric, 1.0f), below);
  const SearchPlan plan = MakeSearchPlan(first, below + above + 1, bits, symmetric, false);
  double totals[kWindowMax] = {0.0};
  AddErrors(x, size, plan, false, totals);
  for (int k = 0; k <= below + above; ++k) errors[k] = WindowError(plan, totals, k);
  return first;
}
