"""Limits that are shares of a training, in every way to train that knows its length."""
import contextlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.contrib import slim

import vai_q_tf
from tests import quick_tensorflow
from tests.qat.recipe import small

v1 = tf.compat.v1
_STEPS = 10
_SHARE = 0.4
_IMAGES, _LABELS = map(np.stack, zip(*(small.batch(number) for number in range(2 * _STEPS))))


class _Averages(tf.estimator.SessionRunHook):
    """Records the moving mean before each step."""

    def __init__(self):
        self.values = []

    def before_run(self, run_context):
        self.values.append(run_context.session.run('norm/moving_mean:0'))

    def end(self, session):
        self.values.append(session.run('norm/moving_mean:0'))

    def moved(self):
        """How many steps moved it."""
        return sum(not np.array_equal(first, second) for first, second in zip(self.values, self.values[1:]))


def _settings(place, **fields):
    return small.config(place, **dict(dict(freeze_bn_step=_SHARE, freeze_position_step=_SHARE), **fields))


def _input_fn():
    return tf.data.Dataset.from_tensor_slices((_IMAGES, _LABELS)).repeat()


def _train_op(images, labels):
    loss = v1.losses.sparse_softmax_cross_entropy(labels, small.network(images))
    step = v1.train.get_or_create_global_step()
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return loss, v1.train.GradientDescentOptimizer(0.01).minimize(loss, step)


def _model_fn(features, labels, mode):
    loss, train_op = _train_op(features, labels)
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def _estimator(place, model_fn=_model_fn):
    """Its sessions run without TensorFlow's graph optimizers, which its default config turns on."""
    return tf.estimator.Estimator(model_fn, str(place / 'model'),
                                  tf.estimator.RunConfig(session_config=quick_tensorflow.one_thread()))


def _by_hook(place, settings, averages, **length):
    _estimator(place).train(_input_fn, hooks=[vai_q_tf.QuantizeTrainingHook(settings), averages], **length)


def _by_model_fn(place, settings, averages, **length):
    _estimator(place, vai_q_tf.quantize_model_fn(_model_fn, settings)).train(_input_fn, hooks=[averages], **length)


@pytest.mark.slow  # tests below have all four with more in them
@pytest.mark.parametrize('length', ['steps', 'max_steps'])
@pytest.mark.parametrize('train', [_by_model_fn, _by_hook])
def test_estimator(tmp_path, train, length):
    averages = _Averages()
    train(tmp_path, _settings(tmp_path), averages, **{length: _STEPS})
    assert averages.moved() == _SHARE * _STEPS


@pytest.fixture(scope='module')
def float_training(tmp_path_factory):
    """The directory of an estimator that has trained 5 steps."""
    place = tmp_path_factory.mktemp('float')
    _estimator(place).train(_input_fn, steps=5)
    return str(place / 'model')


@pytest.mark.parametrize('recipe', ['auto', 'manual'])
def test_a_restart_counts_from_the_start_of_the_training(tmp_path, float_training, recipe):
    """The steps of the float training before do not count."""
    shutil.copytree(float_training, str(tmp_path / 'model'))
    moved = []
    for max_steps in (5 + 2, 5 + _STEPS):
        averages = _Averages()
        hook = vai_q_tf.QuantizeTrainingHook(_settings(tmp_path, freeze_bn_step=0.5, recipe=recipe))
        _estimator(tmp_path).train(_input_fn, max_steps=max_steps, hooks=[hook, averages])
        moved.append(averages.moved())
    assert moved == [1, 3]  # half of 2 and of 10 steps, each from step 5 on


def test_each_call_with_steps_has_its_own_shares(tmp_path):
    """As in a loop of trainings and evaluations."""
    moved = []
    for train in (_by_hook, _by_model_fn):
        averages = _Averages()
        train(tmp_path, _settings(tmp_path), averages, steps=5)
        moved.append(averages.moved())
    assert moved == [2, 2]


def test_train_and_evaluate(tmp_path):
    averages = _Averages()
    estimator = _estimator(tmp_path, vai_q_tf.quantize_model_fn(_model_fn, _settings(tmp_path)))
    tf.estimator.train_and_evaluate(estimator, tf.estimator.TrainSpec(_input_fn, max_steps=_STEPS, hooks=[averages]),
                                    tf.estimator.EvalSpec(_input_fn, steps=1))
    assert averages.moved() == _SHARE * _STEPS


