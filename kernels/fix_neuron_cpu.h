// Loops of the number format over a range of elements, for one thread. A result may be written in place of an
// input.
#ifndef VAI_Q_TF_KERNELS_FIX_NEURON_CPU_H_
#define VAI_Q_TF_KERNELS_FIX_NEURON_CPU_H_

#include <stdint.h>

#include <vector>

#include "fix_neuron.h"

namespace vai_q_tf {

void QuantizeRange(const float* x, float* y, int64_t size, const Format& format, bool half_up);

void GradientRange(const float* dy, const float* x, float* dx, int64_t size, const Format& format);

// The sum of the ThresholdTerms of one block of at most kBlock elements.
double BlockThresholdTerms(const float* dy, const float* x, int64_t size, const Format& format, bool half_up);

struct Extremes {
  float lows[kLanes];  // at most 0; highs are at least 0
  float highs[kLanes];
};

// Widens the extremes of any lanes to the finite elements.
void WidenExtremes(const float* x, int64_t size, Extremes* extremes);

// Error sums of one block of at most kBlock elements, one for each candidate of the plan.
void BlockErrors(const float* x, int64_t size, const SearchPlan& plan, bool relative, double* sums);

// An upper bound of the error that any element in [min, max] adds to the sum of the first candidate.
double LargestError(const SearchPlan& plan, float min, float max, bool relative);

// The factor of every element of a tensor with one factor per channel. Subnormal factors are zeros.
class Factors {
 public:
  Factors(const float* by_channel, const Channels& channels);

  // The factors of `size` elements from `first` on, at most kBlock, possibly in `scratch`, of kBlock elements.
  const float* Of(int64_t first, int64_t size, float* scratch) const;

 private:
  Channels channels_;
  std::vector<float> by_channel_;  // repeated if inner is 1, so that those of any block are contiguous
};

// y = x * scale, element by element, here and below.
void ScaleRange(const float* x, const float* scale, float* y, int64_t size);

// y = Q(x * scale) * rescale.
void ScaledQuantizeRange(const float* x, const float* scale, const float* rescale, float* y, int64_t size,
                         const Format& format, bool half_up);

// dx = dy * factor if x * scale is in the range or NaN, else 0.
void ScaledGradientRange(const float* dy, const float* x, const float* scale, const float* factor, float* dx,
                         int64_t size, const Format& format);

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_FIX_NEURON_CPU_H_
