"""The form of a finished model that the DPU compiler reads, where TensorFlow has several for one function."""
from vai_q_tf.export.forms.ellipses import write_out_ellipses
from vai_q_tf.export.forms.slices import write_slices


def in_compiler_form(model, shapes, output_nodes):
    """The model with slices as the compiler reads them; what `zero_biases` adds needs the final positions.

    Args:
      model: a GraphDef as `finalize` makes it. output_nodes: names of tensors.
      shapes: {node: [TensorShapeProto of each output]}.
    """
    return write_slices(write_out_ellipses(model, shapes), shapes, output_nodes)
