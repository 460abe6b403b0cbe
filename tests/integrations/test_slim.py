"""tf.contrib.slim: its training, with the arguments of `slim_training_arguments`, and its evaluation."""
import glob
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.contrib import slim
from tensorflow.contrib import training as contrib_training

from vai_q_tf import (
    CreateQuantizeEvaluationGraph,
    CreateQuantizeTrainingGraph,
    QuantizeCheckpointListener,
    QuantizeConfig,
    QuantizeError,
    QuantizePositionHook,
    QuantizeTrainingHook,
)
from vai_q_tf.integrations.slim import slim_training_arguments
from vai_q_tf.qat import checkpoints
from vai_q_tf.qat.network.identity import Identity
from vai_q_tf.qat.positions import position_saveable

v1 = tf.compat.v1
RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randn(64, 8, 8, 3).astype(np.float32)
LABELS = RANDOM.randint(0, 4, 64)


def network(images, training):
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], normalizer_fn=slim.batch_norm, activation_fn=tf.nn.relu6,
                        normalizer_params={'is_training': training, 'decay': 0.9, 'scale': True}):
        net = slim.conv2d(images, 6, 3, scope='conv')
        net = slim.separable_conv2d(net, None, 3, depth_multiplier=1, scope='depthwise')
    return slim.fully_connected(tf.reduce_mean(net, [1, 2], name='pool'), 4, activation_fn=None, scope='logits')


def config_of(directory, **fields):
    return QuantizeConfig(['images'], ['logits/BiasAdd'], [[-1, 8, 8, 3]], output_dir=str(directory / 'quantized'),
                          **dict({'recipe': 'manual'}, **fields))


def queue_input():
    """Batches from a queue, in the order of the data."""
    image, label = v1.train.slice_input_producer([IMAGES, LABELS], shuffle=False)
    images, labels = v1.train.batch([image, label], 16, num_threads=1)
    return tf.identity(images, 'images'), labels


def training_graph(config=None):
    """The train op and loss of slim in the default graph; with a config the explicit way."""
    v1.set_random_seed(1)
    images, labels = queue_input()
    loss = v1.losses.sparse_softmax_cross_entropy(labels, network(images, True))
    v1.train.get_or_create_global_step()
    if config:
        CreateQuantizeTrainingGraph(config)
    total = v1.losses.get_total_loss()
    return slim.learning.create_train_op(total, v1.train.MomentumOptimizer(0.05, 0.9), clip_gradient_norm=1.0), loss


class Recorder:
    """A train_step_fn that keeps the losses."""

    def __init__(self):
        self.losses = []

    def __call__(self, *arguments):
        loss, stop = slim.learning.train_step(*arguments)
        self.losses.append(loss)
        return loss, stop


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """The prefix of a float checkpoint."""
    with tf.Graph().as_default():
        training_graph()
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            for variable in v1.global_variables():
                if variable.op.name.endswith(('moving_variance', 'gamma')):
                    variable.load(RANDOM.uniform(0.5, 1.5, variable.shape.as_list()).astype(np.float32), session)
            path = str(tmp_path_factory.mktemp('float') / 'float.ckpt')
            return v1.train.Saver(slim.get_model_variables()).save(session, path)


@pytest.fixture(scope='module')
def explicit(checkpoint, tmp_path_factory):
    """The function of a number of steps -> (losses, {variable: value}) of a plain session loop after so many."""
    directory, values = tmp_path_factory.mktemp('explicit'), {}
    with tf.Graph().as_default():
        train_op, _ = training_graph(config_of(directory))
        restorer, saver = v1.train.Saver(slim.get_model_variables()), v1.train.Saver()
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            restorer.restore(session, checkpoint)
            coordinator = tf.train.Coordinator()
            threads = v1.train.start_queue_runners(session, coordinator)
            losses = []
            for steps in range(1, 9):  # two rounds through the queue
                losses.append(session.run(train_op))
                if steps in (5, 6, 8):
                    values[steps] = read(saver.save(session, str(directory / 'model.ckpt'), steps))
            coordinator.request_stop()
            session.run([op for op in session.graph.get_operations() if op.type == 'QueueCloseV2'
                         and op.get_attr('cancel_pending_enqueues')])
            coordinator.join(threads)
    return lambda steps: (losses[:steps], values[steps])


