// Registration of the ops on tensors: names, attributes, shapes. The kernels are in cpu_ops.cc and gpu_ops.cc.
#include "op_shapes.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"

namespace {

using tensorflow::Status;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;
using vai_q_tf::Scalars;

// Input `scale` holds one factor per channel, and so does input `other`.
Status Factors(InferenceContext* c, int scale, int other) {
  ShapeHandle unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(scale), 1, &unused));
  return c->Merge(c->input(scale), c->input(other), &unused);
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
    .Input("constant: M * bool")
    .Input("position: int32")
    .Output("output: float")
    .Attr("M: int >= 0 = 0")
    .Attr("bit_width: int = 8")
    .Attr("mode: int = 0")
    .Attr("inner: int >= 1 = 1")
    .Attr("symmetric: bool = false")
    .Attr("gradient: {'clipped', 'straight_through'} = 'clipped'")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(0));
      TF_RETURN_IF_ERROR(Factors(c, 1, 2));
      return Scalars(c, {c->num_inputs() - 1});
    })
    .Doc(R"doc(
constant: at most one value, for the gradient function only.
)doc");

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
