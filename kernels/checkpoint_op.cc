// VaiCheckpointHas and VaiRestoreTensors: whether a V2 checkpoint holds a tensor, and the tensors that it holds.
// Its '<prefix>.index' is a table with one entry per name.
#include <memory>
#include <string>
#include <vector>

#include "op_attrs.h"
#include "tensorflow/core/framework/node_def_builder.h"
#include "tensorflow/core/lib/io/iterator.h"
#include "tensorflow/core/lib/io/table.h"
#include "tensorflow/core/lib/io/table_options.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/public/version.h"

namespace vai_q_tf {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Status;
using tensorflow::Tensor;
using tensorflow::TensorShape;
namespace errors = tensorflow::errors;

// present: for each name, whether the table has it; all false if there is no table.
Status ReadIndex(tensorflow::Env* env, const std::string& path, const std::vector<std::string>& names,
                 std::vector<bool>* present) {
  present->assign(names.size(), false);
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
  for (size_t i = 0; i < names.size(); ++i) {
    const std::unique_ptr<tensorflow::table::Iterator> entry(table->NewIterator());
    entry->Seek(names[i]);
    TF_RETURN_IF_ERROR(entry->status());
    (*present)[i] = entry->Valid() && entry->key() == names[i];
  }
  return Status::OK();
}

Status FindTensors(OpKernelContext* ctx, const Tensor& prefix, const std::vector<std::string>& names,
                   std::vector<bool>* present) {
  const std::string path = std::string(prefix.flat<tensorflow::tstring>()(0)) + ".index";
  Status status = ReadIndex(ctx->env(), path, names, present);
  if (!status.ok()) errors::AppendToMessage(&status, ctx->op_kernel().name(), ": cannot read the checkpoint index ", path);
  return status;
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
    // The empty key is the table's header, not a tensor.
    OP_REQUIRES(ctx, !wanted.empty(), errors::InvalidArgument(name(), ": the name of the tensor is empty."));
    std::vector<bool> found;
    OP_REQUIRES_OK(ctx, FindTensors(ctx, prefix, {wanted}, &found));
    Tensor* present;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &present));
    present->scalar<bool>()() = found[0];
  }
};

Tensor Texts(const std::vector<std::string>& texts) {
  Tensor made(tensorflow::DT_STRING, TensorShape({static_cast<tensorflow::int64>(texts.size())}));
  std::copy(texts.begin(), texts.end(), made.flat<tensorflow::tstring>().data());
  return made;
}

// Runs TensorFlow's RestoreV2 for the names that are there, because it fails on a checkpoint that lacks one of its names.
Status Restore(OpKernelContext* ctx, Tensor prefix, const std::vector<std::string>& names,
               const std::vector<tensorflow::DataType>& types, std::vector<Tensor>* values) {
  tensorflow::NodeDef node;
  TF_RETURN_IF_ERROR(tensorflow::NodeDefBuilder(ctx->op_kernel().name(), "RestoreV2")
                         .Input("prefix", 0, tensorflow::DT_STRING)
                         .Input("tensor_names", 0, tensorflow::DT_STRING)
                         .Input("shape_and_slices", 0, tensorflow::DT_STRING)
                         .Attr("dtypes", types)
                         .Finalize(&node));
  Status created;
  const std::unique_ptr<OpKernel> kernel = tensorflow::CreateOpKernel(
      tensorflow::DEVICE_CPU, ctx->device(), ctx->device()->GetAllocator(tensorflow::AllocatorAttributes()), node,
      TF_GRAPH_DEF_VERSION, &created);
  TF_RETURN_IF_ERROR(created);
  Tensor tensor_names = Texts(names), whole = Texts(std::vector<std::string>(names.size()));
  const tensorflow::gtl::InlinedVector<tensorflow::TensorValue, 4> inputs = {
      tensorflow::TensorValue(&prefix), tensorflow::TensorValue(&tensor_names), tensorflow::TensorValue(&whole)};
  const std::vector<tensorflow::AllocatorAttributes> outputs(names.size());
  OpKernelContext::Params params;
  params.device = ctx->device();
  params.op_kernel = kernel.get();
  params.inputs = &inputs;
  params.output_attr_array = outputs.data();
  OpKernelContext context(&params);
  kernel->Compute(&context);
  TF_RETURN_IF_ERROR(context.status());
  for (size_t i = 0; i < names.size(); ++i) values->push_back(*context.mutable_output(i));
  return Status::OK();
}

class RestoreTensorsOp : public OpKernel {
 public:
  explicit RestoreTensorsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("tensor_names", &names_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dtypes", &types_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("shapes", &shapes_));
    OP_REQUIRES(ctx, names_.size() == types_.size() && shapes_.size() == types_.size(),
                errors::InvalidArgument(name(), ": there are ", names_.size(), " names and ", shapes_.size(), " shapes for ",
                                        types_.size(), " tensors."));
    for (const std::string& wanted : names_) {
      OP_REQUIRES(ctx, !wanted.empty(), errors::InvalidArgument(name(), ": the name of a tensor is empty."));
    }
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckScalar(ctx, 0, "prefix"));
    std::vector<bool> present;
    OP_REQUIRES_OK(ctx, FindTensors(ctx, ctx->input(0), names_, &present));
    std::vector<std::string> names;
    std::vector<tensorflow::DataType> types;
    for (size_t i = 0; i < names_.size(); ++i) {
      if (!present[i]) continue;
      names.push_back(names_[i]);
      types.push_back(types_[i]);
    }
    std::vector<Tensor> values;
    if (!names.empty()) OP_REQUIRES_OK(ctx, Restore(ctx, ctx->input(0), names, types, &values));
    auto value = values.begin();
    for (size_t i = 0; i < names_.size(); ++i) {
      if (present[i]) {
        ctx->set_output(i, *value++);
        continue;
      }
      Tensor* missing;
      OP_REQUIRES_OK(ctx, ctx->allocate_output(i, shapes_[i], &missing));
      if (types_[i] == tensorflow::DT_FLOAT) missing->flat<float>().setZero();
    }
  }

 private:
  std::vector<std::string> names_;
  std::vector<tensorflow::DataType> types_;
  std::vector<TensorShape> shapes_;
};

REGISTER_KERNEL_BUILDER(Name("VaiCheckpointHas").Device(tensorflow::DEVICE_CPU), CheckpointHasOp);
REGISTER_KERNEL_BUILDER(Name("VaiRestoreTensors").Device(tensorflow::DEVICE_CPU), RestoreTensorsOp);

}  // namespace
}  // namespace vai_q_tf
