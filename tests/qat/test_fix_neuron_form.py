"""The graph with FixNeurons that is written for a training graph."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.qat import networks
from tests.support import read_graph
from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig


@pytest.mark.parametrize('gamma', [[0.5, -2, 0, 1], [0, 0, 0, 0], [3, 1, 1, 1]], ids=str)
@pytest.mark.parametrize('fields', [{}, {'recipe': 'manual'}], ids=str)
def test_scales_without_zeros(tmp_path, gamma, fields):
    """The written graph takes other scales where they are zero, and once statistics are frozen the scales themselves."""
    x = tf.layers.conv2d(networks.image(size=4), 4, 3, use_bias=False, name='conv')
    output = tf.layers.batch_normalization(x, training=True, name='bn')
    CreateQuantizeTrainingGraph(QuantizeConfig(['x'], [output.op.name], output_dir=str(tmp_path), **fields))
    variance = np.float32([1, 2, 4, 8])
    reciprocal = 1 / np.sqrt(variance + 1e-3)
    scale = np.float32(gamma) * reciprocal
    nonzero = np.where(scale == 0, np.abs(scale).max() if any(gamma) else reciprocal, scale)
    kernel = np.ones(x.op.inputs[1].shape, np.float32)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(read_graph(tmp_path / 'quantize_train_graph.pb'), name='')
        assert not [op for op in graph.get_operations() if op.type.startswith('Vai')]
        flag = [op.outputs[0] for op in graph.get_operations() if op.name == 'vai_q_tf/use_batch_statistics']
        assert bool(flag) == (fields != {'recipe': 'manual'})
        for in_first in [True, False][:1 + len(flag)]:
            before, after = session.run(['conv/kernel/scaled:0', 'conv/kernel/unscaled:0'], {
                'conv/kernel/read:0': kernel, 'bn/gamma/read:0': gamma, 'bn/moving_variance/read:0': variance,
                'conv/kernel/wquant:0': kernel, **{tensor: in_first for tensor in flag}})
            np.testing.assert_allclose(before[0, 0, 0], nonzero if in_first else scale, rtol=1e-5)
            np.testing.assert_allclose(after[0, 0, 0], 1 / nonzero if in_first else np.ones(4), rtol=1e-5)


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
