// Registration of the ops of a training: its state, its phases, its checkpoints. The kernels are in *_op.cc and *_ops.cc.
#include "op_shapes.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"

namespace {

using tensorflow::Status;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;
using vai_q_tf::Scalars;

// `shape` with an unknown first dimension, the number of examples.
Status AnyExamples(InferenceContext* c, ShapeHandle shape, ShapeHandle* result) {
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(shape, 1, &shape));
  return c->ReplaceDim(shape, 0, c->UnknownDim(), result);
}

// VaiMovingPosition and VaiKeptPosition.
Status ElectedShape(InferenceContext* c) {
  int flags;
  TF_RETURN_IF_ERROR(c->GetAttr("M", &flags));
  c->set_output(0, c->Scalar());
  TF_RETURN_IF_ERROR(Scalars(c, {0, 1}));
  return flags > 0 ? Scalars(c, {c->num_inputs() - 1}) : Status::OK();
}

Status HistogramShape(InferenceContext* c, ShapeHandle* shape) {
  int rows;
  TF_RETURN_IF_ERROR(c->GetAttr("rows", &rows));
  *shape = c->Matrix(rows, 256);
  return Status::OK();
}

}  // namespace

REGISTER_OP("VaiLearnedPosition")
    .Input("state: resource")
    .Input("elected: int32")
    .Input("legal: int32")
    .Input("learning: bool")
    .Output("position: int32")
    .Attr("rows: int >= 1")
    .Attr("row: int >= 0")
    .Attr("members: list(int) = []")
    .Attr("networks: int >= 1 = 1")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Scalar());
      return Scalars(c, {0, 1, 3});
    });

REGISTER_OP("VaiLearnPosition")
    .Input("state: resource")
    .Input("learning: bool")
    .Input("to_threshold: N * double")
    .Attr("N: int >= 1")
    .Attr("rows: int >= 1")
    .Attr("row: int >= 0")
    .Attr("members: list(int) = []")
    .Attr("rate: float")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) { return Scalars(c, {0, 1}); });

REGISTER_OP("VaiMovingPosition")
    .Input("state: resource")
    .Input("batch_position: int32")
    .Input("legal: N * int32")
    .Input("calibrating: M * bool")
    .Output("position: int32")
    .Attr("N: int >= 0 = 0")
    .Attr("M: int >= 0 = 0")
    .Attr("rows: int >= 1")
    .Attr("row: int >= 0")
    .Attr("decay: float")
    .Attr("tensor: string")
    .Attr("copies: list(int) = []")
    .SetIsStateful()
    .SetShapeFn(ElectedShape);

REGISTER_OP("VaiKeptPosition")
    .Input("state: resource")
    .Input("batch_position: int32")
    .Input("legal: N * int32")
    .Input("calibrating: M * bool")
    .Output("position: int32")
    .Attr("N: int >= 0 = 0")
    .Attr("M: int >= 0 = 0")
    .Attr("rows: int >= 1")
    .Attr("row: int >= 0")
    .Attr("tensor: string")
    .SetIsStateful()
    .SetShapeFn(ElectedShape);

REGISTER_OP("VaiLegalPositions")
    .Input("state: resource")
    .Output("positions: int32")
    .Attr("rows: int >= 1")
    .Attr("groups: list(int)")
    .Attr("sources: list(int)")
    .Attr("lowest: list(int)")
    .Attr("neighbours: list(int)")
    .Attr("defaults: list(int)")
    .Attr("limits: list(int)")
    .Attr("level: int")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      int rows;
      TF_RETURN_IF_ERROR(c->GetAttr("rows", &rows));
      c->set_output(0, c->Vector(rows));
      return Scalars(c, {0});
    });

REGISTER_OP("VaiReadPositions")
    .Input("state: resource")
    .Output("histograms: float")
    .Attr("rows: int >= 1")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle shape;
      TF_RETURN_IF_ERROR(HistogramShape(c, &shape));
      c->set_output(0, shape);
      return Scalars(c, {0});
    });

REGISTER_OP("VaiWritePositions")
    .Input("state: resource")
    .Input("histograms: float")
    .Attr("rows: int >= 1")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle shape;
      TF_RETURN_IF_ERROR(HistogramShape(c, &shape));
      TF_RETURN_IF_ERROR(c->Merge(c->input(1), shape, &shape));
      return Scalars(c, {0});
    });

REGISTER_OP("VaiCheckpointHas")
    .Input("prefix: string")
    .Input("tensor_name: string")
    .Output("present: bool")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Scalar());
      return Scalars(c, {0, 1});
    });

