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


def test_the_bias_of_the_convolution_is_added_once(tmp_path):
    """With moving statistics it is part of the folded bias."""
    settings = small.config(tmp_path, recipe='manual', freeze_bn_step=0, weight_bit=8, activation_bit=8)
    with small.Training(settings, build=_network(True)) as training:
        bias = np.float32([4, -2, 1, 3])
        next(variable for variable in v1.global_variables() if variable.op.name == 'conv/bias').load(bias, training.session)
        found, kernel = training.session.run(['relu:0', 'conv/kernel:0'], training.feed(0))
    with v1.Session() as session:
        float_net = tf.nn.conv2d(small.batch(0)[0], kernel, 1, 'VALID') + bias  # the moving statistics are 0 and 1
        np.testing.assert_allclose(found, session.run(tf.nn.relu(float_net / np.sqrt(1.001))), atol=0.1)


def test_a_norm_after_a_reshape_trains_in_both_phases(tmp_path):
    """The folded bias is added before the Reshape, so the step computes both phases and selects one."""
    def build(images, training=True):
        net = v1.layers.dense(tf.reshape(tf.identity(images, name='net_in'), [-1, 72]), 4, name='dense')
        net = v1.layers.batch_normalization(tf.reshape(net, [-1, 1, 1, 4]), training=training, name='norm')
        return v1.layers.dense(tf.reshape(tf.nn.relu(net, name='relu'), [-1, 4]), 3, name='logits')

    settings = small.config(tmp_path, recipe='manual', freeze_bn_step=1, weight_bit=8, activation_bit=8)
    with small.Training(settings, build=build) as training:
        assert 'FusedBatchNormV3' in {op.type for op in training.graph.get_operations()}
        for phase in range(2):
            found, net = training.session.run(['relu:0', 'dense/BiasAdd:0'], training.feed(0))
            if phase:
                values = training.variables()
                mean, variance = training.session.run(['norm/moving_mean:0', 'norm/moving_variance:0'])
                net = (net - mean) * values['norm/gamma'] / np.sqrt(variance + 1e-3) + values['norm/beta']
            else:
                net = (net - net.mean(0)) / np.sqrt(net.var(0) + 1e-3)
            assert np.abs(found.reshape(-1, 4) - np.maximum(net, 0)).mean() < 0.03  # the largest value may be clipped
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
