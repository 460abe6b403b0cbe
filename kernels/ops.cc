// Registration of the ops: names, attributes, shapes. The kernels are in *_op.cc.
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using tensorflow::Status;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

Status Scalars(InferenceContext* c, std::initializer_list<int> inputs) {
  ShapeHandle unused;
  for (int index : inputs) TF_RETURN_IF_ERROR(c->WithRank(c->input(index), 0, &unused));
  return Status::OK();
}

// Input `scale` holds one factor for each channel, and so does input `other`.
Status Factors(InferenceContext* c, int scale, int other) {
  ShapeHandle unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(scale), 1, &unused));
  return c->Merge(c->input(scale), c->input(other), &unused);
}

// `shape` with any number of examples, its first dimension.
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

REGISTER_OP("FixNeuron")
    .Input("input: float")
    .Output("quantized: float")
    .Attr("bit_width: int = 8")
    .Attr("method: int = 1")
    .Attr("mode: int")
    .Attr("phase: int")
    .Attr("output_dir: string = ''")
    .Attr("quantize_pos: int = 0")
    .Attr("T: type = DT_FLOAT")
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape)
    .Doc(R"doc(
Rounds a tensor to `bit_width` bits at a power-of-two scale.

quantized: q * 2^-p, q an integer of `bit_width` bits; the shape of `input`.
bit_width: from 1 to 24, the sign included.
method: how phases 0 and 2 find p: 0 non-overflow, 1 min-diffs, 2 min-diffs with the relative error where mode is 2.
mode: 0 weight or bias and 2 depthwise weight (halves round away from zero), 1 activation (halves round up).
phase: 1 quantizes at `quantize_pos`; 0 and 2 at the position found for this input.
output_dir: not used.
quantize_pos: p of phase 1, the number of fractional bits.
T: not used; older graphs carry it.
)doc");

REGISTER_OP("VaiFixNeuron")
    .Input("input: float")
    .Input("position: int32")
    .Output("output: float")
    .Attr("bit_width: int = 8")
    .Attr("mode: int = 1")
    .Attr("symmetric: bool = false")
    .Attr("gradient: {'clipped', 'straight_through'} = 'clipped'")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(0));
      return Scalars(c, {1});
    });

REGISTER_OP("VaiFixNeuronGrad")
    .Input("gradient: float")
    .Input("input: float")
    .Input("position: int32")
    .Output("backprop: float")
    .Attr("bit_width: int = 8")
    .Attr("symmetric: bool = false")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle shape;
      TF_RETURN_IF_ERROR(c->Merge(c->input(0), c->input(1), &shape));
      c->set_output(0, shape);
      return Scalars(c, {2});
    });

REGISTER_OP("VaiSearchPosition")
    .Input("input: float")
    .Input("track: bool")
    .Input("tie: N * float")
    .Output("position: int32")
    .Attr("N: int >= 0 = 0")
    .Attr("bit_width: int = 8")
    .Attr("mode: int = 1")
    .Attr("method: int = 1")
    .Attr("symmetric: bool = false")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Scalar());
      return Scalars(c, {1});
    });

REGISTER_OP("VaiPositionErrors")
    .Input("input: float")
    .Output("first: int32")
    .Output("errors: double")
    .Attr("bit_width: int = 8")
    .Attr("mode: int = 1")
    .Attr("below: int >= 0")
    .Attr("above: int >= 0")
    .Attr("symmetric: bool = false")
    .SetShapeFn([](InferenceContext* c) {
      tensorflow::int64 below, above;
      TF_RETURN_IF_ERROR(c->GetAttr("below", &below));
      TF_RETURN_IF_ERROR(c->GetAttr("above", &above));
      c->set_output(0, c->Scalar());
      c->set_output(1, c->Vector(below + above + 1));
      return Status::OK();
    });

REGISTER_OP("VaiScaledFixNeuron")
    .Input("input: float")
    .Input("scale: float")
    .Input("rescale: float")
    .Input("position: int32")
    .Output("output: float")
    .Attr("bit_width: int = 8")
    .Attr("mode: int = 0")
    .Attr("inner: int >= 1 = 1")
    .Attr("symmetric: bool = false")
    .Attr("gradient: {'clipped', 'straight_through'} = 'clipped'")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(0));
      TF_RETURN_IF_ERROR(Factors(c, 1, 2));
      return Scalars(c, {3});
    });

REGISTER_OP("VaiScaledFixNeuronGrad")
    .Input("gradient: float")
    .Input("input: float")
    .Input("scale: float")
    .Input("factor: float")
    .Input("position: int32")
    .Output("backprop: float")
    .Attr("bit_width: int = 8")
    .Attr("inner: int >= 1 = 1")
    .Attr("symmetric: bool = false")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle shape;
      TF_RETURN_IF_ERROR(c->Merge(c->input(0), c->input(1), &shape));
      c->set_output(0, shape);
      TF_RETURN_IF_ERROR(Factors(c, 2, 3));
      return Scalars(c, {4});
    });

REGISTER_OP("VaiScaledSearchPosition")
    .Input("input: float")
    .Input("scale: float")
    .Input("track: bool")
    .Input("tie: N * float")
    .Output("position: int32")
    .Attr("N: int >= 0 = 0")
    .Attr("bit_width: int = 8")
    .Attr("mode: int = 0")
    .Attr("method: int = 1")
    .Attr("inner: int >= 1 = 1")
    .Attr("symmetric: bool = false")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Scalar());
      TF_RETURN_IF_ERROR(Factors(c, 1, 1));
      return Scalars(c, {2});
    });

REGISTER_OP("VaiThresholdGrad")
    .Input("gradient: float")
    .Input("input: float")
    .Input("position: int32")
    .Input("learning: bool")
    .Output("to_threshold: double")
    .Attr("bit_width: int = 8")
    .Attr("mode: int = 1")
    .Attr("symmetric: bool = false")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle unused;
      TF_RETURN_IF_ERROR(c->Merge(c->input(0), c->input(1), &unused));
      c->set_output(0, c->Scalar());
      return Scalars(c, {2, 3});
    });

REGISTER_OP("VaiScaledThresholdGrad")
    .Input("gradient: float")
    .Input("input: float")
    .Input("scale: float")
    .Input("factor: float")
    .Input("position: int32")
    .Input("learning: bool")
    .Output("to_threshold: double")
    .Attr("bit_width: int = 8")
    .Attr("mode: int = 0")
    .Attr("inner: int >= 1 = 1")
    .Attr("symmetric: bool = false")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle unused;
      TF_RETURN_IF_ERROR(c->Merge(c->input(0), c->input(1), &unused));
      c->set_output(0, c->Scalar());
      TF_RETURN_IF_ERROR(Factors(c, 2, 3));
      return Scalars(c, {4, 5});
    });

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
