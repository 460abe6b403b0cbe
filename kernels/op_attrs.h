// Checked attributes and small inputs of the ops. Errors name the node and the value.
#ifndef VAI_Q_TF_KERNELS_OP_ATTRS_H_
#define VAI_Q_TF_KERNELS_OP_ATTRS_H_

#include <limits>
#include <string>

#include "fix_neuron.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace vai_q_tf {

// Instead of a position: the result of a search that does not track, and the input that leaves values unchanged.
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

inline tensorflow::Status ReadMode(tensorflow::OpKernelConstruction* ctx, int* mode) {
  return ReadChoice(ctx, "mode", 0, 2, mode);
}

// Mode 1 is an activation and rounds half up; modes 0 (weight) and 2 (depthwise weight) round half away from zero.
inline bool RoundsHalfUp(int mode) { return mode == 1; }

struct SearchSettings {
  int bits;
  int mode;
  int method;
  bool symmetric;
  float tie = 1.0f;  // a finer position may have up to `tie` times the least error

  bool half_up() const { return RoundsHalfUp(mode); }
  bool relative() const { return method == 2 && mode == 2; }

  // All except `symmetric`, whose attribute has several names, and `tie`, an input.
  tensorflow::Status Read(tensorflow::OpKernelConstruction* ctx) {
    TF_RETURN_IF_ERROR(ReadBits(ctx, &bits));
    TF_RETURN_IF_ERROR(ReadMode(ctx, &mode));
    return ReadChoice(ctx, "method", 0, 2, &method);
  }

  // All except `tie`, for an op that only searches.
  tensorflow::Status ReadAll(tensorflow::OpKernelConstruction* ctx) {
    TF_RETURN_IF_ERROR(Read(ctx));
    return ctx->GetAttr("symmetric", &symmetric);
  }
};

inline tensorflow::Status CheckPosition(const std::string& node, tensorflow::int64 position) {
  if (position < kPositionMin || position > kPositionZero) {
    return tensorflow::errors::InvalidArgument(node, ": the position is ", position, ", it must be from ", kPositionMin,
                                               " to ", kPositionZero, ".");
  }
  return tensorflow::Status::OK();
}

inline tensorflow::Status CheckScalar(tensorflow::OpKernelContext* ctx, int index, const char* what) {
  if (ctx->input(index).NumElements() != 1) {
    return tensorflow::errors::InvalidArgument(ctx->op_kernel().name(), ": ", what, " must be one value, its shape is ",
                                               ctx->input(index).shape().DebugString(), ".");
  }
  return tensorflow::Status::OK();
}

// An op of a few microseconds. TensorFlow takes any other op for an expensive one until it has run about a hundred times, and
// hands it to another thread.
class SmallOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;
  bool IsExpensive() override { return false; }
};

// A position, or kNoObservation, which leaves values unchanged.
inline tensorflow::Status ReadPosition(tensorflow::OpKernelContext* ctx, int index, int* position) {
  TF_RETURN_IF_ERROR(CheckScalar(ctx, index, "the position"));
  *position = ctx->input(index).flat<tensorflow::int32>()(0);
  return *position == kNoObservation ? tensorflow::Status::OK() : CheckPosition(ctx->op_kernel().name(), *position);
}

// The settings of one run of a search: those of the op, with the tie of input `index`, if there is one.
inline tensorflow::Status ReadTie(tensorflow::OpKernelContext* ctx, int index, SearchSettings* settings) {
  if (ctx->num_inputs() <= index) return tensorflow::Status::OK();
  TF_RETURN_IF_ERROR(CheckScalar(ctx, index, "the tie"));
  settings->tie = ctx->input(index).flat<float>()(0);
  if (settings->tie >= 1.0f) return tensorflow::Status::OK();
  return tensorflow::errors::InvalidArgument(ctx->op_kernel().name(), ": the tie is ", settings->tie,
                                             ", it must be at least 1.");
}

inline tensorflow::Status CheckGradient(tensorflow::OpKernelContext* ctx, const tensorflow::Tensor& gradient,
                                        const tensorflow::Tensor& input) {
  if (gradient.shape() != input.shape()) {
    return tensorflow::errors::InvalidArgument(ctx->op_kernel().name(), ": the gradient has the shape ",
                                               gradient.shape().DebugString(), ", the input ",
                                               input.shape().DebugString(), ".");
  }
  return tensorflow::Status::OK();
}

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_OP_ATTRS_H_
