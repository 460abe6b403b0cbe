"""Distillation in every way to train: equal losses, weights and positions; and the refusals of each way."""
import functools
import glob
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.integrations import trainings
from vai_q_tf import (
    CreateQuantizeTrainingGraph,
    Distillation,
    QuantizeError,
    QuantizeOptimizer,
    QuantizeTrainingHook,
    distillation_loss,
    errors,
    quantize_estimator,
    quantize_model_fn,
    slim_training_arguments,
)

v1 = tf.compat.v1
MODES = tf.estimator.ModeKeys
SETTINGS = dict(temperature=3.0, weight=2.0)


@pytest.fixture(scope='module')
def other(tmp_path_factory):
    """Another float checkpoint than the one that training starts from."""
    directory = tmp_path_factory.mktemp('other')
    with tf.Graph().as_default():
        run = trainings.Run()
        run.train_op = trainings.minimize(run.loss, trainings.momentum())
        run.train(3)
        return v1.train.Saver().save(run.session, str(directory / 'model.ckpt'), 3)


def _total(directory, teacher):
    """A function from a loss to one with the term."""
    return lambda loss: loss + distillation_loss(trainings.config(directory), teacher, **SETTINGS)


@pytest.fixture(scope='module')
def expected(tmp_path_factory, checkpoint, other):
    """(losses of the labels, state) of a training with distillation_loss, called after the rewrite."""
    directory = tmp_path_factory.mktemp('explicit')
    total = _total(directory, other)
    return trainings.explicit(directory, checkpoint, lambda loss: trainings.minimize(total(loss), trainings.momentum()))


def test_the_term_trains(tmp_path, checkpoint, expected):
    losses, state = trainings.explicit(tmp_path, checkpoint)
    assert losses[0] == expected[0][0]
    assert all(abs(one - two) > 1e-4 for one, two in zip(losses[1:], expected[0][1:]))
    assert np.abs(state['conv/kernel'] - expected[1]['conv/kernel']).max() > 1e-3


def test_the_function_before_the_rewrite(tmp_path, checkpoint, other, expected):
    total = _total(tmp_path, other)
    with tf.Graph().as_default():
        run = trainings.Run()
        loss = total(run.loss)
        CreateQuantizeTrainingGraph(trainings.config(tmp_path))
        run.train_op = trainings.minimize(loss, trainings.momentum())
        trainings.assert_same((run.train(checkpoint=checkpoint), run.state()), expected)


def test_the_optimizer(tmp_path, checkpoint, other, expected):
    with tf.Graph().as_default():
        run = trainings.Run()
        run.train_op = trainings.minimize(run.loss, QuantizeOptimizer(
            trainings.momentum(), trainings.config(tmp_path), Distillation(other, **SETTINGS)))
        trainings.assert_same((run.train(checkpoint=checkpoint), run.state()), expected)


def _started(checkpoint, **options):
    """The model_fn, starting from a checkpoint."""
    def model_fn(features, labels, mode):
        spec = trainings.model_fn(features, labels, mode, **options)
        known = dict(tf.train.list_variables(checkpoint))
        v1.train.init_from_checkpoint(checkpoint, {
            variable.op.name: variable for variable in v1.model_variables() + v1.trainable_variables()
            + v1.moving_average_variables() + v1.global_variables()
            if variable.op.name in known and 'Momentum' not in variable.op.name and variable.op.name != 'global_step'})
        return spec
    return model_fn


def test_the_hook(tmp_path, checkpoint, other, expected):
    estimator = trainings.make_estimator(_started(checkpoint), tmp_path)
    losses = trainings.Losses()
    estimator.train(trainings.input_fn, hooks=[
        losses, QuantizeTrainingHook(trainings.config(tmp_path), distillation=Distillation(other, **SETTINGS))], steps=6)
    trainings.assert_same((losses.values, _state(estimator.latest_checkpoint())), expected)


def test_the_function_under_the_hook(tmp_path, checkpoint, other, expected):
    with tf.Graph().as_default():
        run = trainings.Run()
        run.train_op = trainings.minimize(_total(tmp_path, other)(run.loss), trainings.momentum())
        QuantizeTrainingHook(trainings.config(tmp_path)).begin()
        trainings.assert_same((run.train(checkpoint=checkpoint), run.state()), expected)


def _state(checkpoint):
    """Same as in `trainings.train_estimator`."""
    reader = tf.train.load_checkpoint(checkpoint)
    state = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if not name.startswith('vai_q_tf/')}
    return dict(state, votes=reader.get_tensor('vai_q_tf/positions/votes'))


