"""Evaluation and deploy of the averaged weights."""
import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf

import vai_q_tf
from tests import quick_tensorflow
from tests.loading import load
from tests.qat.averages.running_means import means
from tests.qat.recipe import small
from vai_q_tf import QuantizeError, errors

v1 = tf.compat.v1
_IMAGES = small.batch(99)[0]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The checkpoints of steps 1 and 8 of a training that averages from step 2 on."""
    place = tmp_path_factory.mktemp('trained')
    with small.Training(small.config(place, average_step=2), small.float_weights(), rate=0.5) as training:
        checkpoints = []
        for number in range(8):
            training.step(number)
            if number in (0, 7):
                checkpoints.append(training.saver.save(training.session, str(place / 'model.ckpt'), number + 1))
    return checkpoints


class _Evaluation:
    """An evaluation graph."""

    def __init__(self, place):
        self._settings = small.config(place)
        self._graph = tf.Graph()
        with self._graph.as_default():
            small.network(v1.placeholder(tf.float32, [None, 6, 6, 2], 'images'), training=False)
            vai_q_tf.CreateQuantizeEvaluationGraph(self._settings)
            self._saver = v1.train.Saver()

    def logits(self, checkpoint, weights=None):
        """The logits for the checkpoint, with the given weights instead of its own."""
        with self._graph.as_default(), v1.Session() as session:
            self._saver.restore(session, checkpoint)
            if weights is not None:
                load({variable: weights[variable.op.name] for variable in v1.trainable_variables()}, session)
            return session.run('logits/BiasAdd/aquant:0', {'images:0': _IMAGES})

    def deployed(self, checkpoint):
        """The path of the frozen model."""
        with self._graph.as_default():
            return vai_q_tf.CreateQuantizeDeployGraph(checkpoint, self._settings).eval_model


@pytest.fixture(scope='module')
def evaluation(tmp_path_factory):
    return _Evaluation(tmp_path_factory.mktemp('evaluation'))


def _run(model):
    with tf.Graph().as_default(), v1.Session() as session, open(model, 'rb') as stream:
        tf.import_graph_def(v1.GraphDef.FromString(stream.read()), name='')
        return session.run('logits/BiasAdd/aquant:0', {'net_in:0': _IMAGES})


def test_evaluation_and_deploy_take_either(trained, evaluation, tmp_path):
    averaged = vai_q_tf.averaged_checkpoint(trained[-1], str(tmp_path))
    last, live = map(evaluation.logits, (trained[-1], averaged))
    np.testing.assert_array_equal(live, evaluation.logits(trained[-1], means(trained[-1])[0]))
    np.testing.assert_array_equal(live, _run(evaluation.deployed(averaged)))
    np.testing.assert_array_equal(last, _run(evaluation.deployed(trained[-1])))
    assert not np.array_equal(live, last)


def test_its_place_and_name(trained, tmp_path):
    own = os.path.dirname(trained[-1])
    latest = tf.train.latest_checkpoint(own)
    averaged = vai_q_tf.averaged_checkpoint(own)
    assert averaged == os.path.join(own, 'averaged', 'model.ckpt-8')
    assert tf.train.latest_checkpoint(os.path.join(own, 'averaged')) == averaged
    assert tf.train.latest_checkpoint(own) == latest
    again = vai_q_tf.averaged_checkpoint(averaged, tmp_path / 'again')
    assert again == str(tmp_path / 'again' / 'model.ckpt-8')


def test_errors(trained, tmp_path):
    with pytest.raises(QuantizeError, match='before the first step that counts') as raised:
        vai_q_tf.averaged_checkpoint(trained[0])
    assert raised.value.code == errors.MISSING_QUANTIZE_INFO
    with small.Training(small.config(tmp_path)) as training:
        training.step(0)
        without = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
    with pytest.raises(QuantizeError, match='without average_step') as raised:
        vai_q_tf.averaged_checkpoint(without)
    assert raised.value.code == errors.MISSING_QUANTIZE_INFO
    with small.Training(small.config(tmp_path, average_step=0)) as training:
        training.step(0)
        names = {'model/' + variable.op.name: variable for variable in v1.global_variables()}
        names.update({saved.name: saved for saved in v1.get_collection(v1.GraphKeys.SAVEABLE_OBJECTS)})
        renamed = v1.train.Saver(names).save(training.session, str(tmp_path / 'renamed.ckpt'))
    with pytest.raises(QuantizeError, match="average of 'conv/kernel' and no variable of this name") as raised:
        vai_q_tf.averaged_checkpoint(renamed)
    assert raised.value.code == errors.MISSING_QUANTIZE_INFO
    assert not (tmp_path / 'averaged').exists()
    with pytest.raises(QuantizeError, match='would be overwritten') as raised:
        vai_q_tf.averaged_checkpoint(trained[-1], os.path.dirname(trained[-1]))
    assert raised.value.code == errors.INVALID_INPUT
    with pytest.raises(QuantizeError, match='no checkpoint at') as raised:
        vai_q_tf.averaged_checkpoint(str(tmp_path / 'nothing'))
    assert raised.value.code == errors.INVALID_INPUT


@pytest.mark.parametrize('averaged', [None, True, False])
def test_the_listener_leaves_both_models(tmp_path, evaluation, averaged):
    """As soon as there are averages; the names of the other files do not change."""
    settings = small.config(tmp_path, average_step=2)
    with small.Training(settings, small.float_weights(), rate=0.5) as training:
        listener = vai_q_tf.QuantizeCheckpointListener(settings, saver=training.saver, averaged=averaged)
        listener.begin()
        training.step(0)
        for number in range(1, 3):
            training.step(number)
            checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'), number + 1)
            listener.after_save(training.session, number + 1)
    files = {re.sub(r'_\d{14}', '', path.name): path for path in (tmp_path / 'quantized').glob('quantize_eval_*')}
    kinds = ['quantize_eval_graph_{}.pb', 'quantize_eval_model_{}.pb']
    expected = {kind.format(step) for kind in kinds for step in (2, 3)}
    if averaged is not False:
        expected |= {kind.format('averaged_3') for kind in kinds}
        found = _run(str(files['quantize_eval_model_averaged_3.pb']))
        latest = json.loads((tmp_path / 'quantized' / 'latest_averaged.json').read_text())
        assert latest['step'] == 3 and latest['eval_model'] == files['quantize_eval_model_averaged_3.pb'].name
        np.testing.assert_array_equal(found, _run(evaluation.deployed(vai_q_tf.averaged_checkpoint(checkpoint))))
    assert set(files) == expected
    np.testing.assert_array_equal(_run(str(files['quantize_eval_model_3.pb'])), _run(evaluation.deployed(checkpoint)))


def test_an_estimator_trains_and_evaluates_either(tmp_path):
    def model_fn(features, labels, mode):
        logits = small.network(features, mode == tf.estimator.ModeKeys.TRAIN)
        loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
        train_op = v1.train.GradientDescentOptimizer(0.5).minimize(loss, v1.train.get_global_step())
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)

    def input_fn():
        return tf.data.Dataset.from_tensors(small.batch(0)).repeat()

    estimator = tf.estimator.Estimator(vai_q_tf.quantize_model_fn(model_fn, small.config(tmp_path, average_step=0.5)),
                                       str(tmp_path / 'model'),
                                       tf.estimator.RunConfig(session_config=quick_tensorflow.one_thread()))
    estimator.train(input_fn, steps=6)
    assert means(estimator.latest_checkpoint())[1] == 3
    averaged = vai_q_tf.averaged_checkpoint(estimator.model_dir)
    losses = [estimator.evaluate(input_fn, 1, checkpoint_path=checkpoint)['loss'] for checkpoint in (None, averaged)]
    assert losses[0] != losses[1]
    models = [path.name for path in (tmp_path / 'quantized').glob('quantize_eval_model_*6_*')]
    assert sum('averaged' in name for name in models) == 1 and len(models) == 2


def test_a_constant_rate_that_cannot_settle(tmp_path):
    """A noisy quadratic loss: the rate decides how far the weights stay from the optimum; their mean is near it."""
    optimum = np.array([[0.5], [-0.25]], np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        images, noise = v1.placeholder(tf.float32, [None, 2]), v1.placeholder(tf.float32, [None, 1])
        net = v1.layers.dense(tf.identity(images, 'net_in'), 1, use_bias=False, name='logits')
        loss = tf.reduce_mean((net - tf.matmul(images, optimum) - noise) ** 2)
        step = v1.train.get_or_create_global_step()
        vai_q_tf.CreateQuantizeTrainingGraph(vai_q_tf.QuantizeConfig(
            ['net_in'], ['logits/MatMul'], weight_bit=16, activation_bit=16, output_dir=str(tmp_path), average_step=100))
        train = v1.train.GradientDescentOptimizer(0.1).minimize(loss, step)
        session.run(v1.global_variables_initializer())
        random = np.random.RandomState(0)
        distances = []
        for number in range(600):
            session.run(train, {images: random.randn(8, 2), noise: random.randn(8, 1)})
            if number >= 500:
                distances.append(np.linalg.norm(session.run('logits/kernel:0') - optimum))
        found, count = means(v1.train.Saver().save(session, str(tmp_path / 'model.ckpt')))
    assert count == 500
    assert np.linalg.norm(found['logits/kernel'] - optimum) < np.mean(distances) / 4


def test_a_deploy_overwrites_no_other(trained, evaluation, tmp_path):
    """Two within one second, such as those of the last and of the averaged weights."""
    averaged = vai_q_tf.averaged_checkpoint(trained[-1], str(tmp_path))
    models = [evaluation.deployed(checkpoint) for checkpoint in (trained[-1], averaged, trained[-1])]
    last, mean, again = map(_run, models)
    assert len(set(models)) == 3
    assert not np.array_equal(last, mean)
    np.testing.assert_array_equal(last, again)