def read(path):
    reader = tf.train.load_checkpoint(path)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_equal(values, expected):
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        if value.dtype == object:
            assert values[name].tolist() == value.tolist()
        else:
            np.testing.assert_allclose(values[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(values[position_saveable.VOTES_KEY], expected[position_saveable.VOTES_KEY])


def train(directory, steps, checkpoint=None, rewritten=False, **options):
    """Trains by slim.learning.train in directory/logs; returns the losses."""
    config, recorder = config_of(directory), Recorder()
    with tf.Graph().as_default():
        train_op, _ = training_graph(config if rewritten else None)
        arguments = slim_training_arguments(config, checkpoint, train_step_fn=recorder, **options)
        slim.learning.train(train_op, str(directory / 'logs'), number_of_steps=steps, log_every_n_steps=100,
                            save_summaries_secs=None, **arguments)
    return recorder.losses


@pytest.mark.parametrize('rewritten', [True, False], ids=['rewritten before', 'rewritten by the arguments'])
def test_slim_trains_as_a_session_loop(tmp_path, checkpoint, explicit, rewritten):
    losses, expected = explicit(6)
    np.testing.assert_allclose(train(tmp_path, 6, checkpoint, rewritten), losses, rtol=1e-5)
    values = read(str(tmp_path / 'logs' / 'model.ckpt-6'))
    assert_equal(values, expected)

    with open(str(tmp_path / 'quantized' / 'quantize_position_history.jsonl')) as stream:
        changes = [json.loads(line) for line in stream]
    last = {change['tensor']: change['position'] for change in changes}
    assert last == checkpoints.read_positions(tf.train.load_checkpoint(str(tmp_path / 'logs' / 'model.ckpt-6')), {
        name: Identity('', '', ()) for name in last})
    assert {change['step'] for change in changes} <= set(range(1, 7))
    assert len(glob.glob(str(tmp_path / 'quantized' / 'quantize_eval_model_6_*.pb'))) == 1


@pytest.fixture(scope='module')
def trained(checkpoint, tmp_path_factory):
    """(losses, logs) of a quantization-aware training of 4 steps."""
    directory = tmp_path_factory.mktemp('trained')
    return train(directory, 4, checkpoint), directory / 'logs'


def test_training_continues_from_its_checkpoint(tmp_path, checkpoint, explicit, trained):
    losses, expected = explicit(8)  # after the first four steps the queue starts anew
    first, logs = trained
    shutil.copytree(str(logs), str(tmp_path / 'logs'))
    second = train(tmp_path, 8, checkpoint)
    np.testing.assert_allclose(first + second, losses, rtol=1e-5)
    assert_equal(read(str(tmp_path / 'logs' / 'model.ckpt-8')), expected)


def test_a_float_training_is_continued_in_its_own_directory(tmp_path):
    with tf.Graph().as_default():
        train_op, _ = training_graph()
        slim.learning.train(train_op, str(tmp_path / 'logs'), number_of_steps=2, save_summaries_secs=None)
    assert position_saveable.VOTES_KEY not in read(str(tmp_path / 'logs' / 'model.ckpt-2'))
    assert len(train(tmp_path, 4)) == 2
    assert position_saveable.VOTES_KEY in read(str(tmp_path / 'logs' / 'model.ckpt-4'))


def test_a_checkpoint_of_quantization_aware_training_starts_a_new_one_with_its_positions(tmp_path, trained):
    _, logs = trained
    before = read(str(logs / 'model.ckpt-4'))
    train(tmp_path, 1, str(logs))
    after = read(str(tmp_path / 'logs' / 'model.ckpt-1'))
    assert after['global_step'] == 1
    key = position_saveable.VOTES_KEY
    np.testing.assert_allclose(after[key].sum(1) - 1, 0.98 * before[key].sum(1), rtol=1e-5)


def test_shares_are_of_the_number_of_steps(tmp_path):
    means = []

    def train_step(session, *arguments):
        loss, stop = slim.learning.train_step(session, *arguments)
        means.append(session.run('conv/BatchNorm/moving_mean:0'))
        return loss, stop

    with tf.Graph().as_default():
        train_op, _ = training_graph()
        arguments = slim_training_arguments(config_of(tmp_path, freeze_bn_step=0.5), train_step_fn=train_step)
        slim.learning.train(train_op, str(tmp_path / 'logs'), number_of_steps=4, save_summaries_secs=None, **arguments)
    assert [np.any(mean != before) for before, mean in zip(means, means[1:])] == [True, False, False]


def test_only_the_chief_writes(tmp_path):
    with tf.Graph().as_default():
        training_graph()
        arguments = slim_training_arguments(config_of(tmp_path), is_chief=False)
    assert type(arguments['saver']) is v1.train.Saver
    assert type(arguments['train_step_fn']).__name__ == '_MeasuredStep'


def test_a_checkpoint_of_another_network_is_refused(tmp_path, checkpoint):
    with tf.Graph().as_default():
        images, labels = queue_input()
        net = slim.conv2d(images, 7, 3, scope='conv')
        net = slim.fully_connected(slim.flatten(net), 4, activation_fn=None, scope='logits')
        v1.losses.sparse_softmax_cross_entropy(labels, net)
        slim.learning.create_train_op(v1.losses.get_total_loss(), v1.train.GradientDescentOptimizer(0.1))
        with pytest.raises(QuantizeError) as error:
            slim_training_arguments(config_of(tmp_path), checkpoint)
    assert 'conv/biases,' in error.value.detail
    assert 'conv/weights (shape [3, 3, 3, 7], in the checkpoint [3, 3, 3, 6])' in error.value.detail
    assert 'init_fn' in error.value.detail
    with tf.Graph().as_default():
        training_graph()
        with pytest.raises(QuantizeError, match='no checkpoint at'):
            slim_training_arguments(config_of(tmp_path), str(tmp_path / 'nothing'))


def evaluation(directory):
    """The predictions of the quantized network for all images."""
    images = tf.identity(tf.constant(IMAGES), 'images')
    predictions = tf.argmax(network(images, False), -1)
    CreateQuantizeEvaluationGraph(config_of(directory))
    v1.train.get_or_create_global_step()
    return predictions


@pytest.fixture(scope='module')
def accuracy(trained, tmp_path_factory):
    """That of the checkpoint, in a session."""
    with tf.Graph().as_default(), v1.Session() as session:
        predictions = evaluation(tmp_path_factory.mktemp('accuracy'))
        v1.train.Saver().restore(session, str(trained[1] / 'model.ckpt-4'))
        return np.mean(session.run(predictions) == LABELS)


@pytest.mark.parametrize('restored', [pytest.param('default', marks=pytest.mark.slow), 'list', 'loop'])
def test_slim_evaluates_the_quantized_network(tmp_path, trained, accuracy, restored):
    _, logs = trained
    with tf.Graph().as_default():
        value, update = v1.metrics.accuracy(LABELS, evaluation(tmp_path))
        options = {'eval_op': update, 'final_op': value}
        if restored == 'list':
            options['variables_to_restore'] = slim.get_variables_to_restore() + v1.get_collection(
                v1.GraphKeys.SAVEABLE_OBJECTS)
        if restored == 'loop':
            found = slim.evaluation.evaluation_loop('', str(logs), str(tmp_path / 'eval'), eval_interval_secs=0,
                                                    max_number_of_evaluations=1, **options)
        else:
            found = slim.evaluation.evaluate_once('', str(logs / 'model.ckpt-4'), str(tmp_path / 'eval'), **options)
    assert found == pytest.approx(accuracy)


def test_contrib_training_takes_the_hooks(tmp_path, checkpoint, explicit):
    losses, expected = explicit(5)
    logs, config = str(tmp_path / 'logs'), config_of(tmp_path)
    with tf.Graph().as_default():
        train_op, loss = training_graph()
        v1.train.init_from_checkpoint(checkpoint, {variable.op.name: variable for variable in slim.get_model_variables()})
        saved = v1.train.CheckpointSaverHook(logs, save_steps=5, listeners=[QuantizeCheckpointListener(config)])
        last = contrib_training.train(
            train_op, logs, save_checkpoint_secs=None, chief_only_hooks=[saved],
            hooks=[QuantizeTrainingHook(config), QuantizePositionHook(str(tmp_path / 'history'), every_n_steps=2),
                   v1.train.StopAtStepHook(5)])
    assert last == pytest.approx(losses[-1], rel=1e-5)
    assert_equal(read(str(tmp_path / 'logs' / 'model.ckpt-5')), expected)
    assert len(glob.glob(str(tmp_path / 'quantized' / 'quantize_eval_model_5_*.pb'))) == 1


@pytest.mark.parametrize('fault', ['no checkpoint', 'another network'])
def test_arguments_that_fail_leave_the_graph_as_it_is(tmp_path, fault):
    saved = str(tmp_path / 'other.ckpt')
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable('other', initializer=1.)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, saved)
    with tf.Graph().as_default() as graph:
        training_graph()
        before = graph.as_graph_def()
        with pytest.raises(QuantizeError):
            slim_training_arguments(config_of(tmp_path), saved if fault == 'another network' else str(tmp_path / 'nothing'))
        assert graph.as_graph_def() == before
