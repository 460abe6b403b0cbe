"""A float network quantized without training: its checkpoint frozen, and calibrated on a few batches."""
import contextlib
import io

import networks
import tensorflow as tf
import training

import vai_q_tensorflow


def quantize(frozen, batches, config, effort):
    """Writes the quantized model of a GraphDef, calibrated on arrays of images; returns its path."""
    with contextlib.redirect_stderr(io.StringIO()):  # no progress bars between the lines of the measurement
        return vai_q_tensorflow.quantize_frozen(
            frozen, lambda step: {'images': batches[step]}, config.replace(calib_iter=len(batches)), effort=effort)


def freeze(network, activation, checkpoint, images):
    """The float network for images like those of an array, with the variables of the checkpoint as constants, a GraphDef."""
    with tf.Graph().as_default() as graph, tf.Session(config=training.SESSION) as session:
        networks.build(network, activation, networks.placeholder(images), training=False)
        tf.train.Saver().restore(session, checkpoint)
        return tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [networks.OUTPUT])
