"""Quantizes a trained checkpoint without training: freezes it, and calibrates it on a few batches."""
import data
import model
import tensorflow as tf

import vai_q_tensorflow


def quantize(float_checkpoint, batches, bits, output_dir, finetune=False):
    """Writes the quantized model of a float checkpoint.

    Args:
      float_checkpoint: prefix of the checkpoint.
      batches: list of arrays of images.
      bits: width of weights, biases and activations.
      output_dir: directory of the model.
      finetune: whether to finetune the weights, layer by layer, against the float network on the same batches.

    Returns:
      Path of the quantize_eval_model.pb.
    """
    config = model.quantize_config(bits, output_dir, calib_iter=len(batches))
    return vai_q_tensorflow.quantize_frozen(
        freeze(float_checkpoint), lambda step: {model.INPUT: batches[step]}, config,
        include_fast_ft=int(finetune), fast_ft_epochs=5, fast_ft_lr=1e-3)


def calib_input(step):
    """64 training digits; pass it to the command as --input_fn."""
    images = data.load()[0].images
    return {model.INPUT: images[64 * step:64 * step + 64]}


def freeze(checkpoint):
    """The float network with the variables of the checkpoint as constants, a GraphDef."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        model.network(tf.placeholder(tf.float32, [None, 28, 28, 1], model.INPUT), training=False)
        tf.train.Saver().restore(session, checkpoint)
        return tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [model.OUTPUT])
