"""The listener writes the files of every checkpoint from a separate graph, and leaves the training as it is."""
import logging
import os
import time

import numpy as np
import pytest
import tensorflow as tf

from tests import quick_tensorflow
from tests.hooks import train_estimator
from tests.support import read_graph
from vai_q_tf import QuantizeCheckpointListener, QuantizeConfig, QuantizeError, errors
from vai_q_tf.integrations import functions


def _train(directory, listeners=(), steps=12, every=5):
    """Trains in a MonitoredTrainingSession; returns losses and the number of ops of the training graph."""
    with tf.Graph().as_default() as graph:
        tf.compat.v1.set_random_seed(7)
        step = tf.compat.v1.train.get_or_create_global_step()
        data = np.random.RandomState(0)
        images = tf.identity(tf.constant(data.randn(16, 8, 8, 2).astype(np.float32)), name='images')
        loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(
            data.randint(0, 4, 16), train_estimator.network(images, True))
        functions.CreateQuantizeTrainingGraph(train_estimator.config(str(directory)))
        with tf.control_dependencies(tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)):
            train = tf.compat.v1.train.AdamOptimizer(0.01).minimize(loss, step)
        saver_hook = tf.estimator.CheckpointSaverHook(str(directory / 'model'), save_steps=every, listeners=list(listeners))
        session_config = quick_tensorflow.one_thread()
        with tf.compat.v1.train.MonitoredTrainingSession(
                checkpoint_dir=str(directory / 'model'), save_checkpoint_secs=None, save_checkpoint_steps=None,
                save_summaries_steps=None, chief_only_hooks=[saver_hook], config=session_config) as session:
            losses = [session.run([train, loss])[1] for _ in range(steps)]
        return losses, len(graph.get_operations())


def _run(path, images):
    graph_def = read_graph(path)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(graph_def, name='')
        return session.run('logits/BiasAdd/aquant:0', {'images:0': images})


@pytest.fixture(scope='module')
def observed(tmp_path_factory):
    """(directory, result of `_train`) with a listener that builds the graph, and one in `derived` that derives it."""
    directory = tmp_path_factory.mktemp('observed')
    return directory, _train(directory, [
        QuantizeCheckpointListener(train_estimator.config(str(directory)), train_estimator.eval_graph),
        QuantizeCheckpointListener(train_estimator.config(str(directory / 'derived')))])


def test_files_of_every_save_but_step_zero_and_none_twice(observed):
    tmp_path, _ = observed
    steps = sorted(int(name.split('_')[3]) for name in os.listdir(str(tmp_path / 'quantized')) if 'eval_model' in name)
    # The saver saves at steps 0, 1 (its timer starts there), 6, 11 and at the end, 12.
    saved = sorted(int(name.split('-')[1].split('.')[0]) for name in os.listdir(str(tmp_path / 'model'))
                   if name.endswith('.index'))
    assert 0 in saved and 12 in saved and len(saved) > 3
    assert steps == [step for step in saved if step]
    graphs = sorted(int(name.split('_')[3]) for name in os.listdir(str(tmp_path / 'quantized')) if 'eval_graph' in name)
    assert graphs == steps


def test_training_is_not_disturbed(tmp_path, observed):
    assert _train(tmp_path) == observed[1]


def test_the_model_is_that_of_the_evaluation_graph(tmp_path, observed):
    directory, _ = observed
    images = np.random.RandomState(1).randn(5, 8, 8, 2).astype(np.float32)
    with tf.Graph().as_default():
        train_estimator.eval_graph()
        functions.CreateQuantizeEvaluationGraph(train_estimator.config(str(tmp_path)))
        saver = tf.compat.v1.train.Saver()
        with tf.compat.v1.Session() as session:
            saver.restore(session, str(directory / 'model' / 'model.ckpt-12'))
            expected = session.run('logits/BiasAdd/aquant:0', {'images:0': images})
    for place in (directory, directory / 'derived'):
        model, = (place / 'quantized').glob('quantize_eval_model_12_*.pb')
        np.testing.assert_array_equal(_run(model, images), expected)
    assert np.unique(expected).size > 3


def _drop(net, training):
    return tf.layers.dropout(net, 0.5, training=training)


DROPOUTS = {
    'after a flatten': lambda net, training: _drop(tf.layers.flatten(net), training),
    'two in a row': lambda net, training: _drop(_drop(tf.layers.flatten(net), training), training),
    'around a flatten': lambda net, training: _drop(tf.layers.flatten(_drop(net, training)), training),
}


