// The CPU loops compiled for one instruction set and callable by ctypes.
#define VAI_CLONES
#include "fix_neuron_cpu.cc"

using namespace vai_q_tf;

extern "C" void TestQuantize(const float* x, float* y, int64_t size, int position, int bits, int symmetric,
                             int half_up) {
  QuantizeRange(x, y, size, MakeFormat(position, bits, symmetric), half_up);
}

extern "C" void TestGradient(const float* dy, const float* x, float* dx, int64_t size, float lo, float hi) {
  GradientRange(dy, x, dx, size, lo, hi);
}

extern "C" int TestSearch(const float* x, int64_t size, int bits, int method, int relative, int symmetric) {
  float min = 0.0f;
  float max = 0.0f;
  WidenExtremes(x, size, &min, &max);
  const int first = NonOverflowPosition(min, max, bits);
  if (first == kPositionZero || method == 0) return first;
  const SearchPlan plan = MakeSearchPlan(first, bits, symmetric, relative);
  double totals[kCandidates] = {0.0};
  for (int64_t start = 0; start < size; start += kBlock) {
    double sums[kCandidates];
    BlockErrors(x + start, size - start < kBlock ? size - start : kBlock, plan, relative, sums);
    for (int k = 0; k < plan.count; ++k) totals[k] += sums[k];
  }
  return BestPosition(plan, totals);
}
