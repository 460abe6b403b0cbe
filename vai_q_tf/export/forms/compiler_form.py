"""The form of a finished model that the DPU compiler reads, where TensorFlow has several for one function."""
from vai_q_tf.export.forms.ellipses import write_out_ellipses
from vai_q_tf.export.forms.slices import write_slices
from vai_q_tf.graph.traits import SPLIT_INPUTS
from vai_q_tf.passes.common.any_batch_shapes import note_any_batch_shapes


def in_compiler_form(model, shapes, config):
    """The model with slices as the compiler reads them; what `zero_biases` adds needs the final positions.

    Args:
      model: a GraphDef as `finalize` makes it.
      shapes: {node: [TensorShapeProto of each output]}.
    """
    model = write_slices(write_out_ellipses(model, shapes), shapes, config.output_nodes)
    if any(node.op in SPLIT_INPUTS for node in model.node):
        shapes = {node.name: list(node.attr['_output_shapes'].list.shape)
                  for node in note_any_batch_shapes(model, (), config).node}
        model = write_slices(model, shapes, config.output_nodes)
    return model