@pytest.mark.parametrize('case', sorted(DROPOUTS))
def test_derived_graph_is_without_dropout(tmp_path, case):
    config = QuantizeConfig(['images'], ['logits/BiasAdd'], [[-1, 8, 8, 2]], output_dir=str(tmp_path / 'quantized'))

    def network(training):
        images = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 2], name='images')
        net = tf.nn.relu(tf.layers.conv2d(images, 4, 3, name='conv'), name='relu')
        return tf.layers.dense(DROPOUTS[case](net, training), 4, name='logits')

    tf.compat.v1.train.get_or_create_global_step()
    network(True)
    functions.CreateQuantizeTrainingGraph(config)
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        images = np.random.RandomState(1).randn(5, 8, 8, 2).astype(np.float32)
        session.run('logits/BiasAdd/aquant:0', {'images:0': images})
        saver = tf.compat.v1.train.Saver()
        listener = QuantizeCheckpointListener(config, saver=saver)
        listener.begin()
        saver.save(session, str(tmp_path / 'model'), global_step=3)
        listener.after_save(session, 3)
        listener.after_save(session, 3)  # writes nothing
    derived, = (tmp_path / 'quantized').glob('quantize_eval_model_3_*.pb')
    nodes = _nodes(derived)
    output = _run(derived, images)
    with tf.Graph().as_default():
        network(False)
        functions.CreateQuantizeEvaluationGraph(config)
        built = functions.CreateQuantizeDeployGraph(str(tmp_path / 'model-3'), config)
    assert nodes == _nodes(type(derived)(built.eval_model))
    np.testing.assert_array_equal(output, _run(type(derived)(built.eval_model), images))


def _nodes(path):
    """{name: (op, inputs)} of a model."""
    graph_def = read_graph(path)
    return {node.name: (node.op, list(node.input)) for node in graph_def.node}


def test_a_graph_without_inference_form_is_an_error_before_the_first_step(tmp_path):
    images = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 2], name='images')
    noisy = tf.add(images, tf.random.normal(tf.shape(images), name='first'))
    tf.nn.relu(tf.layers.conv2d(noisy, 4, 3), name='relu')
    config = QuantizeConfig(['images'], ['relu'], [[-1, 8, 8, 2]], output_dir=str(tmp_path))
    functions.CreateQuantizeTrainingGraph(config)
    with pytest.raises(QuantizeError, match='first/.*function that builds') as raised:
        QuantizeCheckpointListener(config).begin()
    assert raised.value.code == errors.UNSUPPORTED_GRAPH


@pytest.mark.parametrize('most', [None, 0])
def test_a_saver_that_keeps_all_checkpoints(tmp_path, most):
    """Such a saver has no list of them."""
    train_estimator.eval_graph()
    config = train_estimator.config(str(tmp_path))
    functions.CreateQuantizeTrainingGraph(config)
    saver = tf.compat.v1.train.Saver(max_to_keep=most, defer_build=True)
    listener = QuantizeCheckpointListener(config, saver=saver)
    listener.begin()
    saver.build()
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        session.run('logits/BiasAdd/aquant:0', {'images:0': np.random.RandomState(1).randn(5, 8, 8, 2)})
        for step in range(1, 8):
            listener.before_save(session, step)
            saver.save(session, str(tmp_path / 'model'), step)
            if step in (1, 7):
                listener.after_save(session, step)
    assert len(list(tmp_path.glob('model-*.index'))) == 7
    assert len(list((tmp_path / 'quantized').glob('quantize_eval_model_[17]_*'))) == 2


def test_an_evaluation_graph_that_does_not_fit_is_an_error_before_the_first_step(tmp_path):
    def other_names():
        tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 2], name='pictures')

    with pytest.raises(QuantizeError, match='images') as raised:
        _train(tmp_path, [QuantizeCheckpointListener(train_estimator.config(str(tmp_path)), other_names)])
    assert raised.value.code == errors.UNKNOWN_NODE


def test_a_float_training_graph_is_an_error_before_the_first_step(tmp_path):
    steps = []
    step = tf.compat.v1.train.get_or_create_global_step()
    listener = QuantizeCheckpointListener(QuantizeConfig(['a'], ['b']))
    saver_hook = tf.estimator.CheckpointSaverHook(str(tmp_path), save_steps=1, listeners=[listener])
    with pytest.raises(QuantizeError) as raised:
        with tf.compat.v1.train.MonitoredTrainingSession(chief_only_hooks=[saver_hook]) as session:
            steps.append(session.run(step))
    assert raised.value.code == errors.NOT_QUANTIZED
    assert not steps