@pytest.fixture(scope='module')
def of_the_start(tmp_path_factory, checkpoint):
    """Function (settings of the term) -> (losses, state), for a teacher with the checkpoint that the training starts from."""
    @functools.lru_cache(None)
    def get(**settings):
        directory = tmp_path_factory.mktemp('start')
        return trainings.explicit(directory, checkpoint, lambda loss: trainings.minimize(
            loss + distillation_loss(trainings.config(directory), checkpoint, **settings), trainings.momentum()))
    return get


@pytest.mark.parametrize('distillation', [
    pytest.param(True, marks=pytest.mark.slow, id='defaults'),  # the estimator wrapper has them
    pytest.param(Distillation(**SETTINGS), id='settings')])
def test_the_model_fn_wrapper_knows_the_checkpoint(tmp_path, checkpoint, of_the_start, distillation):
    expected = of_the_start(**{} if distillation is True else SETTINGS)
    model_fn = quantize_model_fn(trainings.plain_model_fn(), trainings.config(tmp_path), checkpoint, distillation=distillation)
    trainings.assert_same(trainings.train_estimator(trainings.make_estimator(model_fn, tmp_path)), expected)


def test_the_model_fn_wrapper_with_another_checkpoint(tmp_path, checkpoint, other, expected):
    model_fn = quantize_model_fn(
        trainings.plain_model_fn(), trainings.config(tmp_path), checkpoint, distillation=Distillation(other, **SETTINGS))
    estimator = trainings.make_estimator(model_fn, tmp_path)
    trainings.assert_same(trainings.train_estimator(estimator), expected)
    assert estimator.evaluate(trainings.once)['accuracy'] > 0
    for path in glob.glob(str(tmp_path / 'quantized' / 'quantize_eval_*')):
        with open(path, 'rb') as stream:
            assert b'teacher' not in stream.read()


@pytest.mark.parametrize('wrap, made, called', [
    (lambda settings, start, model: quantize_model_fn(model, settings, start, distillation=True), 1, 1),
    (lambda settings, start, model: quantize_model_fn(model, settings, start, distillation=Distillation(start)), 1, 1),
    (lambda settings, start, model: _estimator_at(start, model, settings).model_fn, 0, 1)],
    ids=['model_fn', 'settings', 'estimator'])
def test_the_checkpoint_of_the_teacher_is_chosen_once(tmp_path, monkeypatch, checkpoint, wrap, made, called):
    """By a path before the function is called, by an Estimator when it is: then its latest checkpoint is known."""
    choose, chosen = Distillation.with_checkpoint, []

    def count(self, *arguments):
        chosen.append(choose(self, *arguments).float_checkpoint)
        return choose(self, *arguments)

    monkeypatch.setattr(Distillation, 'with_checkpoint', count)
    model_fn = wrap(trainings.config(tmp_path), checkpoint, trainings.plain_model_fn())
    assert chosen == [checkpoint] * made
    features, labels = v1.data.make_one_shot_iterator(trainings.input_fn()).get_next()
    model_fn(features, labels, MODES.TRAIN, tf.estimator.RunConfig(str(tmp_path / 'new')))
    assert chosen == [checkpoint] * called


def _estimator_at(checkpoint, model, settings):
    """The quantized form, with a Distillation, of an Estimator that has a checkpoint."""
    float_estimator = tf.estimator.Estimator(model, os.path.dirname(checkpoint))
    return quantize_estimator(float_estimator, settings, distillation=True)


def test_the_estimator_wrapper(tmp_path, checkpoint, of_the_start):
    """Its teacher has the float checkpoint, also when the training resumes from its own."""
    float_estimator = trainings.make_estimator(trainings.plain_model_fn(), tmp_path)
    trainings.place(checkpoint, float_estimator.model_dir)
    losses = []
    for steps, batches in ((2, trainings.input_fn), (4, lambda: trainings.input_fn().skip(2))):
        quantized = quantize_estimator(float_estimator, trainings.config(tmp_path), distillation=True)
        recorded = trainings.Losses()
        quantized.train(batches, hooks=[recorded], steps=steps)
        losses += recorded.values
    trainings.assert_same((losses, _state(quantized.latest_checkpoint())), of_the_start())