@pytest.mark.parametrize('known', [True, False])
def test_monitored_session(tmp_path, known):
    averages = _Averages()
    with tf.Graph().as_default():
        images, labels = v1.data.make_one_shot_iterator(_input_fn()).get_next()
        images, labels = tf.identity(images), tf.identity(labels)
        _, train_op = _train_op(images, labels)
        hooks = [vai_q_tf.QuantizeTrainingHook(_settings(tmp_path)), averages]
        hooks += [tf.estimator.StopAtStepHook(_STEPS)] * known
        with v1.train.MonitoredTrainingSession(hooks=hooks) as session:
            if not known:
                with pytest.raises(tf.errors.InvalidArgumentError, match='length of the training is not known') as raised:
                    session.run(train_op)
                assert '_step cannot be a share' in str(raised.value) and 'Give a global step' in str(raised.value)
                return
            while not session.should_stop():
                session.run(train_op)
    assert averages.moved() == _SHARE * _STEPS


_TRAIN_META_GRAPH = '''
import sys
import numpy as np
import tensorflow as tf
import vai_q_tensorflow

tf.train.import_meta_graph(sys.argv[1])
values = []
with tf.train.MonitoredTrainingSession(hooks=[tf.train.StopAtStepHook(num_steps=10)]) as session:
    while not session.should_stop():
        values.append(session.run([tf.get_collection('moving_mean')[0], tf.get_collection('train_op')[0]])[0])
print(sum(not np.array_equal(first, second) for first, second in zip(values, values[1:])))
'''


