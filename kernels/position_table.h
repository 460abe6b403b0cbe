// The table of votes for positions, an ordinary resource variable: how kernels find it, and the position that a row elects.
//
// The ops create the variable with zeros if it does not exist yet, so a graph needs no initializer for it and a
// checkpoint may lack it.
#ifndef VAI_Q_TF_KERNELS_POSITION_TABLE_H_
#define VAI_Q_TF_KERNELS_POSITION_TABLE_H_

#include <algorithm>
#include <string>
#include <vector>

#include "op_attrs.h"
#include "tensorflow/core/common_runtime/dma_helper.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

namespace vai_q_tf {

constexpr int kBins = 256;
constexpr int kZeroBin = 128;  // the bin of position 0

constexpr int kRowsMax = 1 << 20;
constexpr size_t kMostNames = 3;

// At most three of the names, and how many more there are, for messages.
inline std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min(kMostNames, names.size()); ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > kMostNames) text += " and " + std::to_string(names.size() - kMostNames) + " more";
  return text;
}

inline tensorflow::Status ReadRows(tensorflow::OpKernelConstruction* ctx, int* rows) {
  return ReadChoice(ctx, "rows", 1, kRowsMax, rows);
}

// A new table in its own memory: a copy of `counts`, or zeros if that is null.
inline tensorflow::Status NewTable(tensorflow::OpKernelContext* ctx, int rows, const float* counts,
                                   tensorflow::Tensor* table) {
  TF_RETURN_IF_ERROR(ctx->allocate_temp(tensorflow::DT_FLOAT, tensorflow::TensorShape({rows, kBins}), table));
  float* bins = table->flat<float>().data();
  if (counts == nullptr) {
    std::fill_n(bins, table->NumElements(), 0.0f);
  } else {
    std::copy_n(counts, table->NumElements(), bins);
  }
  return tensorflow::Status::OK();
}

// The variable whose handle is input 0. Its mutex is not held.
inline tensorflow::Status FindState(tensorflow::OpKernelContext* ctx, int rows, tensorflow::Var** state) {
  TF_RETURN_IF_ERROR(CheckScalar(ctx, 0, "the handle of the positions"));
  const auto create = [ctx, rows](tensorflow::Var** created) {
    tensorflow::Tensor zeros;
    TF_RETURN_IF_ERROR(NewTable(ctx, rows, nullptr, &zeros));
    *created = new tensorflow::Var(tensorflow::DT_FLOAT);
    *(*created)->tensor() = zeros;
    (*created)->is_initialized = true;
    return tensorflow::Status::OK();
  };
  return tensorflow::LookupOrCreateResource<tensorflow::Var>(ctx, tensorflow::HandleFromInput(ctx, 0), state, create);
}

// Makes the histograms usable, or returns an error that says why they are not. The caller holds the mutex.
inline tensorflow::Status CheckState(tensorflow::OpKernelContext* ctx, int rows, tensorflow::Var* state) {
  if (!state->is_initialized) {
    TF_RETURN_IF_ERROR(NewTable(ctx, rows, nullptr, state->tensor()));
    state->is_initialized = true;
  }
  const tensorflow::Tensor& tensor = *state->tensor();
  if (tensor.dtype() != tensorflow::DT_FLOAT || tensor.shape() != tensorflow::TensorShape({rows, kBins})) {
    return tensorflow::errors::InvalidArgument(
        ctx->op_kernel().name(), ": the positions are ", state->DebugString(), ", expected float [", rows, ",", kBins,
        "]. The checkpoint or variable is of a graph with other quantized tensors.");
  }
  return tensorflow::Status::OK();
}

// The counts of a usable state, to be changed: in memory not shared with a reader, or with an array that Python fed.
inline tensorflow::Status OwnTable(tensorflow::OpKernelContext* ctx, int rows, tensorflow::Var* state, float** table) {
  tensorflow::TensorBuffer* buffer = tensorflow::DMAHelper::buffer(state->tensor());
  if (!(buffer->RefCountIsOne() && buffer->root_buffer()->RefCountIsOne() && buffer->OwnsMemory())) {
    tensorflow::Tensor own;
    TF_RETURN_IF_ERROR(NewTable(ctx, rows, state->tensor()->flat<float>().data(), &own));
    *state->tensor() = own;
  }
  *table = state->tensor()->flat<float>().data();
  return tensorflow::Status::OK();
}

// The entry of a row in input 2, the legal positions.
inline tensorflow::Status ReadLegal(tensorflow::OpKernelContext* ctx, int row, int* position) {
  if (ctx->input(2).NumElements() <= row) {
    return tensorflow::errors::InvalidArgument(ctx->op_kernel().name(), ": the legal positions have the shape ",
                                               ctx->input(2).shape().DebugString(), ", and the row is ", row, ".");
  }
  *position = ctx->input(2).flat<tensorflow::int32>()(row);
  return tensorflow::Status::OK();
}

// The most frequent position of a row, the smallest of ties; kPositionZero only if nothing else was ever counted, and
// kNoObservation if nothing was.
inline int Elect(const float* bins) {
  const float* zero = bins + kPositionZero + kZeroBin;
  const float* best = std::max_element(bins, zero);
  if (!(*best > 0.0f)) best = zero;
  return *best > 0.0f ? static_cast<int>(best - bins) - kZeroBin : kNoObservation;
}

inline tensorflow::Status NeverTracked(const std::string& node, const std::string& tensor) {
  return tensorflow::errors::FailedPrecondition(
      "The quantize position of tensor '", tensor, "' was never tracked (", node,
      "). Train with quantization for at least one step, or restore a checkpoint that was saved during "
      "quantization-aware training. A freeze_position_step must lie after the global step at which the training begins. A "
      "Saver with a list of variables needs the objects of the collection SAVEABLE_OBJECTS in it too, both to save and to "
      "restore positions.");
}

}  // namespace vai_q_tf

#endif  // VAI_Q_TF_KERNELS_POSITION_TABLE_H_