REGISTER_OP("VaiRestoreTensors")
    .Input("prefix: string")
    .Output("tensors: dtypes")
    .Attr("tensor_names: list(string)")
    .Attr("dtypes: list({float, string}) >= 1")
    .Attr("shapes: list(shape)")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      for (int index = 0; index < c->num_outputs(); ++index) c->set_output(index, c->UnknownShape());
      return Scalars(c, {0});
    });

REGISTER_OP("VaiMatchRows")
    .Input("tensors: string")
    .Input("variables: string")
    .Input("structures: num_structures * string")
    .Input("earlier: num_earlier * string")
    .Input("saved_names: string")
    .Input("saved_variables: string")
    .Input("saved_structures: string")
    .Input("saved_votes: float")
    .Input("bits: float")
    .Input("saved_bits: float")
    .Output("votes: float")
    .Output("before_training: bool")
    .Output("other: string")
    .Attr("begins_anew: bool")
    .Attr("num_structures: int >= 0 = 0")
    .Attr("num_earlier: int >= 0 = 0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rows;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 1, &rows));
      c->set_output(0, c->Matrix(c->Dim(rows, 0), 256));
      c->set_output(1, c->Scalar());
      c->set_output(2, c->Scalar());
      return Status::OK();
    });

REGISTER_OP("VaiSplitPhases")
    .Input("value: T")
    .Input("first: bool")
    .Output("first_part: T")
    .Output("second_part: T")
    .Attr("T: type")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle part;
      TF_RETURN_IF_ERROR(AnyExamples(c, c->input(0), &part));
      c->set_output(0, part);
      c->set_output(1, part);
      return Scalars(c, {1});
    });

REGISTER_OP("VaiJoinPhases")
    .Input("first_part: T")
    .Input("second_part: T")
    .Input("first: bool")
    .Output("value: T")
    .Attr("T: type")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle parts[2];
      for (int index : {0, 1}) TF_RETURN_IF_ERROR(AnyExamples(c, c->input(index), &parts[index]));
      TF_RETURN_IF_ERROR(c->Merge(parts[0], parts[1], &parts[0]));
      c->set_output(0, parts[0]);
      return Scalars(c, {2});
    });

REGISTER_OP("VaiSelectPhase")
    .Input("first_values: N * T")
    .Input("second_values: N * T")
    .Input("first: bool")
    .Output("values: N * T")
    .Attr("N: int >= 1")
    .Attr("T: type")
    .SetShapeFn([](InferenceContext* c) {
      for (int i = 0; i < c->num_outputs(); ++i) {
        ShapeHandle shape;
        TF_RETURN_IF_ERROR(c->Merge(c->input(i), c->input(c->num_outputs() + i), &shape));
        c->set_output(i, shape);
      }
      return Scalars(c, {2 * c->num_outputs()});
    });

REGISTER_OP("VaiFoldingScales")
    .Input("scale: float")
    .Input("typical: float")
    .Input("first: M * bool")
    .Input("factors: N * float")
    .Output("weights_scale: float")
    .Output("rescale: float")
    .Output("passed: N * float")
    .Attr("M: int >= 0 = 0")
    .Attr("N: int >= 0 = 0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scale;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 1, &scale));
      TF_RETURN_IF_ERROR(c->Merge(scale, c->input(1), &scale));
      for (int i : {0, 1}) c->set_output(i, scale);
      int flags;
      TF_RETURN_IF_ERROR(c->GetAttr("M", &flags));
      for (int i = 2; i < c->num_outputs(); ++i) c->set_output(i, c->input(i + flags));
      return flags > 0 ? Scalars(c, {2}) : Status::OK();
    });

REGISTER_OP("VaiTrainingBegin")
    .Input("state: resource")
    .Input("step: float")
    .Input("votes: float")
    .Input("averages: num_averages * float")
    .Input("vectors: num_vectors * float")
    .Input("fixed: num_fixed * float")
    .Output("begin: int32")
    .Output("is_new: bool")
    .Output("is_other: bool")
    .Output("first_step: float")
    .Output("untrained: string")
    .Attr("always: int >= 0 = 0")
    .Attr("norm_names: list(string)")
    .Attr("vector_names: list(string)")
    .Attr("num_averages: int >= 0")
    .Attr("num_vectors: int >= 0")
    .Attr("num_fixed: int >= 0 = 0")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      for (int i = 0; i < c->num_outputs(); ++i) c->set_output(i, c->Scalar());
      return Scalars(c, {0, 1});
    });

REGISTER_OP("VaiNoteBegin")
    .Input("state: resource")
    .Input("notes: bool")
    .Input("begin: int32")
    .Input("first_step: float")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) { return Scalars(c, {0, 1, 2, 3}); });

REGISTER_OP("VaiSay")
    .Input("when: bool")
    .Input("number: int32")
    .Input("names: string")
    .Attr("lines: list(string) >= 1")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) { return Scalars(c, {0, 1, 2}); });