def test_a_meta_graph_trains_in_a_process_that_rewrites_nothing(tmp_path):
    with tf.Graph().as_default():
        loss = v1.losses.sparse_softmax_cross_entropy(_LABELS[0], small.network(tf.constant(_IMAGES[0])))
        step = v1.train.get_or_create_global_step()
        vai_q_tf.CreateQuantizeTrainingGraph(_settings(tmp_path))
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            v1.add_to_collection('train_op', v1.train.GradientDescentOptimizer(0.01).minimize(loss, step))
        with tf.control_dependencies([v1.get_collection('train_op')[0]]):
            average = v1.get_default_graph().get_tensor_by_name('norm/moving_mean:0')
            v1.add_to_collection('moving_mean', tf.identity(average))
        v1.train.export_meta_graph(str(tmp_path / 'train.meta'))
    moved = subprocess.run([sys.executable, '-c', _TRAIN_META_GRAPH, str(tmp_path / 'train.meta')], check=True,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout
    assert int(moved) == _SHARE * _STEPS - 1  # but for the first step


def test_slim(tmp_path):
    values = []

    def step_fn(session, train_op, global_step, kwargs):
        values.append(session.run('norm/moving_mean:0'))
        return slim.learning.train_step(session, train_op, global_step, kwargs)

    with tf.Graph().as_default():
        images, labels = v1.data.make_one_shot_iterator(_input_fn()).get_next()
        v1.losses.sparse_softmax_cross_entropy(labels, small.network(tf.identity(images)))
        train_op = slim.learning.create_train_op(v1.losses.get_total_loss(), v1.train.GradientDescentOptimizer(0.01))
        slim.learning.train(train_op, str(tmp_path), number_of_steps=_STEPS, **vai_q_tf.slim_training_arguments(
            _settings(tmp_path), train_step_fn=step_fn))
    found = _Averages()
    found.values = values
    assert found.moved() == _SHARE * _STEPS


def test_contrib_training(tmp_path):
    averages = _Averages()
    with tf.Graph().as_default():
        images, labels = v1.data.make_one_shot_iterator(_input_fn()).get_next()
        v1.losses.sparse_softmax_cross_entropy(labels, small.network(tf.identity(images)))
        train_op = tf.contrib.training.create_train_op(v1.losses.get_total_loss(), v1.train.GradientDescentOptimizer(0.01))
        tf.contrib.training.train(train_op, str(tmp_path), hooks=[
            vai_q_tf.QuantizeTrainingHook(_settings(tmp_path)), averages, tf.estimator.StopAtStepHook(_STEPS)])
    assert averages.moved() == _SHARE * _STEPS


@contextlib.contextmanager
def _keras_model(settings):
    """(a compiled model, its QuantizeCallback)."""
    keras = tf.keras
    keras.backend.clear_session()
    keras.backend.set_learning_phase(1)
    try:
        model = keras.Sequential([
            keras.layers.Conv2D(4, 3, use_bias=False, input_shape=(6, 6, 2), name='conv'),
            keras.layers.BatchNormalization(momentum=0.5, name='norm'), keras.layers.Flatten(),
            keras.layers.Dense(3, name='logits')])
        settings.input_nodes, settings.output_nodes = [model.input.op.name], [model.output.op.name]
        callback = vai_q_tf.QuantizeCallback(settings, model)
        model.compile('sgd', keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        yield model, callback
    finally:
        keras.backend.clear_session()


@pytest.mark.parametrize('arguments, epochs, expected', [
    pytest.param({'batch_size': 64}, [(0, 2)], 4, marks=pytest.mark.slow), ({'steps_per_epoch': 5}, [(0, 2)], 4),
    ({'batch_size': 64}, [(0, 1), (0, 1)], 2 + 2), ({'batch_size': 64}, [(0, 1), (1, 2)], 2),
    ({'batch_size': 64}, [(1, 2)], 2)])
def test_keras(tmp_path, arguments, epochs, expected):
    """epochs: (initial_epoch, epochs) of calls of fit, with 5 steps an epoch."""
    keras = tf.keras
    with _keras_model(_settings(tmp_path)) as (model, callback):
        values = []

        class Averages(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                values.append(model.get_layer('norm').get_weights()[2])

        initial = model.get_layer('norm').get_weights()[2]
        images, labels = np.concatenate(_IMAGES[:5]), np.concatenate(_LABELS[:5])
        if 'steps_per_epoch' in arguments:
            data = (tf.data.Dataset.from_tensor_slices((images, labels)).repeat().batch(64),)
        else:
            data = (images, labels)
        for first, end in epochs:
            model.fit(*data, initial_epoch=first, epochs=end, verbose=0, callbacks=[callback, Averages()], **arguments)
    found = _Averages()
    found.values = [initial] + values
    assert found.moved() == expected


@pytest.mark.parametrize('fields', [{}, {'freeze_bn_step': 0.5}], ids=['no share', 'share'])
def test_keras_with_a_dataset_of_unknown_length(tmp_path, fields):
    with _keras_model(small.config(tmp_path, **fields)) as (model, callback):
        data = tf.data.Dataset.from_generator(lambda: zip(_IMAGES[:3], _LABELS[:3]), (tf.float32, tf.int32),
                                              ([None, 6, 6, 2], [None]))
        if fields:
            with pytest.raises(tf.errors.InvalidArgumentError, match='QuantizeCallback and steps_per_epoch'):
                model.fit(data, verbose=0, callbacks=[callback])
        else:
            model.fit(data, epochs=2, verbose=0, callbacks=[callback])
            assert tf.keras.backend.get_session().run(model.quantize_positions.step) == 6


@pytest.mark.parametrize('steps, expected', [(120, 80), (99, 99)], ids=['long', 'short'])
def test_positions_of_a_training_from_scratch_stay_after_two_thirds_of_a_long_one(tmp_path, steps, expected):
    """expected: how many steps count a vote."""
    class Votes(_Averages):
        def before_run(self, run_context):
            self.values.append(run_context.session.run('vai_q_tf/positions/votes:0'))

        def end(self, session):
            self.values.append(session.run('vai_q_tf/positions/votes:0'))

    votes = Votes()
    _estimator(tmp_path).train(_input_fn, max_steps=steps, hooks=[vai_q_tf.QuantizeTrainingHook(small.config(tmp_path)), votes])
    assert votes.moved() == expected


def test_a_long_training_counts_exactly(tmp_path):
    """Steps are compared as integers: no float32 is 2 ** 24 + 1."""
    first = 2 ** 24
    with small.Training(small.config(tmp_path, recipe='manual', freeze_bn_step=first + 1), small.float_weights()) as training:
        v1.train.get_global_step().load(first, training.session)
        averages = []
        for number in range(3):
            training.step(number)
            averages.append(training.variables()['norm/moving_mean'])
    assert not np.array_equal(small.float_weights()['norm/moving_mean'], averages[0])
    assert np.array_equal(averages[0], averages[1]) and np.array_equal(averages[1], averages[2])
