"""Positions are for a bit width: a training that resumes with other bits begins anew, and a model of other bits is an error."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import vai_q_tf
from tests.integrations import trainings
from tests.integrations.test_metagraph import config_for, float_checkpoint, float_meta, train
from tests.qat.averages.running_means import assert_means, means
from tests.qat.recipe import small
from vai_q_tf import QuantizeError, errors
from vai_q_tf.integrations.metagraph import deploy_checkpoint, quantize_meta_graph

v1 = tf.compat.v1
_LINE = 'This training begins anew from the weights of its checkpoint'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Of a training with 8 bits, after three steps."""
    directory = tmp_path_factory.mktemp('eight')
    with small.Training(small.config(directory, weight_bit=8, activation_bit=8), small.float_weights()) as training:
        for number in range(3):
            training.step(number)
        return training.saver.save(training.session, str(directory / 'model.ckpt'))


def _course(training):
    """(losses, positions) of a few steps."""
    return [training.step(number) for number in range(3, 6)], training.positions()


@pytest.mark.parametrize('fields', [
    dict(), dict(weight_bit=8), dict(activation_bit=8), dict(weight_bit=8, activation_bit=8, bias_bit=16),
    dict(weight_bit=8, activation_bit=8, nodes_bit=['logits/bias:4']),
    dict(recipe='manual'), dict(recipe='scratch'), dict(position_update='learned')], ids=str)
def test_a_training_with_other_bits_starts_as_from_the_float_weights(tmp_path, checkpoint, capfd, fields):
    settings = small.config(tmp_path, **fields)
    reader = tf.train.load_checkpoint(checkpoint)
    with small.Training(settings, {name: reader.get_tensor(name) for name in small.WEIGHTS}) as training:
        expected = _course(training)
    capfd.readouterr()
    with small.Training(settings) as training:
        training.saver.restore(training.session, checkpoint)
        assert training.positions() == {}
        text = capfd.readouterr().err
        assert text.count(_LINE) == 1 and ' (8 bits, here {})'.format(fields.get('bias_bit', 4)) in text
        assert _course(training) == expected
        if 'recipe' not in fields:
            assert training.noted() == (1, 3)
            assert capfd.readouterr().err.count('This training starts from float weights.') == 1


def test_the_mean_of_the_weights_begins_anew(tmp_path):
    """The first step that counts is the one that the new training makes, whatever its number."""
    counts, saved = [], None
    for bits in (8, 4, 4):
        with small.Training(small.config(tmp_path, weight_bit=bits, activation_bit=bits, average_step=2),
                            None if saved else small.float_weights()) as training:
            if saved:
                training.saver.restore(training.session, saved)
            for number in range(3 * len(counts), 3 * len(counts) + 3):
                training.step(number)
                values = training.variables()
            saved = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
        found, count = means(saved)
        counts.append(count)
        if counts == [1]:
            assert_means(found, [values])
    assert counts == [1, 3, 6]


def test_a_training_with_its_own_bits_goes_on(tmp_path, checkpoint, capfd):
    with small.Training(small.config(tmp_path, weight_bit=8, activation_bit=8)) as training:
        training.saver.restore(training.session, checkpoint)
        votes = tf.train.load_checkpoint(checkpoint).get_tensor('vai_q_tf/positions/votes')
        np.testing.assert_array_equal(training.value('vai_q_tf/positions/votes:0'), votes)
        assert training.noted() == (1, 0) and _LINE not in capfd.readouterr().err


def test_tensors_that_were_float_before_are_calibrated(tmp_path, capfd):
    """All are, on the float network. Otherwise they would have no position, since this training does not move them."""
    settings = small.config(tmp_path)
    with small.Training(settings.replace(ignore_nodes=['logits/MatMul']), small.float_weights()) as training:
        training.step(0)
        fewer = training.positions()
        saved = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
    with small.Training(settings) as training:
        training.saver.restore(training.session, saved)
        assert 'logits/kernel/wquant (not in the checkpoint)' in capfd.readouterr().err
        training.step(1)
        assert set(training.positions()) > set(fewer)


