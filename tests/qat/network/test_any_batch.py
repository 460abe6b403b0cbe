"""Networks built for one batch size."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig, errors
from vai_q_tf.qat import deploy


def test_a_transposed_convolution_whose_sizes_are_constants(tmp_path):
    """The batch size is the rank of an image, so the length of a shape could be taken for a batch."""
    config = QuantizeConfig(['x'], ['up'], [[-1, 4, 4, 3]], output_dir=str(tmp_path))
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 4, 4, 3], 'x')
        tf.nn.conv2d_transpose(x, tf.get_variable('kernel', [2, 2, 6, 3]), [4, 8, 8, 6], 2, name='up')
        CreateQuantizeTrainingGraph(config)
    evaluation, _ = deploy.derive_evaluation_graph(graph, config)
    sizes, data = (evaluation.get_operation_by_name(name).inputs[0] for name in ('up', 'up/batch_of'))
    with tf.Session(graph=evaluation) as session:
        assert session.run(sizes, {data: np.zeros([7, 4, 4, 3])}).tolist() == [7, 8, 8, 6]


def test_reshapes_whose_data_begin_with_the_batch(tmp_path):
    """A shape that another op reads as well is not changed."""
    config = QuantizeConfig(['x'], ['out/BiasAdd'], output_dir=str(tmp_path))
    with tf.Graph().as_default() as graph:
        own, shared = tf.constant([8, 3], name='own'), tf.constant([4, 6], name='shared')
        x = tf.reshape(tf.placeholder(tf.float32, [4, 6], 'x'), shared, name='same')
        x = tf.layers.dense(tf.reshape(x, own, name='rows'), 6, tf.nn.relu, name='dense')
        x = tf.reshape(tf.reshape(x, [4, 2, 6], name='pairs')[:, 0], shared, name='last')
        tf.layers.dense(x, 2, name='out')
        CreateQuantizeTrainingGraph(config)
    evaluation, _ = deploy.derive_evaluation_graph(graph, config)
    shapes = {name: evaluation.get_operation_by_name(name).inputs[1] for name in ('same', 'rows', 'pairs', 'last')}
    assert {name: tensor.op.name for name, tensor in shapes.items()} == {
        'same': 'same/shape', 'rows': 'own', 'pairs': 'pairs/shape', 'last': 'last/shape'}
    assert {name: tf.get_static_value(tensor).tolist() for name, tensor in shapes.items()} == {
        'same': [-1, 6], 'rows': [-1, 3], 'pairs': [-1, 2, 6], 'last': [-1, 6]}


@pytest.mark.parametrize('batch', [1, 4, 6])
def test_dense_layers_on_sequences(tmp_path, batch):
    """tf.layers.dense merges all dimensions but the last, whichever has the examples: here in a sequence, and time-major."""
    config = QuantizeConfig(['x'], ['out/BiasAdd'], output_dir=str(tmp_path))
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [batch, 2, 12, 5], 'x')
        x = tf.layers.dense(tf.reduce_max(x, 1), 4, tf.nn.relu, name='sequence')
        tf.layers.dense(tf.transpose(x, [1, 0, 2]), 3, name='out')
        CreateQuantizeTrainingGraph(config)
    _, decision = deploy.derive_evaluation_graph(graph, config)
    shapes = {}
    for count in (2, 5):
        with tf.Graph().as_default():
            tf.import_graph_def(decision.optimised, {'x': tf.zeros([count, 2, 12, 5])}, name='')
            shapes[count] = tf.get_default_graph().get_tensor_by_name('out/BiasAdd:0').shape.as_list()
    assert shapes == {2: [12, 2, 3], 5: [12, 5, 3]}


@pytest.mark.parametrize('use', [
    lambda x: tf.reshape(x, [2, 2, 6], name='fixed'),
    lambda x: tf.concat(tf.split(x, 4, name='fixed'), 0), lambda x: tf.add(tf.ones([4, 6]), x, name='fixed'),
    lambda x: tf.slice(x, [0, 0], [4, 3], name='fixed')],
    ids=['reshape to parts', 'split', 'ones', 'slice'])
def test_another_use_of_the_batch_size_is_an_error_before_training(tmp_path, use):
    config = QuantizeConfig(['x'], ['out'], output_dir=str(tmp_path))
    with tf.Graph().as_default() as graph:
        x = tf.layers.dense(tf.placeholder(tf.float32, [4, 6], 'x'), 6, tf.nn.relu, name='dense')
        tf.nn.relu(use(x), name='out')
        CreateQuantizeTrainingGraph(config)
    with pytest.raises(errors.QuantizeError, match=r"Node 'fixed' \(\w+\) has the batch size of the training, 4") as raised:
        deploy.derive_evaluation_graph(graph, config)
    assert raised.value.code == errors.UNSUPPORTED_GRAPH


def test_a_size_that_equals_the_batch_size_is_none(tmp_path):
    """Of a result with the batch on another axis."""
    config = QuantizeConfig(['x'], ['out'], output_dir=str(tmp_path))
    with tf.Graph().as_default() as graph:
        x = tf.reshape(tf.layers.dense(tf.placeholder(tf.float32, [4, 6], 'x'), 8, tf.nn.relu), [-1, 4, 2])
        tf.nn.relu(tf.transpose(x, [1, 0, 2]), name='out')
        CreateQuantizeTrainingGraph(config)
    evaluation, _ = deploy.derive_evaluation_graph(graph, config)
    assert evaluation.get_tensor_by_name('out:0').shape.as_list() == [4, None, 2]