def test_an_evaluation_graph_with_a_tensor_more_is_an_error_before_the_first_step(tmp_path):
    def one_tensor_more():
        train_estimator.eval_graph()
        logits = tf.compat.v1.get_default_graph().get_tensor_by_name('logits/BiasAdd:0')
        tf.layers.dense(logits, 2, name='untrained')

    config = train_estimator.config(str(tmp_path))
    config.output_nodes = ['untrained/BiasAdd']
    with pytest.raises(QuantizeError, match='3 tensors .*untrained/kernel/wquant') as raised:
        _train(tmp_path, [QuantizeCheckpointListener(config, one_tensor_more)])
    assert raised.value.code == errors.UNSUPPORTED_GRAPH


def test_a_failed_export_is_logged_and_training_goes_on(tmp_path, caplog):
    # That directory has no checkpoint.
    listener = QuantizeCheckpointListener(train_estimator.config(str(tmp_path)), train_estimator.eval_graph,
                                          checkpoint_dir=str(tmp_path))
    caplog.set_level(logging.ERROR, 'tensorflow')
    losses, _ = _train(tmp_path, [listener])
    assert len(losses) == 12
    messages = [record.getMessage() for record in caplog.records if 'No quantized model' in record.getMessage()]
    assert messages and all('No checkpoint of step' in message for message in messages)
    assert not list((tmp_path / 'quantized').glob('quantize_eval*'))


def test_exclusive_arguments():
    with pytest.raises(ValueError, match='not both'):
        QuantizeCheckpointListener(QuantizeConfig(['a'], ['b']), checkpoint_dir='x', saver=object())
    with pytest.raises(TypeError, match='QuantizeConfig'):
        QuantizeCheckpointListener({'input_nodes': ['a']})


@pytest.mark.slow
def test_an_export_takes_no_longer_than_four_checkpoints_at_the_size_of_resnet_50(tmp_path):
    """Reads, folds and writes layers of 2.5 million weights and a batch norm each; ten are as large as ResNet-50."""
    depth, layers = 1600, 10

    def network(training):
        net = tf.compat.v1.placeholder(tf.float32, [None, 4, 4, depth], name='images')
        for number in range(layers):
            net = tf.layers.conv2d(net, depth, 1, use_bias=False, name='conv_{}'.format(number))
            net = tf.nn.relu(tf.layers.batch_normalization(net, training=training, fused=True), name='relu_{}'.format(number))
        return net

    config = QuantizeConfig(
        ['images'], ['relu_{}'.format(layers - 1)], [[-1, 4, 4, depth]], output_dir=str(tmp_path))
    network(True)
    functions.CreateQuantizeTrainingGraph(config)
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        session.run('relu_{}/aquant:0'.format(layers - 1), {'images:0': np.random.RandomState(0).randn(1, 4, 4, depth)})
        saver = tf.compat.v1.train.Saver()
        listener = QuantizeCheckpointListener(config, lambda: network(False), saver=saver)
        listener.begin()
        saved, exported = [], []
        for step in (1, 2, 3):
            start = time.time()
            saver.save(session, str(tmp_path / 'model'), global_step=step)
            saved.append(time.time() - start)
            listener.after_save(session, step)
            exported.append(time.time() - start - saved[-1])
    sizes = [path.stat().st_size for path in tmp_path.glob('quantize_eval_model_*')]
    assert len(sizes) == 3 and min(sizes) > layers * depth * depth * 4
    assert min(exported) < 4 * min(saved), (saved, exported)


@pytest.mark.parametrize('eval_graph_fn', [None, train_estimator.eval_graph])
def test_a_config_with_other_bits_than_the_training_is_an_error_before_the_first_step(tmp_path, eval_graph_fn):
    settings = train_estimator.config(str(tmp_path))
    with tf.Graph().as_default():
        train_estimator.network(tf.identity(tf.zeros([16, 8, 8, 2]), name='images'), True)
        functions.CreateQuantizeTrainingGraph(settings)
        with pytest.raises(QuantizeError, match=r'has other bits than the config: .*wquant \(8 bits, here 6\)') as raised:
            QuantizeCheckpointListener(settings.replace(weight_bit=6), eval_graph_fn).begin()
        assert raised.value.code == errors.INVALID_CONFIG
        QuantizeCheckpointListener(settings, eval_graph_fn).begin()
