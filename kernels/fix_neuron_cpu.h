// Loops of the number format over a range of elements, for one thread. `x` and `y` may be the same array.
#ifndef VAI_Q_TF_KERNELS_FIX_NEURON_CPU_H_
#define VAI_Q_TF_KERNELS_FIX_NEURON_CPU_H_

#include <stdint.h>

#include "fix_neuron.h"

namespace vai_q_tf {

void QuantizeRange(const float* x, float* y, int64_t size, const Format& format, bool half_up);

void GradientRange(const float* dy, const float* x, float* dx, int64_t size, float lo, float hi);

// Widens [*min, *max], which contains 0, to the finite elements.
void WidenExtremes(const float* x, int64_t size, float* min, float* max);

// Error sums of one block of at most kBlock elements, one for each candidate of the plan.
void BlockErrors(const float* x, int64_t size, const SearchPlan& plan, bool relative, double* sums);

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_FIX_NEURON_CPU_H_
