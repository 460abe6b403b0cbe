// The number format, shared by the CPU and CUDA kernels. vai_q_tf/fixed_point.py is the same definition in NumPy.
//
// A tensor with position p and b bits holds q * 2^-p, q an integer in [-2^(b-1), 2^(b-1)-1]. Subnormal inputs count as
// zero and no scale or result is subnormal, so nothing depends on the flush-to-zero mode of the calling thread.
#ifndef VAI_Q_TF_KERNELS_FIX_NEURON_H_
#define VAI_Q_TF_KERNELS_FIX_NEURON_H_

#include <float.h>
#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define VAI_HD static __host__ __device__ __forceinline__
#else
#define VAI_HD static inline __attribute__((always_inline))
#endif

namespace vai_q_tf {

enum : int {
  kPositionMin = -126,
  kPositionMax = 126,
  kPositionZero = 127,  // all zeros: every value becomes +0
  kBitsMax = 24,
  kCandidates = 5,  // positions that the min-diffs search compares, and the number evaluated at a time
  kWindowMax = 37,  // positions; the sum of squared errors of a block overflows in no larger window
  kLanes = 32,      // float32 partial sums of one block of the search
  kBlock = 2048,    // elements of one block; double precision across blocks
};

// 2^e for e in [-126, 127], the exponents of normal numbers.
VAI_HD float PowerOfTwo(int e) {
  union {
    uint32_t bits;
    float value;
  } u;
  u.bits = (uint32_t)(e + 127) << 23;
  return u.value;
}

struct Format {
  float scale;  // 2^p
  float step;   // 2^-p
  float q_lo;   // smallest and largest integer
  float q_hi;
  float lo;  // a gradient passes from lo to hi: the range, widened to the subnormals if it ends at zero
  float hi;
  int32_t largest;  // the bits of the largest magnitude that is quantized; larger ones stay unchanged
};

// The range is cut to integers whose value is a finite float32, which matters only for p < b - 128. NaN and
// infinities stay, or become the limits, NaN the lower one.
VAI_HD Format MakeFormat(int position, int bits, bool symmetric, bool keep_non_finite = true) {
  Format f;
  f.largest = keep_non_finite ? 0x7f7fffff : 0x7fffffff;
  const float subnormal = 1.17549421e-38f;  // the largest
  if (position >= kPositionZero) {
    f.scale = f.step = f.q_lo = f.q_hi = 0.0f;
    f.lo = -subnormal;
    f.hi = subnormal;
    return f;
  }
  f.scale = PowerOfTwo(position);
  f.step = PowerOfTwo(-position);
  const float half = PowerOfTwo(bits - 1);
  f.q_hi = half - 1.0f;
  f.q_lo = symmetric ? 1.0f - half : -half;
  if (128 + position < kBitsMax) {
    const float finite = PowerOfTwo(128 + position) - 1.0f;
    f.q_hi = f.q_hi < finite ? f.q_hi : finite;
    f.q_lo = f.q_lo > -finite ? f.q_lo : -finite;
  }
  f.lo = f.q_lo < 0.0f ? f.q_lo * f.step : -subnormal;
  f.hi = f.q_hi > 0.0f ? f.q_hi * f.step : subnormal;
  return f;
}

// x; a zero of its sign for a subnormal.
VAI_HD float FlushSubnormal(float x) {
  union {
    float value;
    uint32_t bits;
  } u;
  u.value = x;
  u.bits &= u.bits & 0x7f800000u ? 0xffffffffu : 0x80000000u;
  return u.value;
}

// x if the bits of |x|, which rise from finite numbers to infinity to NaN, exceed `largest`, else y. AVX-512 masks the last
// operation on y by the selection; if that is a truncation, GCC writes a branch instead, and no SIMD.
template <bool kSelect>
VAI_HD float KeepBeyond(int32_t largest, float x, float y) {
  union {
    float value;
    int32_t bits;
  } kept, other;
  kept.value = x;
  const bool is_beyond = (kept.bits & 0x7fffffff) > largest;
  if (kSelect) return is_beyond ? x : y;
  other.value = y;
  other.bits ^= (kept.bits ^ other.bits) & -(int32_t)is_beyond;
  return other.value;
}

// NaN becomes q_lo.
VAI_HD float Clip(float t, float q_lo, float q_hi) {
  t = t > q_lo ? t : q_lo;
  return q_hi < t ? q_hi : t;  // of two zeros t, which has the sign of x
}

// t, |t| <= 2^23, rounded to the nearest integer, ties to even. One instruction on every machine.
VAI_HD float NearestEven(float t) {
#ifdef __CUDACC__
  return rintf(t);
#else
  return (float)__builtin_irintf(t);
#endif
}

// t without its fraction, |t| <= 2^23.
VAI_HD float Truncate(float t) { return (float)(int)t; }

// t, |t| <= 2^23 + 1 and an integer beyond 2^23, rounded to the nearest integer.
template <bool kHalfUp>
VAI_HD float Round(float t) {
  if (kHalfUp) {
    const float even = NearestEven(t);
    return even + (t - even == 0.5f ? 1.0f : 0.0f);  // if a half remains, the tie was rounded down
  }
  return Truncate(t + copysignf(0.49999997f, t));  // 0.5 would round 0.49999997 up, too
}

// Clipping before rounding equals clipping after it, because both limits are integers. A negative t can give -0.
// A subnormal x reaches half a step only at kPositionMax; at other positions kFlush may be false.
template <bool kHalfUp, bool kFlush>
VAI_HD float Quantize(float x, const Format& f) {
  const float t = Clip((kFlush ? FlushSubnormal(x) : x) * f.scale, f.q_lo, f.q_hi);
  const float y = copysignf(Round<kHalfUp>(t), t) * f.step;
  return KeepBeyond<kHalfUp>(f.largest, x, y);
}

// The derivative of a quantized value with respect to the log2 of its threshold, in units of step * ln 2: the rounding error,
// or the limit if x rounds to an integer beyond it. NaN for NaN.
template <bool kHalfUp>
VAI_HD float ThresholdSlope(float x, const Format& f) {
  const float t = Clip(FlushSubnormal(FlushSubnormal(x) * f.scale), f.q_lo - 1.0f, f.q_hi + 1.0f);
  const float q = Round<kHalfUp>(t);
  const float inside = q - t;
  const float slope = q < f.q_lo ? f.q_lo : q > f.q_hi ? f.q_hi : inside;
  return x == x ? slope : x;
}

// The exact contribution of an element with the gradient dy to the gradient of the threshold, in the same units.
template <bool kHalfUp>
VAI_HD double ThresholdTerm(float dy, float x, const Format& f) {
  return (double)FlushSubnormal(dy) * (double)ThresholdSlope<kHalfUp>(x, f);
}

// The gradient of the threshold from the sum of the terms; 0 if the tensor was all zeros.
VAI_HD double ThresholdGradient(double terms, const Format& f) {
  return f.step > 0.0f ? terms * (double)f.step * 0.69314718055994531 : 0.0;
}

// dy if x is in the representable range or NaN, else 0.
VAI_HD float Gradient(float dy, float x, const Format& f) { return (x < f.lo) | (x > f.hi) ? 0.0f : dy; }

// a * b as TensorFlow multiplies: subnormal operands and results are zeros.
VAI_HD float Product(float a, float b) {
  return FlushSubnormal(FlushSubnormal(a) * FlushSubnormal(b));
}

VAI_HD float Magnitude(float x) { return x < 0.0f ? -x : x; }

// The scale of a channel by which its weights are multiplied and later divided: a zero, or a scale so small that its reciprocal is
// hardly finite, becomes the largest magnitude of all channels, or `typical` if that is zero as well.
VAI_HD float FoldingScale(float scale, float largest, float typical) {
  const float tiny = 1e-20f;
  if (!(Magnitude(scale) < tiny)) return scale;
  return largest < tiny ? typical : largest;
}

// Which elements share a factor: element i belongs to channel (i / inner) % count.
struct Channels {
  int64_t count;
  int64_t inner;
};

// The value of an element in a search: 0 for non-finite ones and those below `least`, a normal number. A zero changes
// neither extremes nor errors.
VAI_HD float Observed(float x, float least) {
  const float magnitude = fabsf(x);
  return (magnitude >= least) & (magnitude <= FLT_MAX) ? x : 0.0f;
}

// The largest position at which [min, max], min <= 0 <= max, stays within half a step of the range.
VAI_HD int NonOverflowPosition(float min, float max, int bits) {
  const double half = (double)PowerOfTwo(bits - 1);
  const double below = (double)min / (-half - 0.5);
  const double above = (double)max / (half - 0.5);
  const double size = below > above ? below : above;
  if (!(size > 0.0)) return kPositionZero;
  int exponent;
  const double fraction = frexp(size, &exponent);
  const int position = fraction == 0.5 ? 1 - exponent : -exponent;
  if (position < kPositionMin) return kPositionMin;
  return position > kPositionMax ? kPositionMax : position;
}

// x in steps of the first candidate.
template <bool kRelative>
VAI_HD float Units(float x, float scale, float least) {
  const float units = Observed(x, least) * scale;
  return kRelative ? FlushSubnormal(units) : units;
}

// The error of an element for a candidate, in units of the candidate's step: squared, or the root of the relative error.
// `units` is the element in steps of the first candidate, `ratio` 2^k for the k-th candidate, `epsilon` 1e-9 in its steps.
// Both ways to round a tie have the same error.
template <bool kRelative>
VAI_HD float CandidateError(float units, float ratio, float q_lo, float q_hi, float epsilon) {
  const float t = units * ratio;
  const float error = NearestEven(Clip(t, q_lo, q_hi)) - t;
  if (kRelative) return sqrtf(fabsf(error) / (fabsf(t) + epsilon));
  return error * error;
}

struct Candidate {
  float ratio, q_lo, q_hi, epsilon;
  double weight;  // converts the block sums of all candidates to one unit
};

struct SearchPlan {
  int first;
  int count;  // candidates first, first + 1, ...
  float scale;
  float least;  // smaller elements count as zeros, so that no squared error is subnormal
  Candidate candidate[kWindowMax];
};

VAI_HD SearchPlan MakeSearchPlan(int first, int count, int bits, bool symmetric, bool relative) {
  SearchPlan plan;
  plan.first = first;
  plan.scale = PowerOfTwo(first);
  plan.least = relative || first > 66 ? FLT_MIN : PowerOfTwo(-60 - first);
  plan.count = 0;
  for (int k = 0; k < count; ++k) {
    const int position = first + k;
    if (position > kPositionMax) break;
    const Format f = MakeFormat(position, bits, symmetric);
    Candidate& c = plan.candidate[k];
    c.ratio = PowerOfTwo(k);
    c.q_lo = f.q_lo;
    c.q_hi = f.q_hi;
    const float epsilon = 1e-9f * f.scale;
    c.epsilon = epsilon > FLT_MIN ? epsilon : FLT_MIN;
    c.weight = relative ? 1.0 : (double)PowerOfTwo(-2 * k);
    plan.count = k + 1;
  }
  return plan;
}

// The smallest of the best candidates; from there, one by one, finer ones while their error is at most `tie` times the
// least.
VAI_HD int BestPosition(const SearchPlan& plan, const double* sums, float tie) {
  int best = 0;
  for (int k = 1; k < plan.count; ++k) {
    if (sums[k] * plan.candidate[k].weight < sums[best] * plan.candidate[best].weight) best = k;
  }
  if (tie == 1.0f) return plan.first + best;
  const double most = sums[best] * plan.candidate[best].weight * tie;
  while (best + 1 < plan.count && sums[best + 1] * plan.candidate[best + 1].weight <= most) ++best;
  return plan.first + best;
}

// The first position of a window that reaches `below` positions below the non-overflow position.
VAI_HD int WindowFirst(int non_overflow, int below) {
  return non_overflow - below < kPositionMin ? (int)kPositionMin : non_overflow - below;
}

// The squared error of candidate k from its block sums, in the unit of the tensor; beyond the last candidate, kPositionMax
// then, the error of the last one. 0 without candidates.
VAI_HD double WindowError(const SearchPlan& plan, const double* sums, int k) {
  if (plan.count == 0) return 0.0;
  k = k < plan.count ? k : plan.count - 1;
  const double step = PowerOfTwo(-(plan.first + k));
  return sums[k] * step * step;
}

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_FIX_NEURON_H_
