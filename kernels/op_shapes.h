// Shape functions that several ops share.
#ifndef VAI_Q_TF_KERNELS_OP_SHAPES_H_
#define VAI_Q_TF_KERNELS_OP_SHAPES_H_

#include <initializer_list>

#include "tensorflow/core/framework/shape_inference.h"

namespace vai_q_tf {

inline tensorflow::Status Scalars(tensorflow::shape_inference::InferenceContext* c, std::initializer_list<int> inputs) {
  tensorflow::shape_inference::ShapeHandle unused;
  for (int index : inputs) TF_RETURN_IF_ERROR(c->WithRank(c->input(index), 0, &unused));
  return tensorflow::Status::OK();
}

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_OP_SHAPES_H_
