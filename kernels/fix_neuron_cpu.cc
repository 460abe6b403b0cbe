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

template <bool kHalfUp, bool kFlush>
VAI_HD void QuantizeLoop(const float* x, float* y, int64_t size, const Format f) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) y[i] = Quantize<kHalfUp, kFlush>(x[i], f);
}

template <bool kHalfUp, bool kFlush>
VAI_HD void ScaledQuantizeLoop(const float* x, const float* scale, const float* rescale, float* y, int64_t size,
                               const Format f) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    y[i] = FlushSubnormal(Quantize<kHalfUp, kFlush>(FlushSubnormal(x[i]) * scale[i], f) * rescale[i]);
  }
}

template <bool kRelative>
VAI_HD void UnitsLoop(const float* x, int64_t size, float scale, float least, float* units) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) units[i] = Units<kRelative>(x[i], scale, least);
  for (int64_t i = size; i < kBlock; ++i) units[i] = 0.0f;
}

template <bool kRelative>
VAI_HD void CandidateErrors(const float* units, const Candidate c, float* result) {
  float lanes[kLanes] = {0.0f};
  for (int row = 0; row < kBlock; row += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += CandidateError<kRelative>(units[row + lane], c.ratio, c.q_lo, c.q_hi, c.epsilon);
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) result[lane] = lanes[lane];
}

template <bool kHalfUp>
VAI_HD double ThresholdLoop(const float* dy, const float* x, int64_t size, const Format f) {
  double lanes[kLanes] = {0.0};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += ThresholdTerm<kHalfUp>(dy[i + lane], x[i + lane], f);
  }
  for (int lane = 0; i < size; ++i, ++lane) lanes[lane] += ThresholdTerm<kHalfUp>(dy[i], x[i], f);
  double sum = 0.0;
  for (int lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
  return sum;
}

}  // namespace

VAI_CLONES
void QuantizeRange(const float* x, float* y, int64_t size, const Format& format, bool half_up) {
  if (format.scale == PowerOfTwo(kPositionMax)) {
    half_up ? QuantizeLoop<true, true>(x, y, size, format) : QuantizeLoop<false, true>(x, y, size, format);
  } else {
    half_up ? QuantizeLoop<true, false>(x, y, size, format) : QuantizeLoop<false, false>(x, y, size, format);
  }
}

VAI_CLONES
void GradientRange(const float* dy, const float* x, float* dx, int64_t size, const Format& format) {
  const Format f = format;
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) dx[i] = Gradient(dy[i], x[i], f);
}

VAI_CLONES
double BlockThresholdTerms(const float* dy, const float* x, int64_t size, const Format& format, bool half_up) {
  return half_up ? ThresholdLoop<true>(dy, x, size, format) : ThresholdLoop<false>(dy, x, size, format);
}

VAI_CLONES
void WidenExtremes(const float* x, int64_t size, Extremes* extremes) {
  Extremes e = *extremes;
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      const float v = Observed(x[i + lane], FLT_MIN);
      e.lows[lane] = v < e.lows[lane] ? v : e.lows[lane];
      e.highs[lane] = v > e.highs[lane] ? v : e.highs[lane];
    }
  }
  for (int lane = 0; i < size; ++i, ++lane) {
    const float v = Observed(x[i], FLT_MIN);
    e.lows[lane] = v < e.lows[lane] ? v : e.lows[lane];
    e.highs[lane] = v > e.highs[lane] ? v : e.highs[lane];
  }
  *extremes = e;
}

VAI_CLONES
void BlockErrors(const float* x, int64_t size, const SearchPlan& plan, bool relative, double* sums) {
  float units[kBlock];
  if (relative) {
    UnitsLoop<true>(x, size, plan.scale, plan.least, units);
  } else {
    UnitsLoop<false>(x, size, plan.scale, plan.least, units);
  }
  for (int start = 0; start < plan.count; start += kCandidates) {
    const int count = plan.count - start < kCandidates ? plan.count - start : (int)kCandidates;
    float lanes[kCandidates][kLanes] = {{0.0f}};
    for (int k = 0; k < count; ++k) {
      const Candidate& c = plan.candidate[start + k];
      relative ? CandidateErrors<true>(units, c, lanes[k]) : CandidateErrors<false>(units, c, lanes[k]);
    }
    double totals[kCandidates] = {0.0};
    for (int lane = 0; lane < kLanes; ++lane) {  // candidates side by side, because each total waits for its last addition
      for (int k = 0; k < kCandidates; ++k) totals[k] += lanes[k][lane];
    }
    for (int k = 0; k < count; ++k) sums[start + k] = totals[k];
  }
}

double LargestError(const SearchPlan& plan, float min, float max, bool relative) {
  if (relative) return 1.0;
  const Candidate& c = plan.candidate[0];
  const double below = c.q_lo - (double)min * plan.scale;
  const double above = (double)max * plan.scale - c.q_hi;
  const double outside = below > above ? below : above;
  return outside > 0.5 ? outside * outside : 0.25;
}

Factors::Factors(const float* by_channel, const Channels& channels) : channels_(channels) {
  const int64_t count = channels.count;
  by_channel_.reserve(count + kBlock);
  for (int64_t c = 0; c < count; ++c) by_channel_.push_back(FlushSubnormal(by_channel[c]));
  if (channels.inner == 1 && count > 0) {
    for (int64_t c = 0; c < kBlock; ++c) by_channel_.push_back(by_channel_[c]);
  }
}

const float* Factors::Of(int64_t first, int64_t size, float* scratch) const {
  const int64_t inner = channels_.inner;
  int64_t channel = first / inner % channels_.count;
  if (inner == 1) return &by_channel_[channel];
  int64_t end = inner - first % inner;
  for (int64_t i = 0; i < size; end += inner) {
    const float factor = by_channel_[channel];
    for (const int64_t stop = end < size ? end : size; i < stop; ++i) scratch[i] = factor;
    channel = channel + 1 < channels_.count ? channel + 1 : 0;
  }
  return scratch;
}

VAI_CLONES
void ScaleRange(const float* x, const float* scale, float* y, int64_t size) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) y[i] = FlushSubnormal(FlushSubnormal(x[i]) * scale[i]);
}

VAI_CLONES
void ScaledQuantizeRange(const float* x, const float* scale, const float* rescale, float* y, int64_t size,
                         const Format& format, bool half_up) {
  if (format.scale == PowerOfTwo(kPositionMax)) {
    half_up ? ScaledQuantizeLoop<true, true>(x, scale, rescale, y, size, format)
            : ScaledQuantizeLoop<false, true>(x, scale, rescale, y, size, format);
  } else {
    half_up ? ScaledQuantizeLoop<true, false>(x, scale, rescale, y, size, format)
            : ScaledQuantizeLoop<false, false>(x, scale, rescale, y, size, format);
  }
}

VAI_CLONES
void ScaledGradientRange(const float* dy, const float* x, const float* scale, const float* factor, float* dx,
                         int64_t size, const Format& format) {
  const Format f = format;
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    dx[i] = Gradient(FlushSubnormal(FlushSubnormal(dy[i]) * factor[i]), FlushSubnormal(x[i]) * scale[i], f);
  }
}

}  // namespace vai_q_tf
