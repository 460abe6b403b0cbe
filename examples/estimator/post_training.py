"""Quantizes a trained checkpoint without any training, by tracking positions only.

This is the plain baseline that quantization-aware training is compared with: every tensor has the position that suited
most of the calibration batches. No weight is changed, and nothing corrects what the rounding shifts.
"""
import os

import model
import tensorflow as tf

import vai_q_tensorflow


def quantize(float_checkpoint, batches, bits, output_dir, progress):
    """Calibrates the float checkpoint on a few batches and freezes it.

    Args:
      float_checkpoint: prefix of the checkpoint.
      batches: list of arrays of images.
      bits: width of weights, biases and activations.
      output_dir: where the files go.
      progress: function (number of batches done), called after each.

    Returns:
      Path of the frozen quantize_eval_model_*.pb.
    """
    # Batch norms fold on the moving statistics, and each batch is quantized with the positions that suit it best, so
    # that what is counted does not depend on the order of the batches. All votes count alike.
    config = model.quantize_config(bits, output_dir, bn_fold='moving', position_update='current', position_decay=1.0)
    with tf.Graph().as_default():
        images, logits = _inference_network()
        variables = tf.global_variables()
        vai_q_tensorflow.CreateQuantizeTrainingGraph(config)
        quantized = tf.get_default_graph().get_tensor_by_name(model.OUTPUT + '/aquant:0')
        saver = tf.train.Saver()
        with tf.Session() as session:
            tf.train.Saver(variables, save_relative_paths=True).restore(session, float_checkpoint)
            for done, batch in enumerate(batches, 1):
                session.run(quantized, {images: batch})
                progress(done)
            checkpoint = saver.save(session, os.path.join(output_dir, 'model.ckpt'), global_step=0)

    with tf.Graph().as_default():
        _inference_network()
        vai_q_tensorflow.CreateQuantizeEvaluationGraph(config)
        return vai_q_tensorflow.CreateQuantizeDeployGraph(checkpoint, config).eval_model


def _inference_network():
    images = tf.placeholder(tf.float32, [None, 28, 28, 1], model.INPUT)
    return images, model.network(images, training=False)
