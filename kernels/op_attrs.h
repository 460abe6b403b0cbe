// Attributes that several ops share, read and checked when a kernel is made.
#ifndef VAI_Q_TF_KERNELS_OP_ATTRS_H_
#define VAI_Q_TF_KERNELS_OP_ATTRS_H_

#include <limits>
#include <string>

#include "fix_neuron.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace vai_q_tf {

// What VaiSearchPosition returns when it was told not to look.
constexpr tensorflow::int32 kNoObservation = std::numeric_limits<tensorflow::int32>::min();

inline tensorflow::Status ReadChoice(tensorflow::OpKernelConstruction* ctx, const char* name, int lo, int hi,
                                     int* value) {
  TF_RETURN_IF_ERROR(ctx->GetAttr(name, value));
  if (*value < lo || *value > hi) {
    return tensorflow::errors::InvalidArgument(ctx->def().name(), " (", ctx->def().op(), "): ", name, " is ", *value,
                                               ", it must be from ", lo, " to ", hi, ".");
  }
  return tensorflow::Status::OK();
}

inline tensorflow::Status ReadBits(tensorflow::OpKernelConstruction* ctx, int* bits) {
  return ReadChoice(ctx, "bit_width", 1, kBitsMax, bits);
}

// Mode 1 is an activation and rounds half up; modes 0 (weight) and 2 (depthwise weight) round half away from zero.
inline bool RoundsHalfUp(int mode) { return mode == 1; }

struct SearchSettings {
  int bits = 8;
  int mode = 1;
  int method = 1;
  bool symmetric = false;

  bool half_up() const { return RoundsHalfUp(mode); }
  bool relative() const { return method == 2 && mode == 2; }

  tensorflow::Status Read(tensorflow::OpKernelConstruction* ctx) {
    TF_RETURN_IF_ERROR(ReadBits(ctx, &bits));
    TF_RETURN_IF_ERROR(ReadChoice(ctx, "mode", 0, 2, &mode));
    return ReadChoice(ctx, "method", 0, 2, &method);
  }
};

inline tensorflow::Status CheckPosition(const std::string& node, tensorflow::int64 position) {
  if (position < kPositionMin || position > kPositionZero) {
    return tensorflow::errors::InvalidArgument(node, ": the position is ", position, ", it must be from ", kPositionMin,
                                               " to ", kPositionZero, ".");
  }
  return tensorflow::Status::OK();
}

// The scalar int32 position at an input of the node.
inline tensorflow::Status ReadPosition(tensorflow::OpKernelContext* ctx, int index, int* position) {
  const tensorflow::Tensor& tensor = ctx->input(index);
  if (tensor.NumElements() != 1) {
    return tensorflow::errors::InvalidArgument(ctx->op_kernel().name(), ": the position must be one number, its shape is ",
                                               tensor.shape().DebugString(), ".");
  }
  *position = tensor.flat<tensorflow::int32>()(0);
  return CheckPosition(ctx->op_kernel().name(), *position);
}

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_OP_ATTRS_H_
