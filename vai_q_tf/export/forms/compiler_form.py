"""The form of a finished model that the DPU compiler reads, if TensorFlow has several for one function."""
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.export.forms.ellipses import write_out_ellipses
from vai_q_tf.export.forms.slices import write_slices
from vai_q_tf.graph.traits import SPLIT_INPUTS
from vai_q_tf.passes.common.any_batch_shapes import note_any_batch_shapes
from vai_q_tf.types import OutputShapes


def in_compiler_form(model: tf.GraphDef, shapes: OutputShapes, config: QuantizeConfig) -> tf.GraphDef:
    """The model with slices as the compiler reads them; `zero_biases` comes later, because it needs the final positions.

    model: a GraphDef as `finalize` returns it.
    """
    model = write_slices(write_out_ellipses(model, shapes), shapes, config.output_nodes)
    if any(node.op in SPLIT_INPUTS for node in model.node):
        shapes = {node.name: list(node.attr['_output_shapes'].list.shape)
                  for node in note_any_batch_shapes(model, (), config).node}
        model = write_slices(model, shapes, config.output_nodes)
    return model