def test_slim(tmp_path, checkpoint):
    from tensorflow.contrib import slim

    def train(way):
        with tf.Graph().as_default():
            v1.set_random_seed(3)
            images, labels = v1.data.make_one_shot_iterator(trainings.input_fn()).get_next()
            loss = trainings.cross_entropy(labels, trainings.network(images, True))
            settings = trainings.config(tmp_path)
            if way == 'function':
                loss += distillation_loss(settings, checkpoint)
                CreateQuantizeTrainingGraph(settings)
            train_op = slim.learning.create_train_op(loss, trainings.momentum())
            arguments = slim_training_arguments(
                settings, checkpoint, distillation=None if way == 'function' else True)
            slim.learning.train(train_op, str(tmp_path / way), number_of_steps=3, session_config=trainings.SESSION,
                                save_summaries_secs=None, **arguments)
        return tf.train.load_checkpoint(str(tmp_path / way))

    expected, found = train('function'), train('argument')
    for name in ('conv/kernel', 'logits/bias', 'norm/moving_mean', 'conv/kernel/Momentum'):
        np.testing.assert_allclose(found.get_tensor(name), expected.get_tensor(name), rtol=1e-5, atol=1e-6)


def test_mirrored_strategy(tmp_path, checkpoint):
    """distillation_loss works in each replica; the wrapper refuses and names it."""
    teachers = []

    def model_fn(features, labels, mode):
        loss = trainings.cross_entropy(labels, trainings.network(features, True))
        loss += distillation_loss(trainings.config(tmp_path), checkpoint)
        CreateQuantizeTrainingGraph(trainings.config(tmp_path))
        teachers.append({op.inputs[0].op.name for op in loss.graph.get_operations()
                         if op.name.startswith('vai_q_tf/teacher') and op.name.endswith('/conv/Conv2D')})
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=trainings.minimize(loss, trainings.momentum()))

    options = dict(train_distribute=tf.distribute.MirroredStrategy(['/cpu:0', '/cpu:1']),
                   session_config=trainings.TWO_DEVICES)
    trainings.make_estimator(model_fn, tmp_path, **options).train(trainings.input_fn, steps=3)
    graphs, = {frozenset(pair) for pair in teachers if len(pair) == 2}
    assert graphs == {'net_in', 'replica_1/net_in'}
    wrapped = quantize_model_fn(trainings.plain_model_fn(), trainings.config(tmp_path), checkpoint, distillation=True)
    with pytest.raises(QuantizeError, match='several replicas.*distillation_loss') as raised:
        trainings.make_estimator(wrapped, tmp_path / 'wrapped', **options).train(trainings.input_fn, steps=1)
    assert raised.value.code == errors.UNSUPPORTED_GRAPH


def test_refusals_of_the_hook(tmp_path, checkpoint):
    config = trainings.config(tmp_path)
    with pytest.raises(QuantizeError, match='no float checkpoint'):
        QuantizeTrainingHook(config, distillation=True)
    with pytest.raises(TypeError, match='must be a vai_q_tensorflow.Distillation'):
        QuantizeTrainingHook(config, distillation=checkpoint)
    run = trainings.Run()
    trainings.minimize(run.loss, trainings.momentum())
    with pytest.raises(QuantizeError, match='each tower has a loss'):
        QuantizeTrainingHook(config, towers=['clone_0'], distillation=Distillation(checkpoint)).begin()
    with pytest.raises(QuantizeError, match='There is no checkpoint'):
        QuantizeTrainingHook(config, distillation=Distillation(str(tmp_path / 'none'))).begin()
    QuantizeTrainingHook(config).begin()
    with pytest.raises(QuantizeError, match='rewritten before.*distillation_loss'):
        QuantizeTrainingHook(config, distillation=Distillation(checkpoint)).begin()


def test_refusals_of_the_wrappers(tmp_path, checkpoint):
    config = trainings.config(tmp_path)
    with pytest.raises(QuantizeError, match='no float checkpoint'):
        quantize_model_fn(trainings.plain_model_fn(), config, distillation=True)
    with pytest.raises(QuantizeError, match='no float checkpoint'):
        QuantizeOptimizer(trainings.momentum(), config, True)
    estimator = trainings.make_estimator(trainings.plain_model_fn(), tmp_path)
    with pytest.raises(QuantizeError, match='no float checkpoint'):
        quantize_estimator(estimator, config, distillation=True).train(trainings.input_fn, steps=1)
    run = trainings.Run()
    optimizer = QuantizeOptimizer(trainings.momentum(), config, Distillation(checkpoint))
    with pytest.raises(QuantizeError, match='multiplied by a factor'):
        optimizer.compute_gradients(run.loss * 128.0)