def test_an_evaluation_of_other_bits_is_an_error_that_names_them(tmp_path, checkpoint):
    settings = small.config(tmp_path, weight_bit=8)
    with tf.Graph().as_default(), v1.Session() as session:
        small.network(v1.placeholder(tf.float32, [None, 6, 6, 2]), training=False)
        vai_q_tf.CreateQuantizeEvaluationGraph(settings)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r'other bits: net_in/aquant \(8 bits, here 4\)'):
            v1.train.Saver().restore(session, checkpoint)
        with pytest.raises(QuantizeError, match=r'net_in/aquant \(8 bits, here 4\).* Give the bits of that training') as raised:
            vai_q_tf.CreateQuantizeDeployGraph(checkpoint, settings)
    assert raised.value.code == errors.INVALID_CONFIG
    assert not list(tmp_path.glob('**/quantize_eval*'))


def test_meta_graphs(tmp_path, capfd):
    def config(bits):
        return config_for(tmp_path / str(bits), weight_bit=bits)

    def rewritten(bits, mode, prefix=''):
        return quantize_meta_graph(mode, float_meta(tmp_path, mode == 'train', mode + '.meta'), prefix, config(bits))

    saved = train(rewritten(8, 'train'), float_checkpoint(tmp_path), tmp_path / 'trained')
    capfd.readouterr()
    train(rewritten(4, 'train'), saved, tmp_path / 'again')
    assert capfd.readouterr().err.count(_LINE) == 1
    for call in (lambda: rewritten(4, 'eval', saved), lambda: deploy_checkpoint(rewritten(4, 'eval'), saved, config(4))):
        with pytest.raises(QuantizeError, match=r'conv/kernel/wquant \(8 bits, here 4\)') as raised:
            call()
        assert raised.value.code == errors.INVALID_CONFIG


def test_an_estimator(tmp_path, capfd):
    def estimator(bits):
        return trainings.make_estimator(vai_q_tf.quantize_model_fn(
            trainings.plain_model_fn(), trainings.config(tmp_path, weight_bit=bits, recipe='auto')), tmp_path)

    estimator(8).train(trainings.input_fn, steps=2)
    narrow = estimator(4)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'\(8 bits, here 4\)'):
        narrow.evaluate(trainings.once)
    capfd.readouterr()
    narrow.train(trainings.input_fn, steps=2)
    text = capfd.readouterr().err
    assert text.count(_LINE) == 1 and text.count('This training starts from') == 1
    assert narrow.evaluate(trainings.once)['global_step'] == 4


@pytest.mark.parametrize('weights', ['weights.h5', 'weights'])
def test_weights_of_keras(tmp_path, caplog, weights):
    """A file, and a checkpoint of tf.train.Checkpoint."""
    def quantized(bits):
        keras.backend.clear_session()
        keras.backend.set_learning_phase(1)
        inputs = keras.Input([4], name='x')
        model = keras.Model(inputs, keras.layers.Dense(3, name='dense')(inputs))
        model.compile('sgd', 'mse')
        config = vai_q_tf.QuantizeConfig(['x'], ['dense/BiasAdd'], output_dir=str(tmp_path / 'out'), weight_bit=bits)
        return vai_q_tf.quantize_keras_model(model, config)

    data = np.random.RandomState(0).randn(8, 4), np.random.RandomState(1).randn(8, 3)
    path = str(tmp_path / weights)
    try:
        model = quantized(8)
        model.train_on_batch(*data)
        model.save_weights(path)
        votes = 'vai_q_tf/positions/votes:0'
        for bits in (8, 4):
            caplog.clear()
            tf.get_logger().propagate = True
            model = quantized(bits)
            model.load_weights(path)
            assert keras.backend.get_session().run(votes).any() == (bits == 8)
            assert (_LINE in caplog.text) == (bits == 4)
            model.train_on_batch(*data)
            assert keras.backend.get_session().run(votes).any(axis=1).all()
    finally:
        keras.backend.clear_session()
