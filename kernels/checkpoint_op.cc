// VaiCheckpointHas: whether a V2 checkpoint holds a tensor. Its '<prefix>.index' is a table with one entry a name.
#include <memory>
#include <string>

#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/lib/io/iterator.h"
#include "tensorflow/core/lib/io/table.h"
#include "tensorflow/core/lib/io/table_options.h"
#include "tensorflow/core/platform/env.h"

namespace vai_q_tf {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Status;
using tensorflow::Tensor;
namespace errors = tensorflow::errors;

Status IndexHas(tensorflow::Env* env, const std::string& path, const std::string& name, bool* present) {
  *present = false;
  const Status exists = env->FileExists(path);
  if (errors::IsNotFound(exists)) return Status::OK();
  TF_RETURN_IF_ERROR(exists);
  tensorflow::uint64 size;
  TF_RETURN_IF_ERROR(env->GetFileSize(path, &size));
  std::unique_ptr<tensorflow::RandomAccessFile> file;
  TF_RETURN_IF_ERROR(env->NewRandomAccessFile(path, &file));
  tensorflow::table::Table* opened = nullptr;
  TF_RETURN_IF_ERROR(tensorflow::table::Table::Open(tensorflow::table::Options(), file.get(), size, &opened));
  const std::unique_ptr<tensorflow::table::Table> table(opened);
  const std::unique_ptr<tensorflow::table::Iterator> entry(table->NewIterator());
  entry->Seek(name);
  TF_RETURN_IF_ERROR(entry->status());
  *present = entry->Valid() && entry->key() == name;
  return Status::OK();
}

class CheckpointHasOp : public OpKernel {
 public:
  explicit CheckpointHasOp(OpKernelConstruction* ctx) : OpKernel(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    const Tensor& prefix = ctx->input(0);
    const Tensor& tensor_name = ctx->input(1);
    OP_REQUIRES(ctx, prefix.NumElements() == 1 && tensor_name.NumElements() == 1,
                errors::InvalidArgument(name(), ": prefix and name must be one string each, their shapes are ",
                                        prefix.shape().DebugString(), " and ", tensor_name.shape().DebugString(), "."));
    const std::string wanted = tensor_name.flat<tensorflow::tstring>()(0);
    // The empty key is the table's header, no tensor.
    OP_REQUIRES(ctx, !wanted.empty(), errors::InvalidArgument(name(), ": the name of the tensor is empty."));
    const std::string path = std::string(prefix.flat<tensorflow::tstring>()(0)) + ".index";
    Tensor* present;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &present));
    Status status = IndexHas(ctx->env(), path, wanted, &present->scalar<bool>()());
    if (!status.ok()) errors::AppendToMessage(&status, name(), ": cannot read the checkpoint index ", path);
    OP_REQUIRES_OK(ctx, status);
  }
};

REGISTER_KERNEL_BUILDER(Name("VaiCheckpointHas").Device(tensorflow::DEVICE_CPU), CheckpointHasOp);

}  // namespace
}  // namespace vai_q_tf
