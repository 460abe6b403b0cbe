#include "fix_neuron_cpu.h"

// The best instruction set is chosen when the library is loaded, so one file serves every x86-64 machine.
#ifdef VAI_CLONES  // a test compiles one instruction set at a time
#elif defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VAI_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define VAI_CLONES
#endif

namespace vai_q_tf {
namespace {

template <bool kHalfUp>
VAI_HD void QuantizeLoop(const float* x, float* y, int64_t size, const Format f) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) y[i] = Quantize<kHalfUp>(x[i], f);
}

template <bool kRelative>
VAI_HD double CandidateSum(const float* units, const Candidate c) {
  float lanes[kLanes] = {0.0f};
  for (int row = 0; row < kBlock; row += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += CandidateError<kRelative>(units[row + lane], c.ratio, c.q_lo, c.q_hi, c.epsilon);
    }
  }
  double sum = 0.0;
  for (int lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
  return sum;
}

}  // namespace

VAI_CLONES
void QuantizeRange(const float* x, float* y, int64_t size, const Format& format, bool half_up) {
  if (half_up) {
    QuantizeLoop<true>(x, y, size, format);
  } else {
    QuantizeLoop<false>(x, y, size, format);
  }
}

VAI_CLONES
void GradientRange(const float* dy, const float* x, float* dx, int64_t size, float lo, float hi) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) dx[i] = Gradient(dy[i], x[i], lo, hi);
}

VAI_CLONES
void WidenExtremes(const float* x, int64_t size, float* min, float* max) {
  float lows[kLanes] = {0.0f};
  float highs[kLanes] = {0.0f};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      const float v = Observed(x[i + lane]);
      lows[lane] = v < lows[lane] ? v : lows[lane];
      highs[lane] = v > highs[lane] ? v : highs[lane];
    }
  }
  for (int lane = 0; i < size; ++i, ++lane) {
    const float v = Observed(x[i]);
    lows[lane] = v < lows[lane] ? v : lows[lane];
    highs[lane] = v > highs[lane] ? v : highs[lane];
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    *min = lows[lane] < *min ? lows[lane] : *min;
    *max = highs[lane] > *max ? highs[lane] : *max;
  }
}

VAI_CLONES
void BlockErrors(const float* x, int64_t size, const SearchPlan& plan, bool relative, double* sums) {
  float units[kBlock];
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) units[i] = Units(x[i], plan.scale);
  for (int64_t i = size; i < kBlock; ++i) units[i] = 0.0f;
  for (int k = 0; k < plan.count; ++k) {
    const Candidate& c = plan.candidate[k];
    sums[k] = relative ? CandidateSum<true>(units, c) : CandidateSum<false>(units, c);
  }
}

}  // namespace vai_q_tf
