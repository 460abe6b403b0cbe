"""Batch norms and the evaluation network that replaces them: a step pays for one of the two."""
import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.qat.recipe import small
from tests.support import read_graph

v1 = tf.compat.v1


@functools.lru_cache(None)
def _network(use_bias):
    def build(images, training=True):
        net = v1.layers.conv2d(tf.identity(images, name='net_in'), 4, 3, use_bias=use_bias, name='conv')
        net = tf.nn.relu(v1.layers.batch_normalization(net, training=training, name='norm'), name='relu')
        return v1.layers.dense(tf.reduce_mean(net, [1, 2], name='pool'), 3, name='logits')
    return build


def _examples(training, op_type, count):
    """The number of examples that each op of a type processes in a step, in the order of the ops."""
    ops = [op for op in training.graph.get_operations() if op.type == op_type and op.inputs[0].shape.ndims == 4]
    assert len(ops) == count
    return [value.shape[0] for value in training.session.run([op.inputs[0] for op in ops], training.feed(0))]


@pytest.mark.parametrize('use_bias', [False, True])
def test_a_step_normalises_or_adds_the_folded_bias(tmp_path, use_bias):
    settings = small.config(tmp_path, recipe='manual', freeze_bn_step=1)
    with small.Training(settings, build=_network(use_bias)) as training:
        sums = 1 + use_bias
        for norm, folded in ((64, 0), (0, 64)):
            assert _examples(training, 'FusedBatchNormV3', 1) == [norm]
            assert _examples(training, 'FusedBatchNormGradV3', 1) == [norm]
            assert _examples(training, 'BiasAdd', sums) == [64] * use_bias + [folded]
            training.step(0)


def test_the_gradient_to_scales_is_computed_only_with_moving_statistics(tmp_path):
    """Otherwise it is zero by definition, but costs as much as that of the weights, which have 3 rows here."""
    settings = small.config(tmp_path, recipe='manual', freeze_bn_step=1)
    with small.Training(settings, build=_network(False)) as training:
        for rows in (0, 3):
            assert sorted(_examples(training, 'VaiScaledFixNeuronGrad', 2)) == [rows, 3]
            training.step(0)


def test_the_folded_bias_waits_for_the_norm(tmp_path):
    with small.Training(small.config(tmp_path), build=_network(False)) as training:
        joined = training.graph.get_operation_by_name('relu').inputs[0].op
        norm, folded = (tensor.op for tensor in joined.inputs[:2])
        assert (norm.type, folded.type, folded.control_inputs) == ('FusedBatchNormV3', 'BiasAdd', [norm])


@pytest.mark.parametrize('fields', [{'recipe': 'finetune'}, {'recipe': 'scratch'}, {'freeze_bn_step': 0}, {}], ids=str)
def test_a_static_batch_trains(tmp_path, fields):
    """If the phase is a constant, shapes are inferred when the graph is built."""
    def build(images):
        images.set_shape([64, 6, 6, 2])
        return _network(True)(images)

    courses = []
    for network in (build, _network(True)):
        with small.Training(small.config(tmp_path, **fields), build=network) as training:
            courses.append([training.step(number) for number in range(3)])
    assert courses[0] == courses[1]


def test_the_result_has_the_shape_that_it_had(tmp_path):
    def build(images):
        images.set_shape([64, 6, 6, 2])
        return _network(False)(images)

    with small.Training(small.config(tmp_path), build=build) as training:
        result = training.graph.get_operation_by_name('relu').inputs[0]
        assert result.op.type == 'VaiJoinPhases'
        assert result.shape.as_list() == [64, 4, 4, 4]


def test_the_written_graph_computes_the_same_with_ops_of_tensorflow(tmp_path):
    """The quantized tensors of the evaluation graph are fed with their values in the training."""
    build = _network.__wrapped__(False)  # one that is new writes its graph
    with small.Training(small.config(tmp_path, recipe='manual', freeze_bn_step=1), build=build) as training:
        ops = [op for op in training.graph.get_operations() if op.type in ('VaiFixNeuron', 'VaiScaledFixNeuron')]
        graph = training.graph
        norm, relu = graph.get_operation_by_name('norm/FusedBatchNormV3').inputs[0], graph.get_tensor_by_name('relu:0')
        fetches = [op.outputs[0] for op in ops], relu, norm
        runs = []
        for _ in range(2):
            runs.append(training.session.run(fetches, training.feed(0)))
            training.step(0)
    written = tmp_path / 'quantized' / 'quantize_train_graph.pb'
    parameters = {'norm/{}/read:0'.format(name): value for name, value in (
        ('gamma', np.ones(4)), ('beta', np.zeros(4)), ('moving_mean', np.zeros(4)), ('moving_variance', np.ones(4)))}
    with tf.Graph().as_default() as graph, v1.Session() as session:
        tf.import_graph_def(read_graph(written), name='')
        norm = graph.get_operation_by_name('norm/FusedBatchNormV3').inputs[0]
        for use_batch, (values, expected, normalised) in zip((True, False), runs):
            assert len(normalised) == (64 if use_batch else 0)
            feed = {op.name.replace('wquant', 'unscaled') + ':0' if op.type == 'VaiScaledFixNeuron' else op.name + ':0': value
                    for op, value in zip(ops, values)}
            found, normalised = session.run(
                ['relu:0', norm], {'vai_q_tf/use_batch_statistics:0': use_batch, **feed, **parameters})
            assert len(normalised) == (64 if use_batch else 0)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
