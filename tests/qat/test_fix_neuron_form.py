"""The graph with FixNeurons that is written for a training graph."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.qat import networks
from tests.support import read_graph
from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig


def test_weights_are_scaled_before_they_are_quantized_and_unscaled_after(tmp_path):
    x = tf.layers.conv2d(networks.image(size=4), 4, 3, use_bias=False, name='conv')
    output = tf.layers.batch_normalization(x, training=True, name='bn')
    CreateQuantizeTrainingGraph(QuantizeConfig(['x'], [output.op.name], output_dir=str(tmp_path)))
    random = np.random.RandomState(0)
    kernel = random.normal(size=x.op.inputs[1].shape).astype(np.float32)
    gamma, variance = random.uniform(0.1, 2, (2, 4)).astype(np.float32)
    scaled = kernel * gamma / np.sqrt(variance + 1e-3)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(read_graph((tmp_path / 'quantize_train_graph.pb')), name='')
        before, after = session.run(['conv/kernel/scaled:0', 'conv/kernel/unscaled:0'], {
            'conv/kernel/read:0': kernel, 'bn/gamma/read:0': gamma, 'bn/moving_variance/read:0': variance,
            'conv/kernel/wquant:0': scaled, 'vai_q_tf/use_batch_statistics:0': True})
    np.testing.assert_allclose(before, scaled, rtol=1e-5)
    np.testing.assert_allclose(after, kernel, rtol=1e-5)
